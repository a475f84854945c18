import { NodeCrypto } from "@effect/platform-node"
import { assert, describe, it } from "@effect/vitest"
import * as Clock from "effect/Clock"
import * as Context from "effect/Context"
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import * as HttpServerRequest from "effect/http/HttpServerRequest"
import * as Layer from "effect/Layer"
import * as Option from "effect/Option"
import type * as Redacted from "effect/Redacted"
import { RequestHandle } from "../src/internal/requestHandle.ts"
import type { Session } from "../src/Session.ts"
import * as SessionBackend from "../src/SessionBackend.ts"
import * as SessionBackendMemory from "../src/SessionBackendMemory.ts"
import type { SessionFrontend } from "../src/SessionFrontend.ts"
import * as SessionKeys from "../src/SessionKeys.ts"
import * as SessionManager from "../src/SessionManager.ts"
import * as SessionToken from "../src/SessionToken.ts"
import { ada, keysOf, secretA, silent, UserSession, wordOf } from "./support/core.ts"
import { Actor, explore, parking } from "./support/coreSchedules.ts"
import type { Explored, Parked, Run } from "./support/coreSchedules.ts"

type Data = typeof UserSession.data.Type
type Backend = SessionBackend.SessionBackend["Service"]
type Manager = (typeof UserSession.Manager)["Service"]

// -----------------------------------------------------------------------------
// A world: one store, and as many processes as there are actors
// -----------------------------------------------------------------------------

/** Time stands where it is put. Short pauses, between the rounds of an update, are over at once; deadlines never come. */
const clockAt = (time: { now: number }): Clock.Clock => ({
  currentTimeMillisUnsafe: () => time.now,
  currentTimeMillis: Effect.sync(() => time.now),
  currentTimeNanosUnsafe: () => BigInt(time.now) * 1_000_000n,
  currentTimeNanos: Effect.sync(() => BigInt(time.now) * 1_000_000n),
  monotonicTimeNanosUnsafe: () => BigInt(time.now) * 1_000_000n,
  monotonicTimeNanos: Effect.sync(() => BigInt(time.now) * 1_000_000n),
  sleep: (duration) => (Duration.toMillis(duration) <= 100 ? Effect.void : Effect.never)
})

const parts = Effect.runPromise(
  Effect.gen(function* () {
    const signers = yield* (yield* SessionKeys.SessionKeys).signers(SessionToken.purpose(UserSession.key))
    return { signers, context: yield* Effect.context<Layer.Success<typeof NodeCrypto.layer>>() }
  }).pipe(Effect.provide(Layer.mergeAll(keysOf(secretA), NodeCrypto.layer)))
)

interface World {
  readonly time: { now: number }
  readonly memory: Backend
  readonly parked: Array<Parked>
  /** A process of its own: its updates do not queue behind another's. */
  readonly process: () => Promise<Manager>
  readonly session: Session<Data>
  readonly run: <A, E>(effect: Effect.Effect<A, E>) => Promise<Exit.Exit<A, E>>
  readonly fork: (actor: string, effect: Effect.Effect<unknown, unknown>) => ReturnType<typeof Effect.runFork>
}

const makeWorld = async (breaking: (backend: Backend) => Backend = (backend) => backend) => {
  const { context, signers } = await parts
  const time = { now: 1_000_000 }
  const memory = await Effect.runPromise(
    SessionBackend.SessionBackend.use(Effect.succeed).pipe(Effect.provide(Layer.fresh(SessionBackendMemory.layer)))
  )
  const parked: Array<Parked> = []
  const backend: Backend = parking(breaking(memory), parked)
  const services = Context.add(context, Clock.Clock, clockAt(time))
  const run = <A, E>(effect: Effect.Effect<A, E>) =>
    Effect.runPromise(Effect.exit(effect).pipe(Effect.provideContext(services), Effect.provide(silent)))
  const process = () =>
    Effect.runPromise(
      SessionManager.make(UserSession, {}, () => Effect.succeed(signers)).pipe(
        Effect.provideService(UserSession.Verifier, { verify: () => Effect.void }),
        Effect.provideService(SessionBackend.SessionBackend, backend),
        Effect.provideContext(services)
      )
    )
  const exit = await run((await process()).create(ada))
  if (Exit.isFailure(exit)) throw new Error("no session")
  const world: World = {
    time,
    memory,
    parked,
    process,
    run,
    session: exit.value,
    fork: (actor, effect) =>
      Effect.runFork(
        effect.pipe(
          Effect.provideService(Actor, actor),
          Effect.provideContext(services),
          Effect.provide(silent)
        ) as Effect.Effect<unknown>
      )
  }
  return world
}

const rawRead = (world: World, id: string = world.session.id) =>
  Option.getOrUndefined(Effect.runSync(world.memory.read(UserSession.key, id)))

// -----------------------------------------------------------------------------
// What actors do, and what must hold whatever they do
// -----------------------------------------------------------------------------

const add =
  (word: string) =>
  (data: Data): readonly [string, Data] => [word, { ...data, words: [...data.words, word] }]

type Act = (world: World, manager: Manager) => Effect.Effect<unknown, unknown>

const update =
  (word: string): Act =>
  ({ session }, manager) =>
    Effect.map(manager.modify(session.token, add(word)), ([, changed]) => changed)
/** From the snapshot at hand, without a read: the first compare-and-set goes by what was known before. */
const updateHeld =
  (word: string): Act =>
  ({ session }, manager) =>
    Effect.map(manager.modify(session, add(word)), ([, changed]) => changed)
const rotate: Act = ({ session }, manager) => manager.rotate(session.token)
const destroy: Act = ({ session }, manager) => manager.destroy(session.token)
const revokeAll: Act = (_, manager) => manager.revokeAll("ada")
const resolve: Act = ({ session }, manager) => manager.resolve(session.token)

interface Scenario {
  readonly acts: Record<string, Act>
  /** One process for all, in place of one for each. */
  readonly shared?: boolean
  /** How much time passes before anybody acts: enough, and a touch is due. */
  readonly later?: number
  readonly breaking?: (memory: Backend) => Backend
}

const isSession = (value: unknown): value is Session<Data> =>
  typeof value === "object" && value !== null && "token" in value

const scenarioOf = (scenario: Scenario) => async (): Promise<Run> => {
  const world = await makeWorld(scenario.breaking)
  world.time.now += scenario.later ?? 0
  const shared = await world.process()
  const actors: Record<string, ReturnType<typeof Effect.runFork>> = {}
  const judge = await world.process()
  for (const [name, act] of Object.entries(scenario.acts)) {
    actors[name] = world.fork(name, act(world, scenario.shared === true ? shared : await world.process()))
  }
  const ends = Object.keys(scenario.acts).filter((name) => name.startsWith("destroy") || name.startsWith("revoke"))
  const updates = Object.keys(scenario.acts).filter((name) => name.startsWith("update"))
  let version = 1
  let wasGone = false
  return {
    parked: world.parked,
    actors,
    inspect: (exitOf) => {
      const problems: Array<string> = []
      const record = rawRead(world)
      if (record !== undefined) {
        if (wasGone) problems.push("the record came back")
        if (record.version < version) problems.push(`the version went back from ${version} to ${record.version}`)
        version = record.version
        for (const name of ends) {
          const exit = exitOf(name)
          if (exit !== undefined && Exit.isSuccess(exit)) problems.push(`there is a record after ${name} returned`)
        }
      }
      wasGone ||= record === undefined
      return problems
    },
    finish: async (exits) => {
      const problems: Array<string> = []
      for (const [name, exit] of Object.entries(exits)) {
        const word = wordOf(exit)
        if (word !== "ok" && word !== "SessionInvalid NotFound") problems.push(`${name} ended with ${word}`)
        if (ends.includes(name) && word !== "ok") problems.push(`${name} did not end the session`)
        if (ends.length === 0 && name.startsWith("rotate") && word !== "ok") problems.push(`${name} did not rotate`)
      }
      const record = rawRead(world)
      const tokens = [
        world.session.token,
        ...Object.values(exits).flatMap((exit) =>
          Exit.isSuccess(exit) && isSession(exit.value) ? [exit.value.token] : []
        )
      ]
      const opens = await Promise.all(tokens.map((token) => world.run(judge.resolve(token))))
      if (ends.length > 0) {
        if (record !== undefined) problems.push("there is a record at the end")
        if (opens.some(Exit.isSuccess)) problems.push("a token opens a session that has ended")
        return problems
      }
      const rotated = exits["rotate"]
      if (rotated !== undefined && Exit.isSuccess(rotated)) {
        if (Exit.isSuccess(opens[0]!)) problems.push("the token from before the rotation still opens")
        const now = await world.run(judge.resolve((rotated.value as Session<Data>).token))
        if (Exit.isFailure(now)) problems.push("the rotated token does not open")
      }
      const words: ReadonlyArray<string> = record === undefined ? [] : JSON.parse(record.data).words
      for (const name of updates) {
        const isThere = words.filter((word) => word === name).length
        if (Exit.isSuccess(exits[name]!) && isThere !== 1) problems.push(`${name} was acknowledged and is lost`)
        if (Exit.isFailure(exits[name]!) && isThere !== 0) problems.push(`${name} failed and is there`)
      }
      return problems
    }
  }
}

const scenarios: Record<string, Scenario> = {
  "update and destroy": { acts: { update: update("update"), destroy } },
  "update of a session at hand and destroy": { acts: { update: updateHeld("update"), destroy } },
  "touch and destroy": { acts: { resolve, destroy }, later: 120_000 },
  "touch, update and destroy": { acts: { resolve, update: update("update"), destroy }, later: 120_000 },
  "touch and rotate": { acts: { resolve, rotate }, later: 120_000 },
  "rotate and destroy": { acts: { rotate, destroy } },
  "update and rotate": { acts: { update: update("update"), rotate } },
  "update and update": { acts: { update1: update("update1"), update2: update("update2") } },
  "update and update in one process": {
    acts: { update1: update("update1"), update2: update("update2") },
    shared: true
  },
  "update, rotate and destroy in one process": {
    acts: { update: update("update"), rotate, destroy },
    shared: true
  },
  "revokeAll and update": { acts: { revokeAll, update: update("update") } },
  "revokeAll, touch and rotate": { acts: { revokeAll, resolve, rotate }, later: 120_000 },
  "destroy and destroy": { acts: { destroy1: destroy, destroy2: destroy } },
  "update, rotate and destroy": { acts: { update: update("update"), rotate, destroy } }
}

const report = (name: string, explored: Explored) =>
  console.log(`${name}: ${explored.schedules} schedules, ${explored.violations.length} violations`)

describe("every interleaving", () => {
  for (const [name, scenario] of Object.entries(scenarios)) {
    it(
      `[R69] [R70] [R72] ${name}: no resurrection, no lost update, no version going back`,
      { timeout: 120_000 },
      async () => {
        const explored = await explore(scenarioOf(scenario))
        report(name, explored)
        assert.deepStrictEqual(explored.violations.slice(0, 3), [])
        assert.isAtLeast(explored.schedules, 6)
      }
    )
  }
})

// -----------------------------------------------------------------------------
// The request's session: create ends what the request carried
// -----------------------------------------------------------------------------

const carrying = (token: Redacted.Redacted<string>): SessionFrontend["Service"] => ({
  security: [],
  extract: () => Effect.succeed([{ token, via: "cookie" }]),
  attach: (response) => response,
  detach: (response) => response
})

const handleOf = (world: World, manager: Manager) =>
  new RequestHandle(
    HttpServerRequest.fromWeb(new Request("http://localhost/")),
    UserSession,
    manager,
    carrying(world.session.token)
  )

const carryingScenario =
  (acts: Record<string, (world: World, manager: Manager) => Effect.Effect<unknown, unknown>>) =>
  async (): Promise<Run> => {
    const world = await makeWorld()
    const judge = await world.process()
    const actors: Run["actors"] = {}
    for (const [name, act] of Object.entries(acts)) actors[name] = world.fork(name, act(world, await world.process()))
    return {
      parked: world.parked,
      actors,
      inspect: (exitOf) =>
        Object.keys(acts).flatMap((name) => {
          const exit = exitOf(name)
          return exit !== undefined && Exit.isSuccess(exit) && rawRead(world) !== undefined
            ? [`the carried session is there after ${name} returned`]
            : []
        }),
      finish: async (exits) => {
        const problems: Array<string> = []
        if (Exit.isSuccess(await world.run(judge.resolve(world.session.token))))
          problems.push("the carried token opens")
        for (const [name, exit] of Object.entries(exits)) {
          if (Exit.isFailure(exit)) problems.push(`${name} ended with ${wordOf(exit)}`)
          else if (isSession(exit.value)) {
            const made = await world.run(judge.resolve(exit.value.token))
            if (Exit.isFailure(made)) problems.push(`the session of ${name} does not open`)
          }
        }
        return problems
      }
    }
  }

const logIn = (world: World, manager: Manager) => handleOf(world, manager).create({ ...ada, words: ["new"] })

describe("every interleaving of requests that carry one session", () => {
  const cases = {
    "create and destroy": { create: logIn, destroy: (w: World, m: Manager) => handleOf(w, m).destroy },
    "create and create": { create1: logIn, create2: logIn }
  }
  for (const [name, acts] of Object.entries(cases)) {
    it(`[R46] [R69] ${name}: the carried session is dead, the new ones live`, { timeout: 120_000 }, async () => {
      const explored = await explore(carryingScenario(acts))
      report(name, explored)
      assert.deepStrictEqual(explored.violations.slice(0, 3), [])
      assert.isAtLeast(explored.schedules, 15)
    })
  }
})

// -----------------------------------------------------------------------------
// The checker finds planted bugs
// -----------------------------------------------------------------------------

/** An update that writes back the record it once saw, as a store does whose only write is "set". */
const upserting = (memory: Backend): Backend => {
  const seen = new Map<string, SessionBackend.SessionRecord>()
  return {
    ...memory,
    read: (namespace, id) =>
      Effect.tap(memory.read(namespace, id), (found) =>
        Effect.sync(() => {
          if (Option.isSome(found)) seen.set(id, found.value)
        })
      ),
    update: (namespace, id, version, patch) =>
      Effect.flatMap(memory.update(namespace, id, version, patch), (result) => {
        const record = seen.get(id)
        if (result._tag !== "gone" || record === undefined) return Effect.succeed(result)
        const revived = { ...record, ...patch, version: version + 1 } as SessionBackend.SessionRecord
        return Effect.as(memory.create(revived), { _tag: "updated" as const, record: revived })
      })
  }
}

const touchUpserting = (memory: Backend): Backend => {
  const upsert = upserting(memory)
  let last: SessionBackend.SessionRecord | undefined
  return {
    ...upsert,
    read: (namespace, id) =>
      Effect.tap(memory.read(namespace, id), (found) =>
        Effect.sync(() => {
          last = Option.getOrElse(found, () => last)
        })
      ),
    touch: (namespace, id, seen) =>
      Effect.flatMap(memory.touch(namespace, id, seen), (result) =>
        result === "gone" && last !== undefined
          ? Effect.as(memory.create({ ...last, ...seen }), "touched" as const)
          : Effect.succeed(result)
      )
  }
}

/** An update at whatever version there is. */
const versionless = (memory: Backend): Backend => ({
  ...memory,
  update: (namespace, id, version, patch) =>
    Effect.flatMap(memory.read(namespace, id), (found) =>
      memory.update(namespace, id, Option.isSome(found) ? found.value.version : version, patch)
    )
})

/** A delete that answers before it is done, and is then done by nobody. */
const forgetful = (memory: Backend): Backend => ({ ...memory, delete: () => Effect.succeed(true) })

describe("the checker", () => {
  const planted: Record<string, readonly [string, (memory: Backend) => Backend, RegExp]> = {
    "an update that upserts": ["update and destroy", upserting, /came back|after destroy returned/],
    "a rotation that upserts": ["rotate and destroy", upserting, /came back|after destroy returned/],
    "an update that upserts, against revokeAll": ["revokeAll and update", upserting, /came back|revokeAll returned/],
    "a touch that upserts": ["touch and destroy", touchUpserting, /came back|after destroy returned/],
    "no version check": ["update and update", versionless, /acknowledged and is lost/],
    "a delete that does nothing": ["update and destroy", forgetful, /after destroy returned/]
  }
  for (const [bug, [name, breaking, expected]] of Object.entries(planted)) {
    it(`finds ${bug}`, { timeout: 120_000 }, async () => {
      const explored = await explore(scenarioOf({ ...scenarios[name]!, breaking }))
      report(`${bug} (${name})`, explored)
      assert.isTrue(
        explored.violations.some((violation) => expected.test(violation)),
        explored.violations[0]
      )
    })
  }
})

// -----------------------------------------------------------------------------
// Interruption, at every step
// -----------------------------------------------------------------------------

describe("interruption", () => {
  interface Case {
    readonly act: (world: World, manager: Manager) => Effect.Effect<unknown, unknown>
    /** Whether the store shows that the act was carried out, was not, or neither. */
    readonly state: (world: World) => "before" | "after" | "between"
  }
  const sessionsOf = (world: World) =>
    Effect.runSync(world.memory.listByPrincipal(UserSession.key, "ada", { limit: 10 })).records
  const byRecord =
    (isAfter: (record: SessionBackend.SessionRecord, before: SessionBackend.SessionRecord) => boolean) =>
    (world: World) => {
      const record = rawRead(world)
      const before = initial.get(world)!
      if (record === undefined) return "between"
      if (record.version === 1 && record.data === before.data && record.secretHash === before.secretHash)
        return "before"
      return record.version === 2 && isAfter(record, before) ? "after" : "between"
    }
  const initial = new WeakMap<World, SessionBackend.SessionRecord>()
  const isGone = (world: World) => (rawRead(world) === undefined ? "after" : "before")
  const words = (record: SessionBackend.SessionRecord) => JSON.parse(record.data).words.join()
  const cases: Record<string, Case> = {
    modify: { act: update("x"), state: byRecord((record) => words(record) === "x") },
    replace: {
      act: ({ session }, manager) => manager.replace(session, { ...ada, words: ["y"] }),
      state: byRecord((record) => words(record) === "y")
    },
    rotate: { act: rotate, state: byRecord((record, before) => record.secretHash !== before.secretHash) },
    destroy: { act: destroy, state: isGone },
    revokeAll: { act: revokeAll, state: isGone },
    revoke: { act: ({ session }, manager) => manager.revoke(session.id, { principal: "ada" }), state: isGone },
    create: {
      act: (_, manager) => manager.create(ada),
      state: (world) =>
        sessionsOf(world).length === 2 ? "after" : sessionsOf(world).length === 1 ? "before" : "between"
    },
    "the request's create": {
      act: logIn,
      state: (world) => {
        const ids = sessionsOf(world).map((record) => record.id)
        return ids.length !== 1 ? "between" : ids[0] === world.session.id ? "before" : "after"
      }
    },
    "the request's update": {
      act: (world, manager) => handleOf(world, manager).update((data) => add("z")(data)[1]),
      state: byRecord((record) => words(record) === "z")
    },
    "the request's revokeOthers": {
      act: (world, manager) => handleOf(world, manager).revokeOthers,
      state: byRecord((record, before) => record.secretHash !== before.secretHash)
    }
  }
  for (const [name, { act, state }] of Object.entries(cases)) {
    it(`[R75] ${name}, interrupted at every step, is done or not begun`, async () => {
      const seen: Array<string> = []
      for (let step = 0; ; step++) {
        const world = await makeWorld()
        initial.set(world, rawRead(world)!)
        const manager = await world.process()
        const fiber = world.fork("actor", act(world, manager))
        const settle = async () => {
          for (let i = 0; i < 4 && fiber.pollUnsafe() === undefined && world.parked.length === 0; i++) {
            await new Promise<void>((resolve) => setImmediate(resolve))
          }
        }
        let at = 0
        let isInterrupted = false
        for (await settle(); fiber.pollUnsafe() === undefined; await settle()) {
          assert.isAtLeast(world.parked.length, 1, "the actor neither waits for the store nor has ended")
          if (at++ === step) {
            fiber.interruptUnsafe()
            isInterrupted = true
            await settle()
            continue
          }
          world.parked.shift()!.go()
        }
        if (!isInterrupted) break
        seen.push(`${step}:${state(world)}`)
        assert.include(["before", "after"], state(world), `after an interruption at step ${step}`)
        assert.deepStrictEqual(world.parked, [], "nothing is left that waits for the store")
        // No lock was left behind: the next change of the same process goes through.
        if (rawRead(world) !== undefined) {
          const token = state(world) === "after" && /rotate|Others/.test(name) ? undefined : world.session.token
          if (token !== undefined) {
            assert.strictEqual(wordOf(await world.run(manager.modify(token, add("next")))), "ok")
          }
        }
      }
      assert.isAtLeast(seen.length, 2)
    })
  }
})

// -----------------------------------------------------------------------------
// Many at once
// -----------------------------------------------------------------------------

describe("50 at once", () => {
  const processes = async (world: World, count: number) =>
    Promise.all(Array.from({ length: count }, () => world.process()))

  /** Lets parked operations go in an order drawn from a seed, until all is done. */
  const drive = async (world: World, isDone: () => boolean) => {
    let state = 42
    for (let idle = 0; !isDone() && idle < 1000;) {
      if (world.parked.length === 0) {
        idle++
        await new Promise<void>((resolve) => setImmediate(resolve))
        continue
      }
      idle = 0
      state = (state * 1103515245 + 12345) & 0x7fffffff
      world.parked.splice(state % world.parked.length, 1)[0]!.go()
    }
  }

  for (const count of [1, 2, 5]) {
    it(`[R70] updates of one session, in ${count} process(es), keep all 50`, { timeout: 60_000 }, async () => {
      const world = await makeWorld()
      const managers = await processes(world, count)
      const fibers = Array.from({ length: 50 }, (_, i) =>
        world.fork(`u${i}`, update(`w${i}`)(world, managers[i % count]!))
      )
      await drive(world, () => fibers.every((fiber) => fiber.pollUnsafe() !== undefined))
      assert.deepStrictEqual([...new Set(fibers.map((fiber) => wordOf(fiber.pollUnsafe()!)))], ["ok"])
      const record = rawRead(world)!
      assert.strictEqual(new Set(JSON.parse(record.data).words).size, 50)
      assert.strictEqual(record.version, 51)
    })
  }

  it("[R70] of 50 replaces of one snapshot one succeeds and 49 are conflicts", async () => {
    const world = await makeWorld()
    const managers = await processes(world, 5)
    const fibers = Array.from({ length: 50 }, (_, i) =>
      world.fork(`r${i}`, managers[i % 5]!.replace(world.session, { ...ada, words: [`w${i}`] }))
    )
    await drive(world, () => fibers.every((fiber) => fiber.pollUnsafe() !== undefined))
    const outcomes = fibers.map((fiber) => wordOf(fiber.pollUnsafe()!))
    assert.strictEqual(outcomes.filter((outcome) => outcome === "ok").length, 1)
    assert.strictEqual(outcomes.filter((outcome) => outcome === "SessionConflict").length, 49)
    const winner = outcomes.indexOf("ok")
    assert.deepStrictEqual(JSON.parse(rawRead(world)!.data).words, [`w${winner}`])
  })

  it(
    "[R56] [R69] 10^4 random schedules of five processes: nothing is there once destroy has returned",
    {
      timeout: 120_000
    },
    async () => {
      let state = 7
      const next = (bound: number) => {
        state = (state * 1103515245 + 12345) & 0x7fffffff
        return (state >> 8) % bound
      }
      for (let round = 0; round < 10_000; round++) {
        const world = await makeWorld()
        const manager = await world.process()
        world.time.now += next(2) * 120_000
        const acts: ReadonlyArray<Act> = [update("a"), updateHeld("b"), rotate, resolve, destroy]
        const fibers = acts.map((act, i) => world.fork(`a${i}`, act(world, manager)))
        const ended = fibers[4]!
        for (;;) {
          for (let i = 0; i < 3 && world.parked.length === 0; i++) {
            await new Promise<void>((resolve) => setImmediate(resolve))
          }
          if (world.parked.length === 0) break
          if (ended.pollUnsafe() !== undefined) assert.isUndefined(rawRead(world))
          world.parked.splice(next(world.parked.length), 1)[0]!.go()
        }
        assert.strictEqual(wordOf(ended.pollUnsafe()!), "ok")
        assert.isTrue(fibers.every((fiber) => fiber.pollUnsafe() !== undefined))
        assert.isUndefined(rawRead(world))
      }
    }
  )
})

// -----------------------------------------------------------------------------
// A touch storm
// -----------------------------------------------------------------------------

describe("touch", () => {
  it("[R84c] 1,000 requests of one session at once touch it once in a process", async () => {
    const world = await makeWorld()
    const manager = await world.process()
    world.time.now += 120_000
    const fibers = Array.from({ length: 1000 }, (_, i) => world.fork(`r${i}`, manager.resolve(world.session.token)))
    let touches = 0
    while (fibers.some((fiber) => fiber.pollUnsafe() === undefined)) {
      if (world.parked.length === 0) await new Promise<void>((resolve) => setImmediate(resolve))
      // All go on together: every request has read before any has touched.
      for (const waiting of world.parked.splice(0)) {
        if (waiting.at === "touch?") touches++
        waiting.go()
      }
    }
    assert.isTrue(fibers.every((fiber) => wordOf(fiber.pollUnsafe()!) === "ok"))
    assert.strictEqual(touches, 1)
  })
})
