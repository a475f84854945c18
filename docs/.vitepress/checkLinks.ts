/**
 * `node .vitepress/checkLinks.ts`: each link of the built site leads to a page that is there, and to a heading of it. Links
 * to other hosts are only parsed, as CI reaches none; nothing but a link may lead to one.
 */
import { Parser } from "htmlparser2"
import { existsSync, globSync, readFileSync } from "node:fs"
import { join } from "node:path"

const dist = join(import.meta.dirname, "dist")
const base = process.env["DOCS_BASE"] ?? "/"
const origin = "http://site.invalid"

interface Html {
  readonly ids: Set<string>
  readonly links: Set<string>
  /** What the browser loads by itself. */
  readonly loaded: Set<string>
}

const parse = (text: string): Html => {
  const html: Html = { ids: new Set(), links: new Set(), loaded: new Set() }
  const parser = new Parser({
    onopentag: (name, { href, id, src }) => {
      if (id !== undefined) html.ids.add(id)
      if (href !== undefined) html[name === "a" ? "links" : "loaded"].add(href)
      if (src !== undefined) html.loaded.add(src)
    }
  })
  parser.end(text)
  return html
}

const pages = new Map(
  globSync("**/*.html", { cwd: dist }).map((file) => [file, parse(readFileSync(join(dist, file), "utf8"))])
)

const urlOf = (link: string, page: string): URL | undefined => {
  const here = `${origin}${base}${page.replace(/(?:index)?\.html$/, "")}`
  return URL.canParse(link, here) ? new URL(link, here) : undefined
}

/** What is wrong with a link of a page, if anything is. */
const problem = (link: string, page: string): string | undefined => {
  const url = urlOf(link, page)
  if (url === undefined) return "no URL"
  if (url.origin !== origin)
    return /^(?:https?|mailto|data):$/.test(url.protocol) ? undefined : `a link of ${url.protocol}`
  if (!url.pathname.startsWith(base)) return `leads out of ${base}`
  const path = decodeURIComponent(url.pathname.slice(base.length))
  // As a server of clean URLs looks for it.
  const found = [path === "" || path.endsWith("/") ? `${path}index.html` : `${path}.html`, path].find((file) =>
    file.endsWith(".html") ? pages.has(file) : file !== "" && existsSync(join(dist, file))
  )
  if (found === undefined) return "no such page"
  const anchor = decodeURIComponent(url.hash.slice(1))
  return anchor === "" || pages.get(found)?.ids.has(anchor) === true ? undefined : "no such heading"
}

const problems = [...pages].flatMap(([page, { links, loaded }]) =>
  [...links.union(loaded)].flatMap((link) => {
    const isElsewhere = loaded.has(link) && !link.startsWith("data:") && urlOf(link, page)?.origin !== origin
    const wrong = isElsewhere ? "is loaded from elsewhere" : problem(link, page)
    return wrong === undefined ? [] : [`${page}: ${link}: ${wrong}`]
  })
)
const links = [...pages].flatMap(([page, { links }]) => [...links].map((link) => urlOf(link, page)))
const hosts = new Set(links.flatMap((url) => (url === undefined || url.origin === origin ? [] : [url.host])))

for (const problem of problems) console.error(problem)
console.log(
  `${pages.size} pages, ${links.length} links, ${problems.length} problems; not asked: ${[...hosts].sort().join(", ")}`
)
process.exitCode = problems.length === 0 && links.length > 0 ? 0 : 1
