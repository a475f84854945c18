/** Tables of what was seen, and their places in the documents. */
import type { Run } from "./scenario.ts"
import { type cookies, places, works } from "./scenarios/localHttp.ts"

const row = (cells: ReadonlyArray<string>) => `| ${cells.join(" | ")} |`

const markdown = (head: ReadonlyArray<string>, rows: ReadonlyArray<ReadonlyArray<string>>): string =>
  [head, head.map(() => "---"), ...rows].map(row).join("\n")

/** A line for each thing that was seen, a column for each browser. */
export const table = (runs: ReadonlyArray<Run>): string => {
  const things = [...new Set(runs.flatMap(({ seen }) => Object.keys(seen)))]
  return markdown(
    ["", ...runs.map(({ version }) => version)],
    things.map((thing) => [thing].concat(runs.map(({ seen }) => seen[thing] ?? "–")))
  )
}

/** A line for each frontend, with what it works in at each address. */
export const localTable = (runs: ReadonlyArray<Run>): string => {
  const workIn = (cookie: string, host: string) =>
    runs
      .filter(({ seen }) => seen[`${cookie} on \`http://${host}\``] === works)
      .map(({ version }) => version)
      .join(", ") || "none of these"
  const line = (frontend: string, cookie: keyof typeof cookies) =>
    [frontend].concat(places.map((host) => workIn(cookie, host)))
  return markdown(["works in"].concat(places.map((host) => `\`http://${host}\``)), [
    line("`layerCookie()`: `__Host-session; Secure`", "`__Host-session; Secure`"),
    line("`layerCookie({ secure: false })`: `session`", "`session`")
  ])
}

const place = /(<!-- ([\w -]+), written by npm run test:browsers -->\n)[^]*?(<!-- end -->)/g

/** The names of a document's places for tables. */
export const placesIn = (text: string): ReadonlyArray<string> => [...text.matchAll(place)].map(([, , name]) => name!)

/** A document with these tables in their places. */
export const withTable = (text: string, tables: ReadonlyMap<string, string>): string =>
  text.replace(place, (_, start: string, name: string, end: string) => {
    const written = tables.get(name)
    if (written === undefined) throw new Error(`there is no table for the place "${name}"`)
    return `${start}\n${written}\n\n${end}`
  })
