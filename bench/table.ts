/**
 * Makes bench/RESULTS.md, the README's rows and those of docs/performance.md from results.json: `npm --prefix bench run
 * table`. With `--check` it writes nothing, and fails when one of them says something else. It needs no package.
 */
import { readFileSync, writeFileSync } from "node:fs"
import { join, resolve } from "node:path"
import { parseArgs } from "node:util"
import type { Cost, Costs, Figure, Growth, Kind, Options } from "./measure.ts"

interface Row {
  readonly name: string
  readonly store: string
  readonly ours: boolean
  readonly cookieBytes: number
  readonly revokes: boolean
  readonly costs: Costs<Figure>
  readonly bytes?: number
  readonly roundTrips?: Partial<Record<Kind, number>>
}

/** The shape of results.json. */
export interface Result {
  readonly environment: Readonly<Record<"date" | "node" | "cpu" | "commit", string>> & {
    readonly cores: number
    /** Whether files in `src` differed from the commit. */
    readonly dirty: boolean
    readonly versions: Readonly<Record<string, string>>
  }
  readonly options: Options
  readonly subjects: ReadonlyArray<Row>
  readonly leftOut: ReadonlyArray<string>
  readonly growth: ReadonlyArray<Growth>
}

type Column<R> = readonly [title: string, cell: (row: R) => string]

/** Words stand to the left, numbers to the right. */
const table = <R>(rows: ReadonlyArray<R>, columns: ReadonlyArray<Column<R>>): string => {
  if (rows.length === 0) return "Not measured."
  const cells = rows.map((row) => columns.map(([, cell]) => cell(row)))
  const rule = columns.map((_, at) => (cells.some((row) => /^[*@a-z]/i.test(row[at]!)) ? "-" : "-:"))
  return [columns.map(([title]) => title), rule, ...cells].map((row) => `| ${row.join(" | ")} |`).join("\n")
}

const number = (value: number | undefined): string =>
  value === undefined ? "" : Math.round(value).toLocaleString("en-US")
const digitsOf = (cost: Cost): number => (/ratio|^p\d/.test(cost) ? 2 : 1)
/** Four digits are enough. */
const fixed = (value: number, digits: number): string => value.toFixed(value < 100 ? digits : 0)
const middle = (value: Figure | undefined, digits = 1): string => (value === undefined ? "" : fixed(value[0], digits))
const spread = (value: Figure | undefined, digits = 1): string => {
  if (value === undefined) return ""
  const [median, low, high] = value.map((number) => fixed(number, digits))
  return `${median} (${low}–${high})`
}
const nameOf = ({ name, ours, store }: Row): string => (ours ? `**${name}, ${store}**` : `${name}, ${store}`)
const named: Column<Row> = ["", nameOf]
const just = (title: string, cost: Cost): Column<Row> => [title, ({ costs }) => middle(costs[cost], digitsOf(cost))]
const ranged = (title: string, cost: Cost): Column<Row> => [title, ({ costs }) => spread(costs[cost], digitsOf(cost))]
const by = (kind: Kind) => (a: Row, b: Row) => a.costs[kind]![0] - b.costs[kind]![0]

type Used = ReadonlyArray<readonly [Exclude<Kind, "bare" | "post">, title: string]>
const reads: Used = [
  ["whoami", "`/whoami`"],
  ["forged", "forged"]
]
const writes: Used = [
  ["create", "log-in"],
  ["update", "update"],
  ["destroy", "log-out"]
]
/** Of each kind of request, in this order. */
const tripsOf = ({ roundTrips }: Row): string =>
  roundTrips === undefined ? "" : [...reads, ...writes].map(([kind]) => roundTrips[kind]).join(" / ")
const trips: Column<Row> = ["round trips", tripsOf]

const measured = ({ commit, cores, cpu, date, dirty, node }: Result["environment"]): string =>
  `Measured ${date} at \`${commit.slice(0, 7)}\`${dirty ? " with changes" : ""}, ` +
  `${cpu.replaceAll(/\(R\)| Processor| CPU/g, "")} (${cores} cores), Node ${node}.`

/** Those of the names on the store, in the order of the names. */
const find = (subjects: ReadonlyArray<Row>, store: string, ...names: ReadonlyArray<string>): ReadonlyArray<Row> =>
  names.flatMap((name) => subjects.filter((row) => row.store === store && row.name === name))

/** The README's rows: ours and the two libraries most in use, on the stores that all three have. */
const short = ({ environment, subjects }: Result): string => {
  const libraries = ["effect-sessions", "@fastify/session", "express-session"]
  const rows = ["memory", "redis"].flatMap((store) => find(subjects, store, ...libraries))
  const used = (list: Used) => list.map(([kind, title]) => just(title, kind))
  const columns = [just("bare route", "bare"), ...used(reads), just("bare POST", "post"), ...used(writes)]
  return `${table(rows, [["CPU µs a request", nameOf], ...columns])}\n\n${measured(environment)}`
}

/** All subjects, the cheapest first. */
const overview = (subjects: ReadonlyArray<Row>, bare: Column<Row>, used: Used): string => {
  const [[first, title]] = used as [Used[0]]
  const costs = used.flatMap(([kind, title]) => [ranged(title, kind), ranged("over bare", `${kind} over`)])
  const ratios = [
    ranged(`${title}, times ours`, `${first} ratio`),
    ranged("over bare, times ours", `${first} over ratio`)
  ]
  return table(subjects.toSorted(by(first)), [named, bare, ...costs, ...ratios])
}

/** Ours beside the fastest peer with a store, which was compared with it: a row for each kind of request. */
const versus = (subjects: ReadonlyArray<Row>, used: Used, name: string): string => {
  const pairs = ["memory", "redis"].flatMap((store) => {
    const [ours] = find(subjects, store, name)
    const peers = find(subjects, store, "@fastify/session", "@fastify/session, client's timer off")
    return ours === undefined ? [] : peers.flatMap((peer) => used.map(([kind, title]) => ({ ours, peer, kind, title })))
  })
  return table(pairs, [
    ["", ({ peer, title }) => `${title}, ${nameOf(peer)}`],
    ["ours", ({ kind, ours }) => middle(ours.costs[kind])],
    ["theirs", ({ kind, peer }) => middle(peer.costs[kind])],
    ["theirs ÷ ours", ({ kind, peer }) => spread(peer.costs[`${kind} ratio`], 2)],
    ["ours over bare", ({ kind, ours }) => middle(ours.costs[`${kind} over`])],
    ["theirs over bare", ({ kind, peer }) => middle(peer.costs[`${kind} over`])],
    ["theirs ÷ ours", ({ kind, peer }) => spread(peer.costs[`${kind} over ratio`], 2)]
  ])
}

const principals = (subjects: ReadonlyArray<Row>): string => {
  const ours = subjects.filter(({ name, store }) => store !== "postgres" && /^effect-sessions($|, no)/.test(name))
  const costs = writes.map(([kind, title]) => ranged(title, kind))
  const more = [ranged("log-in over bare", "create over"), ranged("log-in ÷ no principal", "create ratio")]
  return table(ours, [named, ...costs, ...more, trips])
}

const load = (subjects: ReadonlyArray<Row>): string =>
  table(subjects.toSorted(by("whoami")), [
    named,
    ["requests/s", ({ costs }) => number(costs.perSecond![0])],
    ["busy", ({ costs }) => ((costs.perSecond![0] * costs.whoami![0]) / 1e6).toFixed(2)],
    ranged("p50 ms", "p50"),
    ranged("p99 ms", "p99"),
    ["bytes a session", ({ bytes }) => number(bytes)],
    ["bytes a cookie", ({ cookieBytes }) => number(cookieBytes)],
    ["log-out revokes", ({ revokes }) => (revokes ? "yes" : "no")],
    trips
  ])

const growing = (growth: ReadonlyArray<Growth>): string => {
  const toFirst = (name: "whoami" | "over", title: string): Column<Growth> => [
    `${title} ÷ first`,
    (row) => (row[name][0] / growth[0]![name][0]).toFixed(2)
  ]
  return table(growth, [
    ["sessions", ({ sessions }) => number(sessions)],
    ["`/whoami`", ({ whoami }) => spread(whoami)],
    ["bare", ({ bare }) => spread(bare)],
    ["over bare", ({ over }) => spread(over)],
    toFirst("whoami", "`/whoami`"),
    toFirst("over", "over bare"),
    ["bytes a session", ({ bytes }) => number(bytes)]
  ])
}

/** All tables. */
export const markdown = ({ environment, growth, leftOut, options, subjects }: Result): string => {
  const widest = Math.max(...subjects.map(({ costs: { whoami } }) => whoami![2] / whoami![1]))
  const versions = Object.entries(environment.versions).map((entry) => entry.join(" "))
  return `# Results

${measured(environment)} Made by \`run.ts\`; [README.md](README.md) says what is measured, and how fair it is.

Costs are CPU microseconds of the server process a request: lower is better. Median of ${options.rounds} rounds, each a median of ${options.passes}
windows; lowest and highest round in brackets. The rounds of one row's \`/whoami\` lie up to ${widest.toFixed(2)}× apart: the nearer to one, the
quieter the machine. “Over bare” is less a request to a route outside the session's reach, in the same pass. Ratios are taken
within a pass, those of “over bare” within a round: they are not the quotients of two columns.

## Reads

“Times ours” is relative to ours on the same store; sealed cookies, which ask no store and cannot revoke, stand beside ours in
memory. A forged token is one with a character changed.

${overview(subjects, just("bare route", "bare"), reads)}

## Reads against @fastify/session

${versus(subjects, reads, "effect-sessions")}

## Writes

A log-in gives the session a new id everywhere. “Times ours” is relative to ours without a principal where that was measured,
as peers count no user's sessions.

${overview(subjects, just("bare POST", "post"), writes)}

## Writes against @fastify/session

Ours without a principal: neither fence nor limit.

${versus(subjects, writes, "effect-sessions, no principal")}

## What a user's fence and limit add to a log-in

By default both are there: a log-in that began before all of a user's sessions were ended leaves none, and one session more
than \`maxPerPrincipal\` ends another. Each user has one session here. Round trips are what ${[...reads, ...writes].map(([, title]) => title).join(", ")} wait for.

${principals(subjects)}

## Load, memory, round trips

\`/whoami\` over ${options.connections} connections: requests a second as fast as it goes, and how much of its core the server used meanwhile
(well below 1, the client or the store was the limit); latency at a fixed ${number(options.rate)} requests a second.

${load(subjects)}

## Growth

Ours in memory, one process that is given ever more sessions: \`/whoami\` of sessions picked at random, in turn with the bare
route. Brackets are of three interleaved thirds of the windows.

${growing(growth)}

${leftOut.map((line) => `Not measured: ${line}.\n\n`).join("")}Versions: ${versions.join(", ")}.
`
}

const [startMark, endMark] = ["<!-- bench:start -->", "<!-- bench:end -->"]

/** Each generated document under `root`, as it is and as it should be. */
const documents = (root: string, result: Result) => {
  const between = (name: string) => {
    const text = readFileSync(join(root, name), "utf8")
    const [start, end] = [text.indexOf(startMark), text.indexOf(endMark)]
    if (start < 0 || end < start) throw new Error(`${name} has no ${startMark} … ${endMark}`)
    return { name, text, wanted: `${text.slice(0, start)}${startMark}\n${short(result)}\n${text.slice(end)}` }
  }
  const name = "bench/RESULTS.md"
  const whole = { name, text: readFileSync(join(root, name), "utf8"), wanted: markdown(result) }
  return [whole, between("README.md"), between("docs/performance.md")]
}

const write = (root: string, result: Result): void => {
  for (const { name, wanted } of documents(root, result)) writeFileSync(join(root, name), wanted)
}

const repository = resolve(import.meta.dirname, "..")

/** Keeps a result, and the documents made from it. */
export const save = (result: Result): void => {
  // A figure on a line: a change of one is a change of a line.
  const text = JSON.stringify(result, null, 1).replaceAll(/\[[\d\s.,-]+\]/g, (figure) => figure.replaceAll(/\s+/g, " "))
  writeFileSync(join(repository, "bench/results.json"), `${text}\n`)
  write(repository, result)
}

if (import.meta.main) {
  const { check, root } = parseArgs({
    options: { check: { type: "boolean" }, root: { type: "string", default: repository } }
  }).values
  const result: Result = JSON.parse(readFileSync(join(root, "bench/results.json"), "utf8"))
  const stale = documents(root, result).filter(({ text, wanted }) => text !== wanted)
  if (check !== true) write(root, result)
  else if (stale.length > 0) {
    const names = stale.map(({ name }) => name).join(", ")
    throw new Error(`not made from bench/results.json, which \`npm --prefix bench run table\` mends: ${names}`)
  }
}
