/**
 * `node .vitepress/generate.ts`: the pages of the site that are made of other files than docs/*.md, under
 * docs/generated: README.md and the like, the examples, and the API.
 */
import { globSync, mkdirSync, readFileSync, rmSync, writeFileSync } from "node:fs"
import { dirname, join } from "node:path"
import { apiPages, type Page } from "./api.ts"
import { copied, generated, pageOf } from "./pages.ts"

const root = join(import.meta.dirname, "../..")
const folder = join(root, "docs", generated)
const read = (file: string): string => readFileSync(join(root, file), "utf8")

const copies = copied.map(([file, page]): Page => {
  const text = read(file)
  return { file: `${page}.md`, text: text.startsWith("# ") ? text : `# ${file}\n\n${text}` }
})

const sources = globSync("examples/**/*.ts", { cwd: root, exclude: ["**/node_modules/**"] }).sort()
/** The first paragraph of a file's comment. */
const saysOf = (file: string): string =>
  /^\/\*\*\s+(?:\* )?([\s\S]*?)\s*(?:\n \*\n|\*\/)/.exec(read(file))?.[1]?.replaceAll("\n * ", " ") ?? ""
const examples: ReadonlyArray<Page> = [
  {
    file: "examples/index.md",
    text: `# Examples\n\n| | |\n| --- | --- |\n${sources.map((file) => `| [${file}](/${pageOf(file)}) | ${saysOf(file).replaceAll("|", "\\|")} |`).join("\n")}\n`
  },
  ...sources.map((file) => ({
    file: `${pageOf(file)}.md`,
    text: `# ${file}\n\n\`\`\`\`ts\n${read(file).trimEnd()}\n\`\`\`\`\n`
  }))
]

const api = (await apiPages(root)).map(({ file, text }) => ({ file: `api/${file}`, text }))

rmSync(folder, { recursive: true, force: true })
for (const { file, text } of [...copies, ...examples, ...api]) {
  mkdirSync(dirname(join(folder, file)), { recursive: true })
  writeFileSync(join(folder, file), text)
}
