import { slug } from "github-slugger"
import { readFileSync } from "node:fs"
import { dirname, join, posix, relative } from "node:path"
import { defineConfig, type DefaultTheme, type MarkdownOptions } from "vitepress"
import { fileOf, generated, modules, sections, siteLink } from "./pages.ts"

const root = join(import.meta.dirname, "../..")
const { description, repository, version } = JSON.parse(readFileSync(join(root, "package.json"), "utf8")) as {
  readonly description: string
  readonly repository?: { readonly url: string }
  readonly version: string
}
const address = repository?.url.replace(/^git\+|\.git$/g, "")

const sidebar: DefaultTheme.Sidebar = {
  "/": [
    ...sections.map(({ documents, text }) => ({
      text,
      items: Object.entries(documents).map(([name, text]) => ({ text, link: `/${name}` }))
    })),
    {
      text: "Reference",
      items: [
        { text: "API", link: "/api/" },
        { text: "Examples", link: "/examples/" },
        { text: "README", link: "/readme" },
        { text: "Changelog", link: "/changelog" },
        { text: "Reporting a fault", link: "/security-policy" },
        { text: "Licence", link: "/licence" }
      ]
    }
  ],
  "/api/": [
    { text: "API", link: "/api/" },
    ...modules().map(({ from, names }) => ({
      text: from,
      items: names.map((name) => ({ text: name.replace("testing/", ""), link: `/api/${name}` }))
    }))
  ]
}

/**
 * The documents are written for GitHub and the npm package. Here their relative links become those of the site, and what
 * Vue would take for its own stays text.
 */
const config: MarkdownOptions["config"] = (md) => {
  md.core.ruler.push("links-of-the-repository", ({ env, tokens }) => {
    // `realPath` is given where `path` is the page's on the site.
    const {
      path,
      realPath = path,
      relativePath
    } = env as Readonly<Record<"path" | "realPath" | "relativePath", string>>
    for (const token of tokens.flatMap(({ children }) => children ?? [])) {
      const href = token.attrGet("href")
      if (token.type === "link_open" && href !== null && !/^\w+:/.test(href)) {
        token.attrSet("href", siteLink(relativePath, href))
      }
      const src = token.attrGet("src")
      if (token.type === "image" && src !== null && !/^\w+:/.test(src)) {
        const image = join(root, posix.join(posix.dirname(fileOf(relativePath)), src))
        token.attrSet("src", relative(dirname(realPath), image))
      }
    }
  })
  const text = md.renderer.rules.text!
  md.renderer.rules.text = (...args) => text(...args).replaceAll("{{", "&#123;&#123;")
}

export default defineConfig({
  title: "effect-sessions",
  description,
  lang: "en-GB",
  base: process.env["DOCS_BASE"] ?? "/",
  cleanUrls: true,
  head: [["link", { rel: "icon", href: "data:," }]],
  srcExclude: ["upstream/**"],
  rewrites: { [`${generated}/:path(.*)`]: ":path" },
  // What is generated is not edited.
  transformPageData: ({ filePath, frontmatter }) =>
    filePath.startsWith(`${generated}/`) ? { frontmatter: { ...frontmatter, editLink: false } } : {},
  markdown: { config, anchor: { slugify: slug } },
  themeConfig: {
    nav: [
      { text: "Guide", link: "/getting-started" },
      { text: "Recipes", link: "/recipes" },
      { text: "Security", link: "/security" },
      { text: "API", link: "/api/", activeMatch: "^/api/" },
      { text: version, link: "/changelog" }
    ],
    sidebar,
    outline: [2, 3],
    search: { provider: "local" },
    ...(address === undefined
      ? {}
      : {
          editLink: { pattern: `${address}/edit/main/docs/:path` },
          socialLinks: [{ icon: "github", link: address }]
        })
  },
  // The search index is one chunk.
  vite: { server: { fs: { allow: [root] } }, build: { chunkSizeWarningLimit: 4000 } }
})
