/**
 * Tests of how windows become figures.
 */
import assert from "node:assert/strict"
import { describe, it } from "node:test"
import type { Sample } from "./measure.ts"
import { counterpart, label, subjects } from "./subjects.ts"
import { summarize, summarizeRound, type Findings } from "./summary.ts"

/** A window of 100 requests in a tenth of a second that cost so many microseconds each. */
const window = (micros: number): Sample => ({ requests: 100, seconds: 0.1, cpu: 100 * micros })

/** Passes of `[bare, whoami]`. */
const findingsOf = (...passes: ReadonlyArray<readonly [number, number]>): Findings => ({
  windows: passes.map(([bare, whoami]) => ({ bare: window(bare), whoami: window(whoami) })),
  latencies: [
    { p50: 1, p99: 9 },
    { p50: 3, p99: 5 },
    { p50: 2, p99: 7 }
  ],
  connections: new Map([[10, { samples: [window(30), window(90), window(31)] }]])
})

describe("a round", () => {
  it("takes the median of its windows, which a burst does not move, with their mean and the lowest beside it", () => {
    const round = summarizeRound(findingsOf([10, 20], [11, 21], [50, 90]), undefined)
    assert.equal(round.cpu.bare, 11)
    assert.equal(round.cpu.whoami, 21)
    assert.ok(Math.abs(round.cpuMean.whoami! - 131 / 3) < 1e-9)
    assert.equal(round.cpuLeast.whoami, 20)
    assert.equal(round.p50, 2)
    assert.equal(round.p99, 7)
    assert.equal(round.requestsPerSecond, 1000)
    assert.ok(Math.abs(round.busy - 0.021) < 1e-9)
    assert.equal(round.ratios, undefined)
  })

  it("takes whoami - bare within a pass: the median of the differences, not the difference of the medians", () => {
    // Medians: 20 and 30. Differences: 40, 1, 2.
    assert.equal(summarizeRound(findingsOf([20, 60], [10, 11], [28, 30]), undefined).difference, 2)
  })

  it("compares with ours within a pass, so that what slows both down leaves the ratio alone", () => {
    const ours = findingsOf([5, 10], [10, 20], [50, 100])
    const peer = findingsOf([5, 20], [10, 40], [50, 100])
    const { ratios } = summarizeRound(peer, ours)
    assert.equal(ratios!.whoami, 2) // the medians' ratio too, but not:
    assert.equal(summarizeRound(findingsOf([5, 30], [10, 20], [50, 30]), ours).ratios!.whoami, 1)
    assert.equal(ratios!.session, 30 / 10)
  })

  it("is the median, lowest and highest of the rounds in the end", () => {
    const ours = findingsOf([5, 10])
    const rounds = [30, 20, 40].map((whoami) => summarizeRound(findingsOf([5, whoami]), ours))
    const { connections, cpu, difference, ratios } = summarize(rounds)
    assert.deepEqual(cpu.whoami, { median: 30, low: 20, high: 40 })
    assert.deepEqual(difference, { median: 25, low: 15, high: 35 })
    assert.deepEqual(ratios!.whoami, { median: 3, low: 2, high: 4 })
    assert.deepEqual(connections![0]!.cpu, { median: 31, low: 31, high: 31 })
  })

  it("passes on that so many connections failed", () => {
    const [well, failed] = [findingsOf([1, 2]), findingsOf([1, 2])]
    failed.connections.get(10)!.failure = "no answer"
    const { connections } = summarize([well, failed].map((findings) => summarizeRound(findings, undefined)))
    assert.deepEqual(connections, [{ connections: 10, failure: "no answer" }])
  })
})

describe("counterpart", () => {
  it("is ours on the same store; in memory for a sealed cookie; none without ours", () => {
    const find = (name: string) => subjects.find((subject) => label(subject) === name)!
    const of = (name: string) => counterpart(find(name), subjects)
    assert.equal(of("@fastify/session (redis)"), find("effect-sessions (redis)"))
    assert.equal(of("iron-session (cookie)"), find("effect-sessions (memory)"))
    assert.equal(of("effect-sessions (redis)"), undefined)
    assert.equal(counterpart(find("@fastify/session (redis)"), []), undefined)
  })
})
