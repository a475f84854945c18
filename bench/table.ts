/**
 * Makes bench/RESULTS.md, the README's rows and those of docs/performance.md from results.json: `npm --prefix bench run
 * table`. With `--check` it writes nothing, and fails when one of them says something else. It needs no package.
 */
import { readFileSync, writeFileSync } from "node:fs"
import { join, resolve } from "node:path"
import { parseArgs } from "node:util"
import type { Cost, Costs, Figure, Growth, Kind, Options } from "./measure.ts"
import type { Behaviour } from "./servers/requests.ts"

interface Row extends Behaviour {
  readonly name: string
  readonly store: string
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
/** Four digits are enough. */
const fixed = (value: number, digits: number): string => value.toFixed(value < 100 ? digits : 0)
const spread = (value: Figure | undefined, digits: number): string => {
  if (value === undefined) return ""
  const [median, low, high] = value.map((number) => fixed(number, digits))
  return `${median} (${low}–${high})`
}
const label = ({ name, store }: Row): string => `${name}, ${store}`
const named: Column<Row> = ["", (row) => (row.name.startsWith("effect-sessions") ? `**${label(row)}**` : label(row))]
const middle = (title: string, kind: Kind): Column<Row> => [title, ({ costs }) => fixed(costs[kind]![0], 1)]
const micros = (title: string, cost: Cost): Column<Row> => [title, ({ costs }) => spread(costs[cost], 1)]
const times = (title: string, cost: Cost): Column<Row> => [title, ({ costs }) => spread(costs[cost], 2)]

const bareRoute = ["bare", "bare route"] as const
const barePost = ["post", "bare `POST`"] as const
/** Each kind of request that asks for a session or changes it, and the bare one it is compared with. */
const kinds = [
  ["whoami", "`/whoami`", bareRoute],
  ["forged", "forged token", bareRoute],
  ["create", "log-in", barePost],
  ["update", "update", barePost],
  ["destroy", "log-out", barePost]
] as const

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
  const columnsOver = (bare: typeof bareRoute | typeof barePost) => [
    middle(bare[1], bare[0]),
    ...kinds.flatMap(([kind, title, base]) => (base === bare ? [middle(title, kind)] : []))
  ]
  const columns = [["CPU µs a request", named[1]] as const, ...columnsOver(bareRoute), ...columnsOver(barePost)]
  return `${table(rows, columns)}\n\n${measured(environment)}`
}

/** What is worth knowing beside a kind's figures. */
const notes: Partial<Record<Kind, string>> = {
  forged: "A token with one character changed.\n\n",
  create: `A log-in gives the session a new id everywhere. By default ours has a fence and a limit: a log-in that began before all of a
user's sessions were ended leaves none, and one session more than \`maxPerPrincipal\` ends another. “No limit” is without the
second, “no principal” without both. Each user has one session here.

`
}

/** A kind of request, the cheapest subject first. */
const section = (subjects: ReadonlyArray<Row>, [kind, title, [bare, bareTitle]]: (typeof kinds)[number]): string => {
  const rows = subjects.toSorted((a, b) => a.costs[kind]![0] - b.costs[kind]![0])
  const columns = [
    named,
    middle(bareTitle, bare),
    micros("µs", kind),
    micros("over bare", `${kind} over`),
    times("times ours", `${kind} ratio`),
    times("over bare, times ours", `${kind} over ratio`)
  ]
  return `## ${title.charAt(0).toUpperCase()}${title.slice(1)}\n\n${notes[kind] ?? ""}${table(rows, columns)}`
}

/** Ours beside the fastest peer with a store, which was compared with it. */
const versus = (subjects: ReadonlyArray<Row>): string => {
  const [name, timerOff] = ["@fastify/session", "@fastify/session, client's timer off"]
  const peers = [...find(subjects, "memory", name), ...find(subjects, "redis", name, timerOff)]
  const inverse = (ratio: Figure | undefined): string => spread(ratio && [1 / ratio[0], 1 / ratio[2], 1 / ratio[1]], 2)
  const columns = kinds.map(([kind, title]): Column<Row> => [title, ({ costs }) => inverse(costs[`${kind} ratio`])])
  return table(peers, [["ours ÷ theirs", label], ...columns])
}

const sessions = (subjects: ReadonlyArray<Row>): string =>
  table(subjects, [
    named,
    ["bytes a session", ({ bytes }) => number(bytes)],
    ["bytes a cookie", ({ cookieBytes }) => number(cookieBytes)],
    ["log-out revokes", ({ revokes }) => (revokes ? "yes" : "no")],
    ["`/whoami` a second", ({ costs }) => number(costs.perSecond![0])],
    ["busy", ({ costs }) => ((costs.perSecond![0] * costs.whoami![0]) / 1e6).toFixed(2)]
  ])

const trips = (subjects: ReadonlyArray<Row>): string => {
  const rows = subjects.filter(({ roundTrips }) => roundTrips !== undefined)
  const columns = kinds.map(([kind, title]): Column<Row> => [title, ({ roundTrips }) => number(roundTrips?.[kind])])
  return table(rows, [named, ...columns])
}

const growing = (growth: ReadonlyArray<Growth>): string => {
  const toFirst = (title: string, cost: (row: Growth) => number): Column<Growth> => [
    `${title} ÷ first`,
    (row) => fixed(cost(row) / cost(growth[0]!), 2)
  ]
  return table(growth, [
    ["sessions", ({ sessions }) => number(sessions)],
    ["`/whoami`", ({ whoami }) => fixed(whoami, 1)],
    ["bare route", ({ bare }) => fixed(bare, 1)],
    toFirst("`/whoami`", ({ whoami }) => whoami),
    toFirst("over bare", ({ bare, whoami }) => whoami - bare),
    ["bytes a session", ({ bytes }) => number(bytes)]
  ])
}

/** All tables. */
export const markdown = ({ environment, growth, leftOut, options, subjects }: Result): string => {
  const widest = Math.max(...subjects.map(({ costs: { whoami } }) => whoami![2] / whoami![1]))
  const versions = Object.entries(environment.versions).map((entry) => entry.join(" "))
  return `# Results

${measured(environment)} Made by \`run.ts\`; [README.md](README.md) says what is measured, and how fair it is.

Costs are CPU microseconds of the server process a request: lower is better. Rounds: ${options.rounds}, each figure a median of ${options.passes} passes;
the median of the rounds, with the lowest and the highest in brackets. The rounds of one row's \`/whoami\` lie up to ${widest.toFixed(2)}× apart: the
nearer to one, the quieter the machine. “Over bare” is less a bare request of the same pass, to a route without sessions: a
\`GET\` for reads, a \`POST\` for writes.

“Times ours” is relative to ours on the same store: for \`/whoami\` and a forged token as it is by default, for log-in, update
and log-out to ours without a principal, where that was measured, as peers count no user's sessions. Sealed cookies, which ask
no store and cannot revoke, stand beside ours in memory. Ratios are taken within a pass, those of “over bare” within a round:
they are not the quotients of two columns.

## Against @fastify/session

Ours ÷ theirs, which is one over “times ours”: below one, ours is cheaper. The store is the same on both sides.

${versus(subjects)}

${kinds.map((kind) => section(subjects, kind)).join("\n\n")}

## Sessions

Beside the bytes, how many \`/whoami\` a second were answered as fast as it goes, and how much of its core the server used
meanwhile: well below 1, the client or the store was the limit.

${sessions(subjects)}

## Round trips

How often a request asks its store and is answered; two at once count as two.

${trips(subjects)}

## Growth

Ours in memory, one process that is given ever more sessions: \`/whoami\` of sessions picked at random, in turn with the bare
route. Bytes are beyond what the process held after its warm-up, whose tables the first sessions fill anew.

${growing(growth)}

${leftOut.map((line) => `Not measured: ${line}.\n\n`).join("")}Versions: ${versions.join(", ")}.
`
}

const [startMark, endMark] = ["<!-- bench:start -->", "<!-- bench:end -->"]

const repository = resolve(import.meta.dirname, "..")

/** Each generated document, as it is and as it should be. */
const documents = (result: Result) => {
  const read = (name: string) => readFileSync(join(repository, name), "utf8")
  const between = (name: string) => {
    const text = read(name)
    const [start, end] = [text.indexOf(startMark), text.indexOf(endMark)]
    if (start < 0 || end < start) throw new Error(`${name} has no ${startMark} … ${endMark}`)
    return { name, text, wanted: `${text.slice(0, start)}${startMark}\n${short(result)}\n${text.slice(end)}` }
  }
  const name = "bench/RESULTS.md"
  const whole = { name, text: read(name), wanted: markdown(result) }
  return [whole, between("README.md"), between("docs/performance.md")]
}

const write = (result: Result): void => {
  for (const { name, wanted } of documents(result)) writeFileSync(join(repository, name), wanted)
}

/** Keeps a result, and the documents made from it. */
export const save = (result: Result): void => {
  // A figure on a line: a change of one is a change of a line.
  const text = JSON.stringify(result, null, 1).replaceAll(/\[[\d\s.,-]+\]/g, (figure) => figure.replaceAll(/\s+/g, " "))
  writeFileSync(join(repository, "bench/results.json"), `${text}\n`)
  write(result)
}

if (import.meta.main) {
  const { check } = parseArgs({ options: { check: { type: "boolean" } } }).values
  const result: Result = JSON.parse(readFileSync(join(repository, "bench/results.json"), "utf8"))
  const stale = documents(result).filter(({ text, wanted }) => text !== wanted)
  if (check !== true) write(result)
  else if (stale.length > 0) {
    const names = stale.map(({ name }) => name).join(", ")
    throw new Error(`not made from bench/results.json, which \`npm --prefix bench run table\` mends: ${names}`)
  }
}
