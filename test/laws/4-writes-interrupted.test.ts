/**
 * Law 4. Writes go to the backend when they are called: their failure is typed and in the handler's hand. They are
 * uninterruptible and bounded by a deadline.
 */
import { assert, describe, it } from "@effect/vitest"
import * as Effect from "effect/Effect"
import type * as SessionBackend from "../../src/SessionBackend.ts"
import { wordOf } from "../support/outcome.ts"
import { destroy, revokeAll, rotate, update } from "../support/races.ts"
import { requestWith } from "../support/request.ts"
import { ada, addWord, UserSession } from "../support/userSession.ts"
import type { Manager } from "../support/userSession.ts"
import { makeWorld, recordIn } from "../support/world.ts"
import type { World } from "../support/world.ts"

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
      const record = recordIn(world)
      const before = initial.get(world)!
      if (record === undefined) return "between"
      if (record.version === 1 && record.data === before.data && record.secretHash === before.secretHash)
        return "before"
      return record.version === 2 && isAfter(record, before) ? "after" : "between"
    }
  const initial = new WeakMap<World, SessionBackend.SessionRecord>()
  const isGone = (world: World) => (recordIn(world) === undefined ? "after" : "before")
  /** Whether one session is there, the old one with its secret or one in its place. */
  const replacedIn = (world: World) => {
    const [record, ...others] = sessionsOf(world)
    if (record === undefined || others.length > 0) return "between"
    if (record.id !== world.session.id) return "after"
    return record.secretHash === initial.get(world)!.secretHash ? "before" : "between"
  }
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
    createFrom: {
      act: ({ session }, manager) => manager.createFrom(session.token, () => ada),
      state: replacedIn
    },
    reauthenticate: { act: ({ session }, manager) => manager.reauthenticate(session.token), state: replacedIn },
    "the request's create": {
      act: (world, manager) => requestWith(manager, world.session.token).create({ ...ada, words: ["new"] }),
      state: replacedIn
    },
    "the request's create with a function": {
      act: (world, manager) => requestWith(manager, world.session.token).create(() => ({ ...ada, words: ["new"] })),
      state: replacedIn
    },
    "the request's update": {
      act: (world, manager) => requestWith(manager, world.session.token).update((data) => addWord("z")(data)[1]),
      state: byRecord((record) => words(record) === "z")
    },
    "the request's revokeOthers": {
      act: (world, manager) => requestWith(manager, world.session.token).revokeOthers,
      state: byRecord((record, before) => record.secretHash !== before.secretHash)
    }
  }
  for (const [name, { act, state }] of Object.entries(cases)) {
    it(`law 4: [R75] ${name}, interrupted at every step, is done or not begun`, async () => {
      const seen: Array<string> = []
      for (let step = 0; ; step++) {
        const world = await makeWorld()
        initial.set(world, recordIn(world)!)
        const manager = await world.process()
        const fiber = world.fork("actor", act(world, manager), "shared")
        const settle = async () => {
          for (let i = 0; i < 4 && fiber.pollUnsafe() === undefined && world.parked.length === 0; i++) {
            await new Promise<void>((resolve) => setImmediate(resolve))
          }
        }
        let at = 0
        /** What waited for the store when the interruption came. */
        let waiting: string | undefined
        for (await settle(); fiber.pollUnsafe() === undefined; await settle()) {
          assert.isAtLeast(world.parked.length, 1, "the actor neither waits for the store nor has ended")
          if (at++ === step) {
            waiting = world.parked[0]!.at
            fiber.interruptUnsafe()
            await settle()
            continue
          }
          world.parked.shift()!.go()
        }
        if (waiting === undefined) break
        seen.push(`${step}:${state(world)}`)
        // While it reads nothing has begun. A write that was asked for is carried out, with all that belongs to it; a
        // fence that is raised may stand without the deletions that follow.
        const isFirst = waiting.startsWith("read") || (name === "revokeAll" && !waiting.startsWith("delete"))
        const allowed = isFirst ? ["before", "after"] : ["after"]
        assert.include(allowed, state(world), `after an interruption at step ${step}, at ${waiting}`)
        assert.deepStrictEqual(world.parked, [], "nothing is left that waits for the store")
        // No lock was left behind: the next change of the same process goes through.
        if (recordIn(world) !== undefined) {
          const token = state(world) === "after" && /rotate|Others/.test(name) ? undefined : world.session.token
          if (token !== undefined) {
            assert.strictEqual(wordOf(await world.run(manager.modify(token, addWord("next")))), "ok")
          }
        }
      }
      assert.isAtLeast(seen.length, 2)
    })
  }
})
