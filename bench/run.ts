/**
 * The benchmark: `npm run bench`. README.md beside this file says what is measured, how to read it, and what the flags are.
 */
import { execFileSync } from "node:child_process"
import { existsSync, readFileSync } from "node:fs"
import { cpus } from "node:os"
import { resolve } from "node:path"
import { parseArgs } from "node:util"
import * as measure from "./measure.ts"
import type { Store } from "./servers/common.ts"
import { clearPostgres, startRedis } from "./servers/stores.ts"
import * as Subjects from "./servers/subjects.ts"
import { markdown, save, type Result } from "./table.ts"

const { values: flags } = parseArgs({
  options: {
    quick: { type: "boolean", default: false },
    only: { type: "string", default: "" },
    dist: { type: "string" },
    rounds: { type: "string" },
    passes: { type: "string", default: "6" }
  }
})
const count = (flag: string, text: string): number => {
  if (!/^[1-9]\d*$/.test(text)) throw new Error(`--${flag} must be a whole number from 1, not ${text}`)
  return Number(text)
}
const options: measure.Options = {
  rounds: count("rounds", flags.rounds ?? (flags.quick ? "1" : "3")),
  passes: count("passes", flags.passes)
}
const isPart = flags.quick || flags.only !== "" || flags.dist !== undefined
const builds = flags.dist?.split(",").map((dist) => resolve(dist))
const candidates = builds !== undefined ? Subjects.builds(builds) : flags.quick ? Subjects.quick : Subjects.subjects
const wanted = candidates.filter((subject) => new RegExp(flags.only).test(Subjects.label(subject)))
if (cpus().length < 2) throw new Error("the servers and their client need a core each")
const pin = ["-a", "-c", "-p", String(measure.clientCore), String(process.pid)]
execFileSync("taskset", pin, { stdio: "ignore" })

const say = (text: string): void => console.log(`${(performance.now() / 1000).toFixed(0).padStart(5)} s  ${text}`)

const root = resolve(import.meta.dirname, "..")
const environment = (): Result["environment"] => {
  const git = (...args: ReadonlyArray<string>) =>
    execFileSync("git", ["-C", root, ...args])
      .toString()
      .trim()
  const json = (file: string) => JSON.parse(readFileSync(`${root}/${file}/package.json`, "utf8"))
  const installed = (name: string): string => {
    const folder = ["bench/node_modules", "node_modules"].find((folder) => existsSync(`${root}/${folder}/${name}`))
    if (folder === undefined) throw new Error(`${name} is not installed: npm --prefix bench ci`)
    return json(`${folder}/${name}`).version
  }
  const packages = ["effect", "@effect/platform-node", "@effect/sql-pg", ...Object.keys(json("bench").dependencies)]
  return {
    date: new Date().toISOString().slice(0, 10),
    node: process.version,
    cpu: cpus()[0]!.model,
    cores: cpus().length,
    commit: git("rev-parse", "HEAD"),
    dirty: git("status", "--porcelain", "--", "src") !== "",
    versions: Object.fromEntries(packages.toSorted().map((name) => [name, installed(name)]))
  }
}

const measureAll = async (missing: ReadonlyMap<Store, string>): Promise<Result> => {
  const measuredOn = environment()
  const leftOut = wanted
    .filter(({ store }) => missing.has(store))
    .map((subject) => `${Subjects.label(subject)}, as ${missing.get(subject.store)}`)
  for (const line of leftOut) say(`left out: ${line}`)
  const subjects = wanted.filter(({ store }) => !missing.has(store))
  if (subjects.length === 0) throw new Error("nothing is left to measure")

  const rounds: Array<ReadonlyArray<measure.Findings>> = []
  while (rounds.length < options.rounds) {
    rounds.push(await measure.measureRound(subjects, rounds.length, options.passes))
    say(`round ${rounds.length} of ${options.rounds}`)
  }
  const results: Array<Result["subjects"][number]> = []
  for (const [at, subject] of subjects.entries()) {
    const { name, store } = subject
    results.push({
      name,
      store,
      ...rounds[0]![at]!.behaviour!,
      costs: measure.summarize(rounds.map((all) => measure.summarizeRound(all[at]!, all))),
      ...(store === "memory" && !flags.quick ? { bytes: await measure.measureMemory(subject) } : {}),
      ...(store === "redis" || store === "postgres" ? { roundTrips: await measure.measureRoundTrips(subject) } : {})
    })
  }
  say("memory and round trips")
  const growth = isPart ? [] : await measure.measureGrowth(subjects[0]!, 3 * options.passes)
  return { environment: measuredOn, options, subjects: results, leftOut, growth }
}

const needs = (store: Store): boolean => wanted.some((subject) => subject.store === store)
const missing = new Map<Store, string>()
using redis = needs("redis") ? await startRedis(measure.clientCore) : undefined
if (redis === undefined) missing.set("redis", "there is no redis-server on PATH")
else process.env["BENCH_REDIS_URL"] = redis.url // which the servers inherit
if (needs("postgres") && !(await clearPostgres())) missing.set("postgres", "no Postgres answers at BENCH_POSTGRES_URL")
const result = await measureAll(missing)
console.log(`\n${markdown(result)}`)
if (!isPart) save(result)
say(isPart ? "done" : "wrote results.json, RESULTS.md, and the rows of README.md and docs/performance.md")
if (needs("postgres") && !missing.has("postgres")) await clearPostgres()
