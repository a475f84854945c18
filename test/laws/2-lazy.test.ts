/**
 * Law 2: nothing is read until it is asked for; then there is one read, shared by concurrent callers, failures
 * included. Changes replace what `get` answers.
 */
import { assert, describe, it } from "@effect/vitest"
import { Deferred, Effect, Fiber, Option, Redacted } from "effect"
import { empty, name, text } from "../support/httpSupport.ts"
import * as WatchedBackend from "../support/watchedBackend.ts"
import * as Stage from "../support/stage.ts"
import { ada, eve, UserSession } from "../support/userSession.ts"

describe("law 2: lazy", () => {
  it.effect("law 2: nothing is read until it is asked for", () =>
    Effect.gen(function* () {
      const stage = yield* Stage.make()
      const session = yield* stage.login(ada)
      const send = yield* stage.open(Effect.as(UserSession, empty))
      assert.strictEqual((yield* send("POST", "/", { cookie: Stage.cookieOf(session) })).status, 204)
      assert.deepStrictEqual(stage.backend.operations, [])
    })
  )

  it.effect("law 2: one read is shared by concurrent callers, its failure too", () =>
    Effect.gen(function* () {
      for (const fails of [false, true]) {
        const stage = yield* Stage.make()
        const session = yield* stage.login(ada)
        const gate = yield* Deferred.make<void>()
        stage.backend.wire = (operation, call) =>
          Effect.andThen(Deferred.await(gate), fails ? WatchedBackend.failure(operation) : call)
        const send = yield* stage.open(
          Effect.gen(function* () {
            const handle = yield* UserSession
            const asked = yield* Effect.forEach(
              [handle.get, handle.get, handle.option, handle.list, handle.get],
              (read: Effect.Effect<unknown, unknown>) => Effect.forkChild(Effect.exit(read), { startImmediately: true })
            )
            yield* Deferred.succeed(gate, undefined)
            const exits = yield* Effect.forEach(asked, Fiber.join)
            return text(exits.map((exit) => exit._tag).join())
          })
        )
        const answer = yield* send("GET", "/", { cookie: Stage.cookieOf(session) })
        assert.strictEqual(
          answer.text,
          Array(5)
            .fill(fails ? "Failure" : "Success")
            .join()
        )
        assert.deepStrictEqual(stage.backend.operations, fails ? ["read"] : ["read", "listByPrincipal"])
      }
    })
  )

  it.effect("law 2: a first reader that is interrupted does not poison the others", () =>
    Effect.gen(function* () {
      const stage = yield* Stage.make()
      const session = yield* stage.login(ada)
      const hung = yield* Deferred.make<void>()
      let reads = 0
      stage.backend.wire = (operation, call) =>
        operation === "read" && reads++ === 0 ? Effect.andThen(Deferred.succeed(hung, undefined), Effect.never) : call
      const send = yield* stage.open(
        Effect.gen(function* () {
          const handle = yield* UserSession
          const first = yield* Effect.forkChild(handle.get, { startImmediately: true })
          const waiting = yield* Effect.forkChild(handle.get, { startImmediately: true })
          const alsoWaiting = yield* Effect.forkChild(handle.get, { startImmediately: true })
          yield* Deferred.await(hung)
          yield* Fiber.interrupt(first)
          const names = [
            name(yield* Fiber.join(waiting)),
            name(yield* Fiber.join(alsoWaiting)),
            name(yield* handle.get)
          ]
          return text(names.join())
        })
      )
      const answer = yield* send("GET", "/", { cookie: Stage.cookieOf(session) })
      assert.strictEqual(answer.text, "ada,ada,ada")
      assert.deepStrictEqual(stage.backend.operations, ["read", "read"])
    })
  )

  it.effect("law 2: who waited for a read that was interrupted waits for the next one, and does not spin", () =>
    Effect.gen(function* () {
      const stage = yield* Stage.make()
      const session = yield* stage.login(ada)
      let reads = 0
      stage.backend.wire = (operation, call) =>
        operation !== "read" ? call : reads++ === 0 ? Effect.never : Effect.andThen(Effect.yieldNow, call)
      const send = yield* stage.open(
        Effect.gen(function* () {
          const handle = yield* UserSession
          const [first, second, third] = yield* Effect.all(
            [handle.get, handle.get, handle.get].map((get) => Effect.forkChild(get, { startImmediately: true }))
          )
          yield* Fiber.interrupt(first!)
          // The second one reads now, and the third has gone to sleep again.
          assert.isBelow(third!.currentOpCount, 100)
          return text([name(yield* Fiber.join(second!)), name(yield* Fiber.join(third!))].join())
        })
      )
      assert.strictEqual((yield* send("GET", "/", { cookie: Stage.cookieOf(session) })).text, "ada,ada")
      assert.strictEqual(reads, 2)
    })
  )

  it.effect("law 2: changes replace what get answers, and the first compare-and-set needs no second read", () =>
    Effect.gen(function* () {
      const stage = yield* Stage.make()
      const session = yield* stage.login(ada)
      const send = yield* stage.open(
        Effect.gen(function* () {
          const handle = yield* UserSession
          const before = yield* handle.get
          const updated = yield* handle.update((data) => ({ ...data, count: 1 }))
          assert.strictEqual(yield* handle.get, updated)
          const answer = yield* handle.modify((data) => [data.count + 10, { ...data, count: 2 }])
          assert.deepStrictEqual([answer, (yield* handle.get).data.count], [11, 2])
          const replaced = yield* handle.replace({ ...ada, count: 3 })
          assert.strictEqual(yield* handle.get, replaced)
          const rotated = yield* handle.rotate
          assert.strictEqual(yield* handle.get, rotated)
          assert.notStrictEqual(Redacted.value(rotated.token), Redacted.value(before.token))
          assert.strictEqual(rotated.id, before.id)
          assert.deepStrictEqual(stage.backend.operations, ["read", "update", "update", "update", "update"])
          const created = yield* handle.create(eve)
          assert.strictEqual(yield* handle.get, created)
          yield* handle.destroy
          assert.strictEqual((yield* Effect.flip(handle.get))._tag, "SessionMissing")
          assert.isTrue(Option.isNone(yield* handle.option))
          return empty
        })
      )
      assert.strictEqual((yield* send("POST", "/", { cookie: Stage.cookieOf(session) })).status, 204)
      assert.deepStrictEqual(yield* stage.backend.records, [])
    })
  )

  it.effect("law 2: concurrent changes by one request are each made on what the other left", () =>
    Effect.gen(function* () {
      type Handle = (typeof UserSession)["Service"]
      const increment = (handle: Handle): Effect.Effect<unknown, unknown> =>
        handle.update((data) => ({ ...data, count: data.count + 1 }))
      const rotate = (handle: Handle): Effect.Effect<unknown, unknown> => handle.rotate
      for (const changes of [
        [rotate, increment],
        [increment, rotate],
        [rotate, rotate],
        [increment, rotate, increment, rotate]
      ]) {
        const stage = yield* Stage.make()
        stage.backend.wire = (_, call) => Effect.andThen(Effect.yieldNow, call)
        const session = yield* stage.login(ada)
        const send = yield* stage.open(
          Effect.gen(function* () {
            const handle = yield* UserSession
            yield* handle.get
            yield* Effect.all(
              changes.map((change) => change(handle)),
              { concurrency: "unbounded" }
            )
            return text(`${(yield* handle.get).data.count}`)
          })
        )
        const answer = yield* send("POST", "/", { cookie: Stage.cookieOf(session) })
        const count = String(changes.filter((change) => change === increment).length)
        assert.deepStrictEqual([answer.status, answer.text, answer.setCookie.length], [200, count, 1])
        const me = yield* stage.open(
          Effect.map(
            Effect.flatMap(UserSession, ({ get }) => get),
            ({ data }) => text(`${data.count}`)
          )
        )
        assert.strictEqual((yield* me("GET", "/", { cookie: answer.cookie })).text, count)
        // A change that meets the end of the session does not bring it back.
        const both = yield* stage.open(
          Effect.gen(function* () {
            const handle = yield* UserSession
            yield* handle.get
            const exits = yield* Effect.all([handle.destroy, Effect.exit(increment(handle))], {
              concurrency: "unbounded"
            })
            return text(`${exits[1]._tag} ${Option.isSome(yield* handle.option)}`)
          })
        )
        assert.strictEqual((yield* both("POST", "/", { cookie: answer.cookie })).text, "Failure false")
      }
    })
  )

  it.effect("law 2: a read that was overtaken by create or destroy does not bring the old answer back", () =>
    Effect.gen(function* () {
      for (const overtake of ["create", "destroy"] as const) {
        const stage = yield* Stage.make()
        const session = yield* stage.login(ada)
        const gate = yield* Deferred.make<void>()
        const send = yield* stage.open(
          Effect.gen(function* () {
            const request = yield* UserSession
            // The session's read, and not that of a fence.
            stage.backend.wire = (operation, call, [namespace]) =>
              operation === "read" && namespace === UserSession.key ? Effect.andThen(Deferred.await(gate), call) : call
            const reading = yield* Effect.forkChild(Effect.exit(request.get), { startImmediately: true })
            yield* overtake === "create" ? request.create(eve) : request.destroy
            yield* Deferred.succeed(gate, undefined)
            yield* Fiber.join(reading)
            return text(Option.match(yield* request.option, { onNone: () => "nobody", onSome: name }))
          })
        )
        const answer = yield* send("POST", "/", { cookie: Stage.cookieOf(session) })
        assert.strictEqual(answer.text, overtake === "create" ? eve.username! : "nobody")
      }
    })
  )
})
