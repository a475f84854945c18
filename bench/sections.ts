/**
 * The sections of docs/performance.md and of the README, as Markdown, from the results. Every number comes from there.
 */
import type { Environment } from "./environment.ts"
import type { Row } from "./profiling.ts"
import { subjectLabel } from "./report.ts"
import type {
  BundleResult,
  HttpResult,
  MicroResult,
  ProfileResult,
  Ratios,
  Scenario,
  SubjectResult
} from "./results.ts"
import type { Figure } from "./stats.ts"

/** The names in the first column and other words stand to the left, numbers to the right. */
const table = (head: ReadonlyArray<string>, rows: ReadonlyArray<ReadonlyArray<string>>): string => {
  const isWords = (column: number) => column === 0 || rows.some((row) => /^[a-z]/i.test(row[column]!))
  return [head, head.map((_, column) => (isWords(column) ? "---" : "---:")), ...rows]
    .map((cells) => `| ${cells.join(" | ")} |`)
    .join("\n")
}

const details = (summary: string, ...paragraphs: ReadonlyArray<string>): string =>
  [`<details>\n<summary>${summary}</summary>`, ...paragraphs, "</details>"].join("\n\n")

const number = (value: number): string => Math.round(value).toLocaleString("en-US")
const ranged = ({ high, low, median }: Figure, digits: number): string =>
  `${median.toFixed(digits)} (${low.toFixed(digits)}–${high.toFixed(digits)})`
const micros = (value: Figure | undefined): string => (value === undefined ? "" : ranged(value, 1))
const kib = (bytes: number): string => `${(bytes / 1024).toFixed(1)} KiB`
const bold = (subject: SubjectResult, text: string): string => (subject.ours ? `**${text}**` : text)
/** A row that begins with the subject. */
const named = (subject: SubjectResult, cells: ReadonlyArray<string>): ReadonlyArray<string> =>
  [bold(subject, subjectLabel(subject))].concat(cells)
const versionList = (versions: Record<string, string>): string =>
  Object.entries(versions)
    .map(([name, version]) => `${name} ${version}`)
    .toSorted()
    .join(", ")
const measured = ({ commit, cores, cpu, date, dirty, node }: Environment): string =>
  `Measured ${date.slice(0, 10)} at \`${commit.slice(0, 10)}\`${dirty ? " with changes" : ""} ` +
  `on ${cpu} (${cores} cores), Node ${node}`

/** The peers in three sentences, by where their ratios of all rounds lie. */
const comparison = (title: string, subjects: ReadonlyArray<SubjectResult>, of: (ratios: Ratios) => Figure): string => {
  const compared = subjects
    .flatMap((subject) => (subject.ratios === undefined ? [] : [{ subject, ratio: of(subject.ratios) }]))
    .toSorted((a, b) => b.ratio.median - a.ratio.median)
  const sentence = (start: string, fits: (ratio: Figure) => boolean): ReadonlyArray<string> => {
    const list = compared
      .filter(({ ratio }) => fits(ratio))
      .map(({ ratio, subject }) => `${subjectLabel(subject)} ${ratio.median.toFixed(2)}×`)
    return list.length === 0 ? [] : [`${start}: ${list.join(", ")}.`]
  }
  return [
    `- **${title}.**`,
    ...sentence("Dearer than ours", ({ low }) => low > 1),
    ...sentence("No clear difference (rounds on both sides)", ({ high, low }) => low <= 1 && high >= 1),
    ...sentence("Cheaper than ours", ({ high }) => high < 1)
  ].join(" ")
}

const kindNames: ReadonlyArray<readonly [Scenario, string]> = [
  ["visitor", "visitor"],
  ["anonymous", "anonymous, 401"],
  ["forged", "forged token, 401"],
  ["create", "create"],
  ["update", "update"],
  ["destroy", "destroy"]
]

/** Ours against the cheapest of those that keep sessions in memory too, for each of the other requests. */
const otherRequests = (sessions: ReadonlyArray<SubjectResult>): ReadonlyArray<string> => {
  const inMemory = sessions.filter(({ store }) => store === "memory")
  const ours = inMemory.find((subject) => subject.ours)
  const peers = inMemory.filter((subject) => !subject.ours)
  if (ours === undefined || peers.length === 0) return []
  const cheapest = (kind: Scenario): SubjectResult =>
    peers.reduce((best, peer) => (peer.cpu[kind]!.median < best.cpu[kind]!.median ? peer : best))
  const sentence = (start: string, fits: (own: Figure, peer: Figure) => boolean): string => {
    const list = kindNames
      .filter(([kind]) => fits(ours.cpu[kind]!, cheapest(kind).cpu[kind]!))
      .map(([kind, name]) => {
        const peer = cheapest(kind)
        return `${name} (${ours.cpu[kind]!.median.toFixed(1)} µs; ${peer.name} ${peer.cpu[kind]!.median.toFixed(1)})`
      })
    return list.length === 0 ? "" : ` ${start}: ${list.join(", ")}.`
  }
  return [
    "- **Other requests, sessions in memory,** ours and the cheapest peer that keeps them there." +
      sentence("Ours is cheaper", (own, peer) => own.high < peer.low) +
      sentence("No clear difference (rounds overlap)", (own, peer) => own.high >= peer.low && peer.high >= own.low) +
      sentence("The peer is cheaper", (own, peer) => peer.high < own.low)
  ]
}

const memoryLine = (sessions: ReadonlyArray<SubjectResult>): ReadonlyArray<string> => {
  const list = sessions
    .filter(({ memory }) => memory !== undefined)
    .toSorted((a, b) => a.memory!.bytesPerSession - b.memory!.bytesPerSession)
    .map((subject) => bold(subject, `${subject.name} ${number(subject.memory!.bytesPerSession)}`))
  return list.length === 0 ? [] : [`- **Bytes of memory a session:** ${list.join(", ")}.`]
}

/** How far apart the rounds of one and the same server lie, at most. */
const widest = (sessions: ReadonlyArray<SubjectResult>): number =>
  Math.max(...sessions.map(({ cpu }) => cpu.whoami!.high / cpu.whoami!.low))

/** The README's rows: ours and the two libraries most in use, on the stores that all three have. */
export const shortSections = ({ environment, subjects }: HttpResult): ReadonlyArray<string> => {
  const named = ["effect-sessions", "@fastify/session", "express-session"]
  const rows = ["memory", "redis"].flatMap((store) =>
    named.flatMap((name) => subjects.filter((subject) => subject.store === store && subject.name === name))
  )
  const kinds: ReadonlyArray<Scenario> = ["bare", "whoami", "forged", "create", "update", "destroy"]
  return [
    table(
      ["CPU µs a request", "bare route", "`/whoami`", "forged token", "log-in", "update", "log-out"],
      rows.map((subject) =>
        [bold(subject, `${subject.name}, ${subject.store}`)].concat(
          kinds.map((kind) => subject.cpu[kind]!.median.toFixed(1))
        )
      )
    ),
    `${measured(environment)}.`
  ]
}

export const httpSections = ({
  environment,
  growth,
  leftOut,
  options,
  subjects
}: HttpResult): ReadonlyArray<string> => {
  const whoami = (subject: SubjectResult): number => subject.cpu.whoami!.median
  const sessions = subjects.toSorted((a, b) => whoami(a) - whoami(b))
  const hasPeers = sessions.some(({ ratios }) => ratios !== undefined)
  const sections = [
    "CPU microseconds of the server process a request, so lower is better: a bare route, the same answer from a session " +
      "(`GET /whoami`), and the difference, which is what the session costs. " +
      `Median of ${options["rounds"]} rounds, lowest and highest in brackets. “Times ours” compares \`/whoami\` with ours ` +
      "on the same store, and sealed cookies, which ask no store and cannot revoke, with ours in memory. It is taken from " +
      "what was measured side by side, so it is not the quotient of two columns. " +
      `The rounds of one row differ by up to ${widest(sessions).toFixed(1)}×: where that is much more than one, the machine ` +
      "was noisy, and ratios say more than microseconds.",
    table(
      ["library", "store", "bare µs", "`/whoami` µs", "session µs", "times ours", "log-out revokes"],
      sessions.map((subject) => [
        bold(subject, subject.name),
        subject.store,
        micros(subject.cpu.bare),
        micros(subject.cpu.whoami),
        micros(subject.difference),
        subject.ratios === undefined ? "" : ranged(subject.ratios.whoami, 2),
        subject.behaviour!.logoutRevokes ? "yes" : "no"
      ])
    ),
    [
      ...(hasPeers
        ? [
            comparison("`/whoami`, the framework included", sessions, (ratios) => ratios.whoami),
            comparison("The session alone", sessions, (ratios) => ratios.session)
          ]
        : []),
      ...otherRequests(sessions),
      ...memoryLine(sessions)
    ].join("\n"),
    details(
      "Visitors, forged tokens, create, update, destroy",
      "CPU µs a request. A visitor has no cookie on a route that asks for none; an anonymous request wants `/whoami`.",
      table(
        ["", ...kindNames.map(([, name]) => name)],
        sessions.map((subject) =>
          named(
            subject,
            kindNames.map(([kind]) => subject.cpu[kind]!.median.toFixed(1))
          )
        )
      )
    ),
    details(
      "Throughput, latency and memory",
      `Requests a second of \`/whoami\` on one core, ${options["connections"]} connections; “busy” is how much of the core ` +
        `the server used meanwhile: well below 1, the client or the store was the limit. Latency in ms at a fixed ` +
        `${number(Number(options["rate"]))} requests a second.`,
      table(
        ["", "requests/s", "busy", "p50", "p99", "bytes a session"],
        sessions.map((subject) =>
          named(subject, [
            `${number(subject.requestsPerSecond.median)} (${number(subject.requestsPerSecond.low)}–${number(subject.requestsPerSecond.high)})`,
            subject.busy.median.toFixed(2),
            ranged(subject.p50, 2),
            ranged(subject.p99, 2),
            subject.memory === undefined ? "" : number(subject.memory.bytesPerSession)
          ])
        )
      )
    )
  ]
  const connections = sessions.filter((subject) => subject.connections !== undefined)
  if (connections.length > 0) {
    sections.push(
      details(
        "Few and many connections",
        "CPU µs of a `/whoami`. With one connection nothing is shared: each request pays alone for its reads and writes, of " +
          "the store too. Redis runs on the client's core.",
        table(
          ["connections", ...connections[0]!.connections!.map(({ connections }) => number(connections))],
          connections.map((subject) =>
            named(
              subject,
              subject.connections!.map(({ cpu }) => (cpu === undefined ? "fails" : micros(cpu)))
            )
          )
        )
      )
    )
  }
  if (growth.length > 0) {
    sections.push(
      details(
        "Growth of the number of sessions",
        "Ours in memory, one process that is given more and more sessions: CPU µs of a `/whoami` of sessions picked at random " +
          "from all, in turn with the bare route, which knows no session. A million of them are a heap of some size, which " +
          "costs both: the garbage collector goes through it, and the processor's caches hold little of it.",
        table(
          ["sessions", "`/whoami` µs", "bare µs", "difference", "bytes a session"],
          growth.map(({ bare, bytesPerSession, cpu, sessions }) => [
            number(sessions),
            cpu.toFixed(1),
            bare.toFixed(1),
            (cpu - bare).toFixed(1),
            number(bytesPerSession)
          ])
        )
      )
    )
  }
  const trips = sessions.filter((subject) => subject.roundTrips !== undefined)
  if (trips.length > 0) {
    const kinds = ["whoami", "forged", "create", "update", "destroy"] as const
    sections.push(
      details(
        "Round trips to the store",
        "How often a request waits for it.",
        table(
          ["", "`/whoami`", "forged token", "create", "update", "destroy"],
          trips.map((subject) =>
            named(
              subject,
              kinds.map((kind) => String(subject.roundTrips![kind]))
            )
          )
        ),
        ...touches(sessions)
      )
    )
  }
  for (const { reason, subject } of leftOut) sections.push(`Not measured: ${subject}, as ${reason}.`)
  const versions = Object.assign({}, ...subjects.map((subject) => subject.versions)) as Record<string, string>
  sections.push(`${measured(environment)}: ${versionList(versions)}.`)
  return sections
}

const touches = (sessions: ReadonlyArray<SubjectResult>): ReadonlyArray<string> => {
  const list = sessions
    .filter(({ touching }) => touching !== undefined)
    .map(({ store, touching }) => {
      const trips = touching!.roundTrips === undefined ? "" : ` and ${touching!.roundTrips} round trips`
      return `${touching!.cpu.toFixed(1)} µs${trips} (${store})`
    })
  if (list.length === 0) return []
  return [
    `Ours moves a session's idle deadline at most once a minute; a \`/whoami\` that does costs, measured by itself, ${list.join(", ")}.`
  ]
}

export const profileSection = (result: ProfileResult): string => {
  const { against, cpu, environment, groups, kind, subject, versions } = result
  const cells = ({ name, ...row }: Row): ReadonlyArray<string> => [
    name,
    ...[row.against, row.kind, row.difference].map((value) => value.toFixed(1))
  ]
  return details(
    "Where the microseconds of a session go",
    `${subject}, from a CPU profile of \`${against}\` and \`${kind}\` in turn: µs a request of each group of functions itself.` +
      " The profiler slows the server down, and what the kernel does while the server waits is in no group, so the sum is " +
      "not the CPU time, which was measured in turn with it without a profiler.",
    table(
      ["µs a request", against, kind, "difference"],
      [...groups.filter((row) => row.kind >= 0.05 || row.against >= 0.05), result.sum, cpu].map(cells)
    ),
    `${measured(environment)}: ${versionList(versions)}.`
  )
}

export const microSection = ({ environment, parts, versions }: MicroResult): string =>
  details(
    "The parts of a request",
    "Each by itself in a loop, median in nanoseconds. Effects are run with `Effect.runSync`, whose own cost is the first line.",
    table(
      ["part", "ns"],
      parts.map(({ name, nanoseconds }) => [name, number(nanoseconds)])
    ),
    `${measured(environment)}: ${versionList(versions)}.`
  )

export const bundleSection = ({ entries, environment }: BundleResult): string =>
  details(
    "Size in a bundle",
    "What sessions add to an app that has the framework already, and the whole with it; minified and gzipped.",
    table(
      ["", "added", "added, gzipped", "whole, gzipped"],
      entries.map(({ added, name, with: whole }) => [name, kib(added.minified), kib(added.gzipped), kib(whole.gzipped)])
    ),
    `${measured(environment)}: ${versionList(Object.assign({}, ...entries.map(({ versions }) => versions)))}.`
  )
