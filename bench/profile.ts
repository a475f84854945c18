/**
 * Where the time of a server goes, by a V8 CPU profile of two kinds of request side by side: `npm run profile`.
 *
 * The two take turns, as the machine drifts, and between the profiles the CPU time is measured without one. The profiler
 * slows the server down, and calls "idle" what the kernel does while the server waits for requests, which is left out: so
 * the times do not add up to the CPU time.
 */
import { parseArgs } from "node:util"
import { closedLoop, type Next } from "./client.ts"
import { environment, pinTo, resultPath, saveResult, versionsOf } from "./environment.ts"
import { measureWindow, medianOf, perRequest, withClient, withServer, type Sample } from "./measure.ts"
import { compareFunctions, compareGroups, row, type Row, type SelfTime } from "./profiling.ts"
import { provideRedis } from "./redis.ts"
import { printTable } from "./report.ts"
import type { ProfileResult } from "./results.ts"
import * as scenarios from "./scenarios.ts"
import { label, subjects } from "./subjects.ts"

const { values: flags } = parseArgs({
  options: {
    help: { type: "boolean", default: false },
    subject: { type: "string", default: "effect-sessions (memory)" },
    kind: { type: "string", default: "whoami" },
    against: { type: "string", default: "bare" },
    warmup: { type: "string", default: "3000" },
    segments: { type: "string", default: "8" },
    segment: { type: "string", default: "1000" },
    plain: { type: "string", default: "300" },
    sessions: { type: "string", default: "400" },
    connections: { type: "string", default: "64" },
    "server-core": { type: "string", default: "0" },
    "client-core": { type: "string", default: "1" },
    out: { type: "string", default: resultPath("profile") }
  }
})
if (flags.help) {
  console.log(`npm run profile -- [flags]
  --subject LABEL      ${subjects.map(label).join("\n                       ")}
  --kind, --against    what to compare: bare, visitor, anonymous, whoami, forged (whoami against bare)
  --segments N         profiles of each (8), --segment MS long (1000), --plain MS without a profiler between them (300)
  --warmup MS          load before that, for each (3000)
  --sessions N, --connections N, --server-core N, --client-core N, --out FILE  as for the benchmark`)
  process.exit(0)
}
const options = {
  warmup: Number(flags.warmup),
  segments: Number(flags.segments),
  segment: Number(flags.segment),
  plain: Number(flags.plain),
  sessions: Number(flags.sessions),
  connections: Number(flags.connections)
}
const subject = subjects.find((subject) => label(subject) === flags.subject)
if (subject === undefined) throw new Error(`--subject is one of: ${subjects.map(label).join(", ")}`)

const readsOf = (live: ReadonlyArray<scenarios.LiveSession>): Record<string, () => Next> => ({
  bare: () => () => scenarios.bareExchange,
  visitor: () => () => scenarios.visitorExchange,
  anonymous: () => () => scenarios.anonymousExchange,
  whoami: () => scenarios.cycle(live.map(scenarios.whoami)),
  forged: () => scenarios.cycle(live.map(scenarios.forged))
})
const nextOf = (kind: string, live: ReadonlyArray<scenarios.LiveSession>): Next => {
  const reads = readsOf(live)
  if (!Object.hasOwn(reads, kind)) throw new Error(`a kind is one of: ${Object.keys(reads).join(", ")}`)
  return reads[kind]!()
}
for (const kind of [flags.kind, flags.against]) nextOf(kind, [])

/** All segments of one kind together. */
interface Profiled {
  requests: number
  readonly plain: Array<Sample>
  readonly times: Array<SelfTime>
}

const measure = () =>
  withServer(subject, { core: Number(flags["server-core"]) }, (server) =>
    withClient(server, options.connections, async (client) => {
      const kinds = [flags.against, flags.kind]
      const totals = kinds.map((): Profiled => ({ requests: 0, plain: [], times: [] }))
      for (let segment = -1; segment < options.segments; segment++) {
        // New ones each time: ours would move the idle deadline of older ones.
        const live = await scenarios.createSessions(client, options.sessions)
        for (const [index, kind] of kinds.entries()) {
          const next = nextOf(kind, live)
          if (segment < 0) {
            await closedLoop(client, next, { milliseconds: options.warmup })
            continue
          }
          const total = totals[index]!
          total.plain.push(await measureWindow(server, client, next, options.plain))
          await server.process.ask("startProfile")
          const { requests } = await closedLoop(client, next, { milliseconds: options.segment })
          total.times.push(...(await server.process.ask("stopProfile")))
          total.requests += requests
        }
      }
      return { against: totals[0]!, kind: totals[1]! }
    })
  )

pinTo(Number(flags["client-core"]))
const stopRedis = subject.store === "redis" ? await provideRedis(Number(flags["client-core"])) : async () => {}
try {
  const measuredOn = environment()
  const { against, kind } = await measure()
  const groups = compareGroups(kind, against)
  const total = (column: "kind" | "against") => groups.reduce((sum, row) => sum + row[column], 0)
  const result: ProfileResult = {
    environment: measuredOn,
    versions: versionsOf(subject.packages),
    subject: flags.subject,
    kind: flags.kind,
    against: flags.against,
    options,
    cpu: row("CPU time without a profiler", medianOf(kind.plain, perRequest), medianOf(against.plain, perRequest)),
    groups,
    sum: row("sum", total("kind"), total("against")),
    functions: compareFunctions(kind, against, 20)
  }
  const cells = ({ against, difference, kind, name }: Row) => [
    name,
    ...[against, kind, difference].map((micros) => micros.toFixed(2))
  ]
  const head = [`${result.subject}, µs a request`, result.against, result.kind, "difference"]
  printTable(head, [...groups, result.sum, result.cpu].map(cells))
  printTable(["functions by difference", ...head.slice(1)], result.functions.map(cells))
  saveResult(flags.out, result)
  console.log(`\nwrote ${flags.out}`)
} finally {
  await stopRedis()
}
