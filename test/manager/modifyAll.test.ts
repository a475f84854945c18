/** `modifyAll`: a change in all of a user's sessions at once. */
import { assert, describe, it } from "@effect/vitest"
import { NodeCrypto } from "@effect/platform-node"
import * as Effect from "effect/Effect"
import * as Layer from "effect/Layer"
import * as TestClock from "effect/testing/TestClock"
import type { Session } from "../../src/Session.ts"
import { SessionBackend } from "../../src/SessionBackend.ts"
import { SessionRefused } from "../../src/SessionError.ts"
import { failing, onManager, seal } from "../support/onManager.ts"
import { outcome } from "../support/outcome.ts"
import { recordOf } from "../support/records.ts"
import { ada, addWord, eve, UserSession } from "../support/userSession.ts"
import type { Data } from "../support/userSession.ts"

const counted = (data: Data): Data => ({ ...data, count: data.count + 1 })

/** Puts other data into a session's record. */
const overwrite = Effect.fnUntraced(function* (
  id: string,
  patch: { readonly data: string; readonly dataVersion: number }
) {
  const { idleExpiresAt, lastSeenAt, version } = yield* recordOf(UserSession, id)
  yield* (yield* SessionBackend).update(UserSession.key, id, version, { ...patch, idleExpiresAt, lastSeenAt })
})

describe("modifyAll", () => {
  it.effect("[R50] changes all of a principal's sessions and nobody else's, over several pages, and counts them", () =>
    onManager({ maxPerPrincipal: false, crypto: NodeCrypto.layer }, (manager) =>
      Effect.gen(function* () {
        const sessions = yield* Effect.forEach(Array.from({ length: 260 }), () => manager.create(ada))
        const theirs = yield* manager.create(eve)
        assert.strictEqual(yield* manager.modifyAll("ada", counted), 260)
        const infos = yield* manager.list("ada")
        assert.isTrue(infos.every(({ data, version }) => data?.count === 1 && version === 2))
        assert.strictEqual((yield* manager.resolve(theirs.token)).data.count, 0)
        // Their tokens stay.
        assert.strictEqual((yield* manager.resolve(sessions[0]!.token)).data.count, 1)
        assert.strictEqual(yield* manager.modifyAll("nobody", counted), 0)
      })
    )
  )

  it.effect("[R50] changes those that the verifier refuses, and whose token was rotated meanwhile", () =>
    Effect.gen(function* () {
      const refusing = Layer.succeed(UserSession.Verifier, {
        verify: ({ data }: Session<Data>) =>
          data.count === 0 ? Effect.fail(new SessionRefused({ message: "suspended" })) : Effect.void
      })
      yield* onManager({ verifier: refusing }, (manager, watched) =>
        Effect.gen(function* () {
          const session = yield* manager.create({ ...ada, count: -1 })
          const suspended = yield* manager.create(ada)
          assert.strictEqual(yield* outcome(manager.resolve(suspended.token)), "SessionRefused")
          let isFirst = true
          watched.wire = (operation, run) => {
            if (operation !== "update" || !isFirst) return run
            isFirst = false
            return Effect.andThen(Effect.orDie(elsewhere), run)
          }
          // Another server rotates the session between the walk's look and its write.
          const backend = yield* SessionBackend
          const elsewhere = Effect.gen(function* () {
            const { data, dataVersion, extension, id, idleExpiresAt, lastSeenAt, version } = yield* recordOf(
              UserSession,
              session.id
            )
            const patch = { data, dataVersion, extension, idleExpiresAt, lastSeenAt, secretHash: "R".repeat(43) }
            yield* backend.update(UserSession.key, id, version, patch)
          }).pipe(Effect.provideService(SessionBackend, backend))
          assert.strictEqual(yield* manager.modifyAll("ada", (data) => ({ ...data, words: ["changed"] })), 2)
          const infos = yield* manager.list("ada")
          assert.deepStrictEqual(
            infos.map(({ data }) => data?.words),
            [["changed"], ["changed"]]
          )
        })
      )
    })
  )

  it.effect("[R46] leaves one that a log-in is replacing, even if that began after the walk had seen it", () =>
    onManager({}, (manager, watched) =>
      Effect.gen(function* () {
        const session = yield* manager.create(ada)
        const backend = yield* SessionBackend
        let isFirst = true
        watched.wire = (operation, run) => {
          if (operation !== "update" || !isFirst) return run
          isFirst = false
          const sealing = Effect.provideService(seal(session.id), SessionBackend, backend)
          return Effect.andThen(Effect.orDie(sealing), run)
        }
        assert.strictEqual(yield* manager.modifyAll("ada", counted), 0)
        assert.strictEqual((yield* recordOf(UserSession, session.id)).data, JSON.stringify(ada))
      })
    )
  )

  it.effect(
    "[R64] [R66] leaves those whose data do not decode, and those that have expired, and does not count them",
    () =>
      onManager({}, (manager) =>
        Effect.gen(function* () {
          yield* manager.create(ada, { absoluteTimeout: "1 minute" })
          yield* TestClock.adjust("1 minute")
          const [broken, fine] = [yield* manager.create(ada), yield* manager.create(ada)]
          yield* overwrite(broken.id, { data: "junk", dataVersion: 1 })
          assert.strictEqual(yield* manager.modifyAll("ada", counted), 1)
          assert.strictEqual((yield* recordOf(UserSession, broken.id)).data, "junk")
          assert.strictEqual((yield* manager.resolve(fine.token)).data.count, 1)
        })
      )
  )

  it.effect("[R68] fails with a conflict where a session has newer data, after it has changed the others", () =>
    onManager({}, (manager) =>
      Effect.gen(function* () {
        const [newer, fine] = [yield* manager.create(ada), yield* manager.create(ada)]
        yield* overwrite(newer.id, { data: JSON.stringify({ ...ada, more: 1 }), dataVersion: 2 })
        assert.strictEqual(yield* outcome(manager.modifyAll("ada", counted)), "SessionConflict")
        assert.deepStrictEqual(JSON.parse((yield* recordOf(UserSession, newer.id)).data), { ...ada, more: 1 })
        assert.strictEqual((yield* manager.resolve(fine.token)).data.count, 1)
      })
    )
  )

  it.effect("[R70] loses no change that is made meanwhile, and writes nothing where nothing is to change", () =>
    onManager({}, (manager, watched) =>
      Effect.gen(function* () {
        const session = yield* manager.create(ada)
        watched.calls.length = 0
        assert.strictEqual(yield* manager.modifyAll("ada", (data) => ({ ...data })), 1)
        assert.deepStrictEqual(watched.operations, ["listByPrincipal"])
        yield* Effect.all([manager.modifyAll("ada", counted), manager.modify(session, addWord("x"))], {
          concurrency: "unbounded"
        })
        assert.deepStrictEqual((yield* manager.resolve(session.token)).data, { ...ada, count: 1, words: ["x"] })
      })
    )
  )

  it.effect("fails where the store does, as a session that has ended meanwhile does not", () =>
    onManager({}, (manager, watched) =>
      Effect.gen(function* () {
        const session = yield* manager.create(ada)
        const all = Effect.suspend(() => outcome(manager.modifyAll("ada", counted)))
        for (const broken of ["listByPrincipal", "update"]) {
          assert.match(yield* failing(watched, (operation) => operation === broken, all), /^SessionUnavailable/, broken)
        }
        watched.wire = (operation, run) =>
          operation === "update" ? Effect.andThen(Effect.orDie(manager.destroy(session.token)), run) : run
        assert.strictEqual(yield* manager.modifyAll("ada", counted), 0)
        assert.deepStrictEqual(yield* watched.records, [])
      })
    )
  )
})
