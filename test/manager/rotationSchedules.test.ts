/**
 * 10,000 schedules of two tabs with one cookie jar around scheduled rotations, on a clock of their own: requests travel,
 * and responses are lost, late and out of order. Seeded: each run is the same.
 */
import { assert, describe, it } from "@effect/vitest"
import * as Effect from "effect/Effect"
import * as HttpServerResponse from "effect/http/HttpServerResponse"
import * as Redacted from "effect/Redacted"
import { outcome } from "../support/outcome.ts"
import * as Random from "../support/random.ts"
import { requestWith } from "../support/request.ts"
import { every, grace, times } from "../support/rotating.ts"
import { ada, UserSession } from "../support/userSession.ts"
import { makeWorld } from "../support/world.ts"
import type { World } from "../support/world.ts"

type Token = Redacted.Redacted<string>

const schedules = 10_000
const minute = 60_000

/** How long a tab waits between two requests, a request travels, a handler works, and a response travels. */
const pauses = [0, 500, 5_000, grace - 1, minute, every - 1, every, every + 1, every + 5_000, every + 2 * minute]
const travels = [0, 1, 1, 50, 2_000, grace - 1]
const works = [0, 0, 0, 2_000, 10_000, 10_001, minute, every, every + 5_000, 2 * every]
/** A response that is late by as much as `rotateEvery` would bring a token that was given up. */
const delays = [0, 1, 1, 50, 2_000, grace, 3 * minute, every - 2 * grace]

const tally = { requests: 0, rotations: 0, withheld: 0, lost: 0, late: 0, logOuts: 0 }
const thefts = { inGrace: 0, Reused: 0, NotFound: 0 }

const textOf = (token: Token) => Redacted.value(token)

/** A browser with two tabs, and what is wrong with the day they had. */
const makeDay = ({ manager, time }: World, dice: Random.Dice, problems: Array<string>) => {
  const events: Array<{ readonly at: number; readonly run: Effect.Effect<void> }> = []
  /** What happens at once happens in the order in which it was said. */
  const later = (delay: number, run: Effect.Effect<void>) => {
    const at = time.now + delay
    const next = events.findIndex((event) => event.at > at)
    events.splice(next < 0 ? events.length : next, 0, { at, run })
  }
  const day = { jar: undefined as Token | undefined, isOver: false, counted: 0, problems }

  const respond = (issued: Token | undefined) => {
    if (dice.below(4) === 0) {
      tally.lost++
      return
    }
    const delay = dice.pick(delays)
    if (delay >= grace) tally.late++
    if (issued === undefined) return
    const arrive = Effect.sync(() => {
      if (!day.isOver) day.jar = issued
    })
    later(delay, arrive)
  }

  const handle = (tab: number, token: Token, act: "look" | "update" | "log out") => {
    const request = requestWith(manager, token)
    return Effect.gen(function* () {
      tally.requests++
      const wasOver = day.isOver
      const word = yield* outcome(Effect.andThen(request.get, act === "log out" ? request.destroy : Effect.void))
      if (wasOver !== (word !== "ok")) problems.push(`tab ${tab} was answered ${word}${wasOver ? " at the end" : ""}`)
      if (word !== "ok") return
      if (act === "log out") {
        day.isOver = true
        day.jar = undefined
        tally.logOuts++
        return
      }
      const session = yield* Effect.orDie(request.get)
      const isNew = textOf(session.token) !== textOf(token)
      if (isNew) tally.rotations++
      const end = Effect.gen(function* () {
        if (act === "update") {
          const done = yield* outcome(request.update((data) => ({ ...data, count: data.count + 1 })))
          if (done === "ok") day.counted++
          else if (!day.isOver) problems.push(`an update of tab ${tab} was answered ${done}`)
        }
        const { headers } = yield* request.finish(HttpServerResponse.empty())
        const issued = headers["x-session"]
        if (isNew && issued === undefined) tally.withheld++
        respond(issued === undefined ? undefined : Redacted.make(issued))
      })
      later(dice.pick(works), end)
    })
  }

  /** A tab sends what is in the jar, `left` times. */
  const send = (tab: number, left: number, logOutAt: number): Effect.Effect<void> =>
    Effect.sync(() => {
      const token = day.jar
      if (token === undefined) return
      const act = left === logOutAt ? "log out" : dice.below(3) === 0 ? "update" : "look"
      later(dice.pick(travels), handle(tab, token, act))
      if (left > 1) later(dice.pick(pauses), send(tab, left - 1, logOutAt))
    })

  const run = Effect.gen(function* () {
    const session = yield* Effect.orDie(manager.create(ada))
    day.jar = session.token
    const hasLogOut = dice.below(4) === 0
    later(dice.pick(pauses), send(1, 12, hasLogOut ? dice.below(12) : -1))
    later(dice.pick(pauses), send(2, 12, -1))
    for (let event = events.shift(); event !== undefined; event = events.shift()) {
      time.now = event.at
      yield* event.run
    }
    if (day.isOver || day.jar === undefined) return
    const { data } = yield* Effect.orDie(manager.resolve(day.jar, { touch: false }))
    if (data.count !== day.counted) problems.push(`${day.counted} updates were answered, ${data.count} are there`)
  })
  return { day, run }
}

/** Somebody has copied the jar's token, and uses it once the tabs have another. */
const steal = Effect.fnUntraced(function* ({ manager, time }: World, dice: Random.Dice, jar: Token) {
  const problems: Array<string> = []
  const look = (token: Token) => requestWith(manager, token).get
  const copy = jar
  let held = jar
  while (textOf(held) === textOf(copy)) {
    time.now += every
    held = (yield* Effect.orDie(look(held))).token
  }
  // Nobody has seen the new one: the copy stands.
  time.now += dice.below(every)
  const early = yield* outcome(look(copy))
  if (early !== "ok") problems.push(`the copy was answered ${early} before the new token was seen`)
  yield* Effect.orDie(look(held))
  const seenAt = time.now
  const wait = dice.below(4) === 0 ? dice.below(grace) : grace + dice.below(2 * every)
  let isOlder = false
  if (dice.below(2) === 0) {
    time.now = seenAt + dice.below(wait + 1)
    const { token } = yield* Effect.orDie(look(held))
    isOlder = textOf(token) !== textOf(held)
    held = token
  }
  time.now = seenAt + wait
  const kind = isOlder ? "NotFound" : wait < grace ? "inGrace" : "Reused"
  thefts[kind]++
  const expected = kind === "inGrace" ? "ok" : `SessionInvalid ${kind}`
  const word = yield* outcome(look(copy))
  if (word !== expected) problems.push(`the copy was answered ${word}, not ${expected}`)
  // It ends for both, or for nobody but the thief.
  const owner = yield* outcome(look(held))
  if (owner !== (kind === "Reused" ? "SessionInvalid NotFound" : "ok")) problems.push(`${kind}: the owner ${owner}`)
  const again = yield* outcome(look(copy))
  if (kind !== "inGrace" && again !== "SessionInvalid NotFound") problems.push(`the copy, again: ${again}`)
  return problems
})

describe("two tabs around scheduled rotations", () => {
  it(
    "[R55] [R56] are never logged out unless they log out, and a copied token ends the session for both",
    { timeout: 300_000 },
    async () => {
      const plain = await makeWorld()
      const world = { ...plain, manager: await plain.process(times) }
      const problems: Array<string> = []
      for (let seed = 1; seed <= schedules; seed++) {
        const dice = Random.make(seed * 2_654_435_761)
        const found: Array<string> = []
        const { day, run } = makeDay(world, dice, found)
        await world.run(run)
        if (!day.isOver && day.jar !== undefined && found.length === 0 && seed % 2 === 0) {
          const exit = await world.run(steal(world, dice, day.jar))
          found.push(...(exit._tag === "Success" ? exit.value : ["the owner was refused before the thief came"]))
        }
        await world.run(world.manager.revokeAll("ada"))
        for (const problem of found) problems.push(`schedule ${seed}: ${problem}`)
      }
      console.log(`${UserSession.key}: ${schedules} schedules`, tally, thefts, `${problems.length} problems`)
      assert.deepStrictEqual(problems.slice(0, 5), [])
      for (const [name, count] of Object.entries({ ...tally, ...thefts })) assert.isAtLeast(count, 100, name)
    }
  )
})
