/**
 * What a V8 CPU profile says of a server, summed up: the time of each function itself, and of groups of them.
 */
import type { Profiler, Runtime } from "node:inspector"
import { fileURLToPath } from "node:url"

export interface SelfTime {
  readonly name: string
  /** From the package's name on (`effect/dist/Context.js:12`), from the repository on, `node:…`, or "" for native code. */
  readonly location: string
  readonly micros: number
}

export const groups = [
  "system calls that write",
  "crypto",
  "V8 and native code",
  "Node's JavaScript",
  "Effect: HTTP",
  "Effect: Schema",
  "Effect: data types",
  "Effect: runtime",
  "effect-sessions",
  "database clients",
  "everything else"
] as const
export type Group = (typeof groups)[number]

/** By location, the first that fits. */
const places: ReadonlyArray<readonly [RegExp, Group]> = [
  [/^(node:(internal\/)?crypto\b|effect\/dist\/crypto\/)/, "crypto"],
  [/^node:/, "Node's JavaScript"],
  [/^(@redis\/|redis\/|pg[-/]|@effect\/sql-|effect\/dist\/(sql|persistence)\/)/, "database clients"],
  [/^(effect\/dist\/http\/|@effect\/platform-node)/, "Effect: HTTP"],
  [/^effect\/dist\/(Schema\w*\.js|schema\/|internal\/schema)/, "Effect: Schema"],
  [
    /^effect\/dist\/(internal\/(effect|core|layer|tracer|references|stackTraceLimit)\.js|(Effect|Effectable|Exit|Cause|Fiber\w*|Scheduler|Context|Scope|Layer|Tracer|References|Function|Pipeable|Utils)\.js)/,
    "Effect: runtime"
  ],
  [/^effect\/dist\//, "Effect: data types"],
  [/^dist\//, "effect-sessions"]
]

const nativeWrite = /^write(v|Buffer|(Utf8|Latin1|Ascii|Ucs2)String)$/
const nativeCrypto =
  /^(oneShotDigest|digest|update|final|init|sign|verify|timingSafeEqual|hash|hmac|Hash|Hmac|SignJob|HashJob|HmacJob|RandomBytesJob)$/

export const groupOf = ({ location, name }: Pick<SelfTime, "location" | "name">): Group => {
  if (location === "") {
    return nativeWrite.test(name)
      ? "system calls that write"
      : nativeCrypto.test(name)
        ? "crypto"
        : "V8 and native code"
  }
  return places.find(([pattern]) => pattern.test(location))?.[1] ?? "everything else"
}

const root = fileURLToPath(new URL("../", import.meta.url))

const locate = ({ lineNumber, url }: Runtime.CallFrame): string => {
  if (url === "") return ""
  const path = url.replace(/^file:\/\//, "")
  return `${path.replace(/^.*\/node_modules\//, "").replace(root, "")}:${lineNumber + 1}`
}

/** The time each function spent itself, idle time left out. */
export const selfTimes = ({ nodes, samples = [], timeDeltas = [] }: Profiler.Profile): ReadonlyArray<SelfTime> => {
  const frames = new Map(nodes.map(({ callFrame, id }) => [id, callFrame]))
  const totals = new Map<string, SelfTime>()
  samples.forEach((id, index) => {
    const frame = frames.get(id)!
    if (frame.functionName === "(idle)") return
    const name = frame.functionName || "(anonymous)"
    const location = locate(frame)
    // A sample is taken for the time until the next one.
    addTo(totals, { name, location, micros: timeDeltas[index + 1] ?? 0 })
  })
  return [...totals.values()]
}

const addTo = (totals: Map<string, SelfTime>, { location, micros, name }: SelfTime): void => {
  const key = `${name} ${location}`
  totals.set(key, { name, location, micros: (totals.get(key)?.micros ?? 0) + micros })
}

/** What was loaded: all segments of one kind of request together. */
export interface Loaded {
  readonly requests: number
  readonly times: ReadonlyArray<SelfTime>
}

/** Microseconds a request: of the kind in question, of the one it is held against, and the difference. */
export interface Row {
  readonly name: string
  readonly kind: number
  readonly against: number
  readonly difference: number
}

const round = (micros: number): number => Math.round(micros * 1000) / 1000

export const row = (name: string, kind: number, against: number): Row => ({
  name,
  kind: round(kind),
  against: round(against),
  difference: round(kind - against)
})

const perRequest = ({ requests, times }: Loaded, nameOf: (time: SelfTime) => string): ReadonlyMap<string, number> => {
  const sums = new Map<string, number>()
  for (const time of times) sums.set(nameOf(time), (sums.get(nameOf(time)) ?? 0) + time.micros / requests)
  return sums
}

export const compareGroups = (kind: Loaded, against: Loaded): ReadonlyArray<Row> => {
  const [ours, theirs] = [perRequest(kind, groupOf), perRequest(against, groupOf)]
  return groups.map((group) => row(group, ours.get(group) ?? 0, theirs.get(group) ?? 0))
}

/** The functions whose times differ most. */
export const compareFunctions = (kind: Loaded, against: Loaded, count: number): ReadonlyArray<Row> => {
  const nameOf = ({ location, name }: SelfTime): string => `${name} ${location}`.trim()
  const [ours, theirs] = [perRequest(kind, nameOf), perRequest(against, nameOf)]
  return [...new Set([...ours.keys(), ...theirs.keys()])]
    .map((name) => row(name, ours.get(name) ?? 0, theirs.get(name) ?? 0))
    .toSorted((a, b) => b.difference - a.difference)
    .slice(0, count)
}
