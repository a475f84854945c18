/**
 * The documents in the order of the sidebar, and where a file of the repository stands on the site. Imported by the
 * site's configuration, by what generates pages, and by test/docs/site.test.ts, which needs nothing installed here.
 */
import { globSync, readFileSync } from "node:fs"
import { join, posix } from "node:path"

const root = join(import.meta.dirname, "../..")

export interface Section {
  readonly text: string
  /** Names of `docs/<name>.md`, each with its words in the sidebar. */
  readonly documents: Readonly<Record<string, string>>
}

export const sections: ReadonlyArray<Section> = [
  {
    text: "Start",
    documents: { "getting-started": "Getting started", testing: "Testing", moving: "Moving from another library" }
  },
  {
    text: "Recipes",
    documents: {
      recipes: "All situations",
      "ways-to-log-in": "Ways to log in",
      "log-in": "The life of a log-in",
      "open-connections": "Feeds and sockets"
    }
  },
  {
    text: "Ways of use",
    documents: {
      router: "HttpRouter",
      "http-api": "HttpApi",
      rpc: "RPC",
      "web-handlers": "SvelteKit, Hono and others",
      next: "Next",
      workers: "Cloudflare Workers",
      runtimes: "Where it runs"
    }
  },
  {
    text: "Stores",
    documents: {
      stores: "Choosing a store",
      "sql-schema": "The SQL table",
      "redis-failover": "Redis that fails over",
      failover: "What a failover undoes"
    }
  },
  {
    text: "In production",
    documents: {
      operating: "Operating",
      proxies: "Behind a proxy",
      admin: "Administration",
      faults: "When something fails",
      errors: "Errors",
      performance: "Performance",
      scale: "At scale"
    }
  },
  {
    text: "Guarantees",
    documents: {
      security: "Security",
      browsers: "What browsers do",
      requirements: "Requirements"
    }
  }
]

/** Files outside docs that are pages too: what documents link to. */
const others: Readonly<Record<string, string>> = {
  "README.md": "readme",
  "CHANGELOG.md": "changelog",
  "SECURITY.md": "security-policy",
  LICENSE: "licence"
}

export const copied = Object.entries(others)

/** The public modules, by what they are imported from. */
export const modules = (): ReadonlyArray<{ readonly from: string; readonly names: ReadonlyArray<string> }> => {
  const index = readFileSync(join(root, "src/index.ts"), "utf8")
  const main = [...index.matchAll(/^export \* as (\w+)/gm)].map(([, name]) => name!)
  const all = globSync(["[A-Z]*.ts", "testing/[A-Z]*.ts"], { cwd: join(root, "src") })
    .map((file) => file.replaceAll("\\", "/").replace(/\.ts$/, ""))
    .sort()
  return [
    { from: "effect-sessions", names: main },
    { from: "effect-sessions/*", names: all.filter((name) => !name.includes("/") && !main.includes(name)) },
    { from: "effect-sessions/testing", names: all.filter((name) => name.startsWith("testing/")) }
  ]
}

/** The page of a file of the repository, without `.md`; `undefined` if the site has none. */
export const pageOf = (file: string): string | undefined => {
  const other = others[file]
  if (other !== undefined) return other
  const [folder, rest = ""] = [file.split("/")[0], file.slice(file.indexOf("/") + 1)]
  const name = rest.replace(/\.(?:md|ts)$/, "")
  if (folder === "docs" && /^[\w-]+\.md$/.test(rest)) return name
  if (folder === "examples") return rest.endsWith(".ts") ? `examples/${name}` : "examples/"
  if (folder === "src" && /^(?:testing\/)?[A-Z]\w*\.ts$/.test(rest)) return `api/${name}`
  return undefined
}

/** Where generated pages are, under docs. */
export const generated = "generated"

/** The file of the repository that a page was made of; the page is named as it is in docs, or as on the site. */
export const fileOf = (page: string): string => {
  const name = page.replace(new RegExp(`^${generated}/`), "")
  return (
    copied.find(([, copy]) => `${copy}.md` === name)?.[0] ??
    (name.startsWith("examples/") ? name.replace(/\.md$/, ".ts") : `docs/${name}`)
  )
}

/** The link of a page to a file of the repository, as one of the site. */
export const siteLink = (page: string, link: string): string => {
  const [path = "", anchor] = link.split("#")
  // In the page itself, or to a page of the site by its address, as those made here link.
  if (path === "" || path.startsWith("/")) return link
  const target = posix.join(posix.dirname(fileOf(page)), path)
  const found = pageOf(target)
  if (found === undefined) throw new Error(`${fileOf(page)} links to ${target}, which is no page of the site`)
  return `/${found}${anchor === undefined ? "" : `#${anchor}`}`
}
