/**
 * Law 4: writes go to the backend when they are called, so their failure is typed and in the handler's hand. They are
 * uninterruptible and bounded by a deadline: a client that goes away leaves nothing half done.
 */
import { assert, describe, it } from "@effect/vitest"
import { Deferred, Effect, Exit, Fiber } from "effect"
import { HttpServerResponse } from "effect/http"
import * as Http from "node:http"
import { empty, startServer } from "../support/httpSupport.ts"
import * as WatchedBackend from "../support/watchedBackend.ts"
import * as Stage from "../support/stage.ts"
import { ada, eve, UserSession } from "../support/userSession.ts"

describe("law 4: writes", () => {
  it.effect("law 4: a write reaches the backend when it is called, and its failure is in the handler's hand", () =>
    Effect.gen(function* () {
      const stage = yield* Stage.make()
      const session = yield* stage.login(ada)
      const countNow = Effect.map(stage.backend.records, (records) =>
        records.map(({ data }) => (JSON.parse(data) as { count: number }).count)
      )
      const send = yield* stage.open(
        Effect.gen(function* () {
          const handle = yield* UserSession
          yield* handle.update((data) => ({ ...data, count: 1 }))
          assert.deepStrictEqual(yield* countNow, [1])
          stage.backend.wire = (operation) => WatchedBackend.failure(operation)
          const error = yield* Effect.flip(handle.update((data) => ({ ...data, count: 2 })))
          assert.strictEqual(error._tag, "SessionUnavailable")
          stage.backend.wire = (_, call) => call
          return HttpServerResponse.empty({ status: 202 })
        })
      )
      assert.strictEqual((yield* send("POST", "/", { cookie: Stage.cookieOf(session) })).status, 202)
      assert.deepStrictEqual(yield* countNow, [1])
    })
  )

  it.effect("law 4: [R75] a client that goes away in the middle of a write leaves nothing half done", () =>
    Effect.gen(function* () {
      type Handle = (typeof UserSession)["Service"]
      const operations: Record<string, (handle: Handle) => Effect.Effect<unknown, { readonly _tag: string }>> = {
        create: (handle) => handle.create({ ...eve, count: 9 }),
        update: (handle) => handle.update((data) => ({ ...data, count: 9 })),
        replace: (handle) => handle.replace({ ...ada, count: 9 }),
        rotate: (handle) => handle.rotate,
        destroy: (handle) => handle.destroy,
        revokeOthers: (handle) => handle.revokeOthers,
        revokeAll: (handle) => handle.revokeAll
      }
      /** One request, whose client goes away while the n-th backend call is on its way. */
      const run = Effect.fnUntraced(function* (operation: (typeof operations)[string], abortAt: number | undefined) {
        const stage = yield* Stage.make()
        const session = yield* stage.login(ada)
        yield* stage.login(ada)
        const summary = Effect.map(stage.backend.records, (records) =>
          records
            .map(({ data, id, secretHash, version }) => {
              const isOwn = id === session.id
              const before = secretHash === firstHash
              return `${isOwn ? (before ? "own" : "own rotated") : "other"} v${version} ${data}`
            })
            .sort()
        )
        const firstHash = (yield* stage.backend.records).find(({ id }) => id === session.id)!.secretHash
        const untouched = yield* summary
        const inFlight = yield* Deferred.make<void>()
        const gate = yield* Deferred.make<void>()
        let calls = 0
        stage.backend.wire = (_, call) => {
          if (calls++ !== abortAt) return call
          return Effect.andThen(
            Effect.andThen(Deferred.succeed(inFlight, undefined), Effect.uninterruptible(Deferred.await(gate))),
            call
          )
        }
        let finished = 0
        const send = yield* stage.open(
          Effect.gen(function* () {
            yield* operation(yield* UserSession)
            finished++
            return empty
          })
        )
        const client = new AbortController()
        const fiber = yield* Effect.forkChild(
          send("POST", "/", { cookie: Stage.cookieOf(session), signal: client.signal }),
          { startImmediately: true }
        )
        if (abortAt !== undefined) {
          yield* Deferred.await(inFlight)
          client.abort()
          yield* Effect.yieldNow
          yield* Deferred.succeed(gate, undefined)
        }
        const answer = yield* Fiber.join(fiber)
        return {
          untouched,
          after: yield* summary,
          calls,
          finished,
          status: answer.status,
          made: stage.backend.operations
        }
      })
      let aborted = 0
      for (const [title, operation] of Object.entries(operations)) {
        const whole = yield* run(operation, undefined)
        assert.strictEqual(whole.finished, 1, title)
        assert.notDeepEqual(whole.after, whole.untouched, title)
        for (let abortAt = 0; abortAt < whole.calls; abortAt++) {
          const cut = yield* run(operation, abortAt)
          assert.strictEqual(cut.status, 499, `${title} ${abortAt}`)
          assert.strictEqual(cut.finished, 0, `${title} ${abortAt}`)
          // Going away before the first write leaves all as it was; after it, the write is carried to its end.
          const isBefore =
            !title.startsWith("revoke") && whole.made.slice(0, abortAt + 1).every((operation) => operation === "read")
          assert.deepStrictEqual(cut.after, isBefore ? cut.untouched : whole.after, `${title} ${abortAt}`)
          aborted++
        }
      }
      // A log-in reads the fence and the list. To end many, the fence is read and written, and the second time read again.
      assert.strictEqual(aborted, 4 + 2 + 2 + 2 + 1 + 5 + 6)
    })
  )

  it.live("law 4: a client that hangs up in the middle of a log-in leaves nothing half done", () =>
    Effect.gen(function* () {
      let hangUp = (): void => {}
      const hungUp = new Promise<void>((resolve) => (hangUp = resolve))
      const { backend, send } = yield* startServer(undefined, () =>
        Http.createServer().on("request", (request, response) => {
          if (request.url === "/login/eve") response.on("close", hangUp)
        })
      )
      const { cookie } = yield* send("POST", "/login")
      const [old] = yield* backend.records
      const inFlight = yield* Deferred.make<void>()
      const gate = yield* Deferred.make<void>()
      const ended = yield* Deferred.make<void>()
      backend.wire = (operation, call) =>
        operation === "create"
          ? Effect.andThen(Effect.andThen(Deferred.succeed(inFlight, undefined), Deferred.await(gate)), call)
          : operation === "delete"
            ? Effect.tap(call, () => Deferred.succeed(ended, undefined))
            : call
      const client = new AbortController()
      const request = yield* Effect.forkChild(
        Effect.exit(send("POST", "/login/eve", { cookie, signal: client.signal })),
        { startImmediately: true }
      )
      yield* Deferred.await(inFlight)
      client.abort()
      assert.isTrue(Exit.isFailure(yield* Fiber.join(request)))
      // The server has heard of it.
      yield* Effect.promise(() => hungUp)
      yield* Deferred.succeed(gate, undefined)
      yield* Deferred.await(ended)
      const stored = yield* backend.records
      assert.deepStrictEqual(
        stored.map(({ principal }) => principal),
        ["eve"]
      )
      assert.notInclude(
        stored.map(({ id }) => id),
        old!.id
      )
    })
  )
})
