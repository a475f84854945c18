/**
 * Writes the benchmark tables into the README, between `<!-- bench:start -->` and `<!-- bench:end -->`, from the JSON
 * in `results/`: `npm run table`. With `--check` it writes nothing, and fails when the README says something else.
 */
import { existsSync, readFileSync, writeFileSync } from "node:fs"
import { fileURLToPath } from "node:url"
import { parseArgs } from "node:util"
import type { BundleResult, HttpResult, SubjectResult } from "./results.ts"
import type { Figure } from "./stats.ts"

const { values: flags } = parseArgs({
  options: {
    check: { type: "boolean", default: false },
    readme: { type: "string", default: fileURLToPath(new URL("../README.md", import.meta.url)) },
    results: { type: "string", default: fileURLToPath(new URL("results/", import.meta.url)) }
  }
})

const startMark = "<!-- bench:start -->"
const endMark = "<!-- bench:end -->"

const read = <A>(file: string): A | undefined => {
  const path = `${flags.results}/${file}`
  return existsSync(path) ? (JSON.parse(readFileSync(path, "utf8")) as A) : undefined // run.ts and bundle.ts wrote it so
}

const table = (head: ReadonlyArray<string>, rows: ReadonlyArray<ReadonlyArray<string>>): string =>
  [head, head.map((_, column) => (column === 0 ? "---" : "---:")), ...rows]
    .map((cells) => `| ${cells.join(" | ")} |`)
    .join("\n")

const number = (value: number): string => Math.round(value).toLocaleString("en-US")
const micros = ({ high, low, median }: Figure): string => `${median.toFixed(1)} (${low.toFixed(1)}–${high.toFixed(1)})`
const millis = ({ median }: Figure): string => median.toFixed(2)

const httpSection = ({ environment, growth, options, subjects }: HttpResult): string => {
  const whoami = (subject: SubjectResult): number => subject.cpu.whoami!.median
  const sessions = subjects.filter((subject) => subject.cpu.whoami !== undefined)
  const bare = subjects.filter((subject) => subject.cpu.whoami === undefined)
  const ours = sessions.filter((subject) => subject.ours)
  // A sealed cookie has no store to compare with: it stands beside ours in memory.
  const counterpart = (subject: SubjectResult): SubjectResult | undefined =>
    ours.find(({ store }) => store === (subject.store === "cookie" ? "memory" : subject.store))
  const ratio = (subject: SubjectResult): string => {
    const own = counterpart(subject)
    return subject.ours || own === undefined ? "" : `${(whoami(subject) / whoami(own)).toFixed(2)}×`
  }

  const rows = sessions
    .toSorted((a, b) => whoami(a) - whoami(b))
    .map((subject) => [
      subject.ours ? `**${subject.name}**` : subject.name,
      subject.store,
      micros(subject.cpu.bare!),
      micros(subject.cpu.whoami!),
      micros(subject.difference!),
      ratio(subject),
      number(subject.requestsPerSecond.median),
      `${millis(subject.p50)} / ${millis(subject.p99)}`,
      subject.memory === undefined ? "" : number(subject.memory.bytesPerSession),
      subject.behaviour!.logoutRevokes ? "yes" : "no"
    ])
  const versions = Object.assign({}, ...subjects.map((subject) => subject.versions)) as Record<string, string>
  const paragraphs = [
    `CPU microseconds of the server process a request: a bare route, the same answer from a session (\`GET /whoami\`), and ` +
      `the difference, which is what the session costs. Median of ${options["rounds"]} rounds, lowest and highest in ` +
      `brackets; the ratio compares \`/whoami\` with ours on the same store (sealed cookies with ours in memory).`,
    table(
      [
        "library",
        "store",
        "bare µs",
        "`/whoami` µs",
        "session µs",
        "ratio",
        "requests/s",
        `p50 / p99 ms at ${number(Number(options["rate"]))}/s`,
        "bytes a session",
        "logout revokes"
      ],
      rows
    ),
    table(
      ["other requests, µs", "visitor", "anonymous, 401", "forged token", "create", "update", "destroy"].concat(
        (sessions[0]?.connections ?? []).map(({ connections }) => `\`/whoami\`, ${number(connections)} conn.`)
      ),
      sessions.map((subject) =>
        [`${subject.ours ? `**${subject.name}**` : subject.name} (${subject.store})`].concat(
          others.map((kind) => subject.cpu[kind]!.median.toFixed(1)),
          (subject.connections ?? []).map(({ cpu }) => cpu?.toFixed(1) ?? "fails")
        )
      )
    )
  ]
  if (bare.length > 0) {
    const list = bare.map((subject) => `${subject.name} ${subject.cpu.bare!.median.toFixed(1)}`)
    paragraphs.push(`Servers without any session, µs a request: ${list.join(", ")}.`)
  }
  const trips = sessions.filter((subject) => subject.roundTrips !== undefined)
  if (trips.length > 0) {
    const list = trips.map(
      ({ name, roundTrips, store }) =>
        `${name} (${store}) ${roundTrips!.whoami} for \`/whoami\`, ${roundTrips!.forged} for a forged token, ` +
        `${roundTrips!.create} to create, ${roundTrips!.update} to update, ${roundTrips!.destroy} to destroy`
    )
    paragraphs.push(`Round trips to the store: ${list.join("; ")}.`)
  }
  if (growth.length > 0) {
    const list = growth.map(({ cpu, sessions }) => `${cpu.toFixed(1)} µs with ${number(sessions)}`)
    paragraphs.push(`Sessions in memory and the cost of \`/whoami\`: ${list.join(", ")}.`)
  }
  const touching = ours.filter((subject) => subject.touching !== undefined)
  if (touching.length > 0) {
    const list = touching.map(({ store, touching }) => {
      const trips = touching!.roundTrips === undefined ? "" : ` and ${touching!.roundTrips} round trips`
      return `${touching!.cpu.toFixed(1)} µs${trips} (${store})`
    })
    paragraphs.push(
      `Ours moves a session's idle deadline at most once a minute; a \`/whoami\` that does costs ${list.join(", ")}.`
    )
  }
  const packages = Object.entries(versions).map(([name, version]) => `${name} ${version}`)
  paragraphs.push(
    `Measured ${environment.date.slice(0, 10)} at \`${environment.commit.slice(0, 10)}\`${environment.dirty ? " with changes" : ""} ` +
      `on ${environment.cpu} (${environment.cores} cores), Node ${environment.node}: ${packages.toSorted().join(", ")}.`
  )
  return paragraphs.join("\n\n")
}

const others = ["visitor", "anonymous", "forged", "create", "update", "destroy"] as const

const bundleSection = ({ entries }: BundleResult): string => {
  const kib = (bytes: number): string => `${(bytes / 1024).toFixed(1)} KiB`
  return table(
    ["added to a bundle", "minified", "gzipped"],
    entries.map(({ added, name }) => [name, kib(added.minified), kib(added.gzipped)])
  )
}

const http = read<HttpResult>("http.json")
const bundle = read<BundleResult>("bundle.json")
const sections = [
  ...(http === undefined ? [] : [httpSection(http)]),
  ...(bundle === undefined ? [] : [bundleSection(bundle)])
]
const readme = readFileSync(flags.readme, "utf8")
const start = readme.indexOf(startMark)
const end = readme.indexOf(endMark)
if (start < 0 || end < start) throw new Error(`${flags.readme} has no ${startMark} … ${endMark}`)
const generated = `${readme.slice(0, start)}${startMark}\n${sections.map((section) => `${section}\n`).join("\n")}${readme.slice(end)}`
if (!flags.check) writeFileSync(flags.readme, generated)
else if (generated !== readme) {
  console.error("the README's benchmark tables are not those of bench/results: run `npm --prefix bench run table`")
  process.exitCode = 1
}
