/**
 * `node test/package/tarball.ts file.tgz`: what is packed is each source file with what is built from it, the documents,
 * pictures and examples that README.md links to, and nothing else; and no document in it has a link that leads out of it.
 */
import { execFileSync } from "node:child_process"
import { globSync } from "node:fs"
import { join, posix } from "node:path"

const root = join(import.meta.dirname, "../..")

/** The files a package made of these files has to have. */
export const expected = (sources: ReadonlyArray<string>, others: ReadonlyArray<string>): ReadonlyArray<string> => [
  "CHANGELOG.md",
  "LICENSE",
  "README.md",
  "SECURITY.md",
  "package.json",
  ...others,
  ...sources.flatMap((source) => {
    const built = source.replace(/^src\//, "dist/").replace(/\.ts$/, "")
    return [source, `${built}.js`, `${built}.js.map`, `${built}.d.ts`, `${built}.d.ts.map`]
  })
]

export const difference = (
  packed: ReadonlyArray<string>,
  wanted: ReadonlyArray<string>
): { readonly missing: ReadonlyArray<string>; readonly tooMany: ReadonlyArray<string> } => {
  const [there, asked] = [new Set(packed), new Set(wanted)]
  return { missing: wanted.filter((file) => !there.has(file)), tooMany: packed.filter((file) => !asked.has(file)) }
}

/** Links of a document to files that are not there. */
export const deadLinks = (document: string, text: string, files: ReadonlyArray<string>): ReadonlyArray<string> =>
  [...text.replaceAll(/^```[\s\S]*?^```/gm, "").matchAll(/\]\(([^)\s#]+)[^)]*\)/g)]
    .map(([, target]) => target!)
    .filter((target) => !/^\w+:/.test(target))
    .filter((target) => !files.includes(posix.join(posix.dirname(document), target)))

if (import.meta.main) {
  const [tarball = ""] = process.argv.slice(2)
  const tar = (...args: ReadonlyArray<string>) => execFileSync("tar", args, { encoding: "utf8" })
  const packed = tar("-tzf", tarball)
    .split("\n")
    .filter((line) => line !== "" && !line.endsWith("/"))
    .map((file) => file.replace(/^package\//, ""))
  const wanted = expected(
    globSync("src/**/*.ts", { cwd: root }),
    globSync(["docs/*.md", "docs/images/*.png", "examples/**/*.ts"], { cwd: root })
  )
  const { missing, tooMany } = difference(packed, wanted)
  const problems = [
    ...missing.map((file) => `not packed: ${file}`),
    ...tooMany.map((file) => `should not be packed: ${file}`),
    ...packed
      .filter((file) => file.endsWith(".md"))
      .flatMap((file) =>
        deadLinks(file, tar("-xzOf", tarball, `package/${file}`), packed).map(
          (target) => `${file}: ${target} is not packed`
        )
      )
  ]
  for (const problem of problems) console.error(problem)
  console.log(`${packed.length} files, ${problems.length} problems`)
  process.exitCode = problems.length === 0 && packed.length > 0 ? 0 : 1
}
