/**
 * The HTTP benchmark: `npm run bench -- --help`. README.md beside this file says what is measured and how to read it.
 */
import { cpus } from "node:os"
import { isRemote, measureGrowth, measureMemory, measureRoundTrips, measureTouching } from "./details.ts"
import { environment, pinTo, resultPath, saveResult, versionsOf } from "./environment.ts"
import { readOptions } from "./options.ts"
import { provideRedis } from "./redis.ts"
import { printResult } from "./report.ts"
import type { HttpResult, LeftOut, SubjectResult } from "./results.ts"
import { measureRound } from "./rounds.ts"
import { missing } from "./stores.ts"
import * as Subjects from "./subjects.ts"
import { summarize, type Round } from "./summary.ts"

const options = readOptions()
const out = options.out ?? resultPath(options.quick ? "quick" : "http")
const wanted = (options.quick ? Subjects.quick : Subjects.subjects).filter((subject) =>
  options.only.test(Subjects.label(subject))
)
if (wanted.length === 0) throw new Error(`no subject's label matches --only ${options.only.source}`)
if (cpus().length < 2) throw new Error("the server and its client need a core each")
pinTo(options.clientCore)

const started = performance.now()
const say = (text: string): void =>
  console.log(`${((performance.now() - started) / 1000).toFixed(0).padStart(5)} s  ${text}`)

const measureAll = async (): Promise<HttpResult> => {
  const measuredOn = environment()
  const reasons = new Map<string, string>()
  for (const store of new Set(wanted.map(({ store }) => store))) {
    const reason = await missing(store)
    if (reason !== undefined) reasons.set(store, reason)
  }
  const leftOut: ReadonlyArray<LeftOut> = wanted.flatMap((subject) => {
    const reason = reasons.get(subject.store)
    return reason === undefined ? [] : [{ subject: Subjects.label(subject), reason }]
  })
  for (const { reason, subject } of leftOut) say(`left out: ${subject}, as ${reason}`)
  const subjects = wanted.filter(({ store }) => !reasons.has(store))
  if (subjects.length === 0) throw new Error("nothing is left to measure")

  const rounds = new Map<Subjects.Subject, Array<Round>>(subjects.map((subject) => [subject, []]))
  for (let index = 0; index < options.rounds; index++) {
    for (const [subject, round] of await measureRound(subjects, index, options, say)) {
      rounds.get(subject)!.push(round)
      const cpu = Object.entries(round.cpu).map(([kind, value]) => `${kind} ${value.toFixed(1)}`)
      say(`round ${index + 1}  ${Subjects.label(subject).padEnd(32)} CPU µs: ${cpu.join(", ")}`)
    }
  }

  const results: Array<SubjectResult> = []
  for (const subject of subjects) {
    const { name, ours = false, packages, store } = subject
    results.push({
      name,
      store,
      ours,
      versions: versionsOf(packages),
      ...summarize(rounds.get(subject)!),
      ...(store === "memory" && options.memory > 0 ? { memory: await measureMemory(subject, options) } : {}),
      ...(isRemote(subject) && !options.quick ? { roundTrips: await measureRoundTrips(subject, options) } : {}),
      ...(ours && !options.quick ? { touching: await measureTouching(subject, options) } : {})
    })
    say(`details  ${Subjects.label(subject)}`)
  }
  const growing = subjects.find(({ ours, store }) => ours === true && store === "memory")
  const growth = growing !== undefined && options.growth.length > 0 ? await measureGrowth(growing, options) : []
  const { only, out: _, ...flags } = options
  return {
    environment: measuredOn,
    options: { ...flags, only: only.source, at: options.at.join(), growth: options.growth.join() },
    subjects: results,
    leftOut,
    growth
  }
}

const stopRedis = wanted.some(({ store }) => store === "redis")
  ? await provideRedis(options.clientCore)
  : async () => {}
try {
  const result = await measureAll()
  saveResult(out, result)
  printResult(result)
  say(`wrote ${out}`)
} finally {
  await stopRedis()
}
