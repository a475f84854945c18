/** The `ts` fences of documents and doc comments, as files: `docs.test.ts` says what they may be. */
import { assert } from "@effect/vitest"
import { mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs"
import { dirname, join } from "node:path"
import { pathToFileURL } from "node:url"
import { afterAll } from "vitest"

const root = join(import.meta.dirname, "../..")

export interface Fence {
  /** Where it stands: `README.md:120`. */
  readonly title: string
  readonly file: string
  readonly code: string
  readonly kind: "module" | "test" | "types"
}

/**
 * Inside the repository, so that packages resolve, ours by its name too; out of git and of every other check. It is taken
 * away after the tests of the file that asks for it.
 */
export const makeFolder = (): string => {
  mkdirSync(join(root, ".tmp"), { recursive: true })
  const folder = mkdtempSync(join(root, ".tmp/docs-"))
  afterAll(() => rmSync(folder, { recursive: true, force: true }))
  const compilerOptions = { noUnusedLocals: false, noUnusedParameters: false }
  const config = { extends: "../../tsconfig.json", compilerOptions, include: ["."] }
  writeFileSync(join(folder, "tsconfig.json"), JSON.stringify(config))
  return folder
}

/** The file that a fence named on its first line becomes. */
export const fileOf = (folder: string, document: string, name: string): string =>
  join(folder, document.replace(/\W/g, "-"), name)

const fencesOf = (document: string, folder: string): ReadonlyArray<Fence> => {
  const fences: Array<Fence> = []
  const isSource = document.endsWith(".ts")
  let open: { readonly line: number; readonly info: string; readonly body: Array<string> } | undefined
  readFileSync(join(root, document), "utf8")
    .split("\n")
    .forEach((raw, i) => {
      const line = isSource ? raw.replace(/^\s*\* ?/, "") : raw
      if (open === undefined) {
        const info = /^```(\S.*)$/.exec(line)?.[1]
        if (info !== undefined && (!isSource || /^\s*\*/.test(raw))) open = { line: i + 1, info, body: [] }
      } else if (line.trimEnd() !== "```") {
        open.body.push(line)
      } else {
        const { body, info, line } = open
        open = undefined
        if (info !== "ts" && info !== "ts no-run") return
        const name = /^\/\/ ([\w.-]+\.ts)$/.exec(body[0] ?? "")?.[1] ?? `line-${line}.ts`
        fences.push({
          title: `${document}:${line}`,
          file: fileOf(folder, document, name),
          // Its lines keep their numbers, so what the compiler says of it is said of the document.
          code: "\n".repeat(line) + body.join("\n") + "\n",
          kind: info === "ts no-run" ? "types" : body.join("\n").includes(`from "@effect/vitest"`) ? "test" : "module"
        })
      }
    })
  assert.isUndefined(open, `${document}: a fence is not closed`)
  return fences
}

/** Writes the fences of documents into a folder, each as a file. */
export const write = (documents: ReadonlyArray<string>, folder: string): ReadonlyArray<Fence> => {
  const fences = documents.flatMap((document) => fencesOf(document, folder))
  for (const { code, file } of fences) {
    mkdirSync(dirname(file), { recursive: true })
    writeFileSync(file, code)
  }
  return fences
}

/** Imports the named fences of a document. Their types are checked by docs.test.ts; here they were just written. */
export const modulesOf = (document: string): ((name: string) => Promise<any>) => {
  const folder = makeFolder()
  write([document], folder)
  return (name) => import(pathToFileURL(fileOf(folder, document, `${name}.ts`)).href)
}
