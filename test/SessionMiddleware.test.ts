import { assert, describe, it } from "@effect/vitest"
import { Clock, Context, Deferred, Effect, Exit, Fiber, Layer, Logger, Option, Redacted, Schema, Stream } from "effect"
import { Headers, HttpEffect, HttpRouter, HttpServerRequest, HttpServerResponse } from "effect/http"
import {
  Session,
  SessionError,
  SessionFrontend,
  SessionKeys,
  SessionMiddleware,
  SessionToken,
  SessionVerifier
} from "effect-sessions"
import { TestClock } from "effect/testing"
import * as Browser from "./support/browser.ts"
import * as Client from "./support/client.ts"
import * as InstrumentedBackend from "./support/instrumentedBackend.ts"
import * as Dice from "./support/random.ts"
import * as Stage from "./support/stage.ts"
import { ada, eve, layerCrypto, layerKeys, layerStack, secrets, UserData, UserSession } from "./support/userSession.ts"

const empty = HttpServerResponse.empty()
const text = HttpServerResponse.text

const name = (session: Session.Session<(typeof UserData)["Type"]>) => session.data.username ?? "-"

const whoami = Effect.gen(function* () {
  return text(name(yield* (yield* UserSession).get))
})

const verified = Effect.map(UserSession.Verified, (session) => text(name(session)))

const isLive = (stage: Effect.Success<ReturnType<typeof Stage.make>>, token: Redacted.Redacted<string>) =>
  Effect.isSuccess(stage.manager.resolve(token))

const tagOf = (answer: Client.Answer) => (JSON.parse(answer.text) as { readonly _tag: string })._tag
const reasonOf = (answer: Client.Answer) => (JSON.parse(answer.text) as { readonly reason: string }).reason

/** What was logged while an effect ran. */
const logged = <A, E, R>(effect: Effect.Effect<A, E, R>) =>
  Effect.suspend(() => {
    const lines: Array<string> = []
    const layer = Logger.layer([Logger.make(({ logLevel, message }) => lines.push(`${logLevel} ${String(message)}`))])
    return Effect.map(Effect.provide(effect, layer), (value) => ({ value, lines }))
  })

class Teapot extends Schema.TaggedError<Teapot>()("Teapot", {}) {}

describe("law 1: one handle for each request and definition", () => {
  it.effect("law 1: one handle per request and definition, however its middlewares nest", () =>
    Effect.gen(function* () {
      const stage = yield* Stage.make()
      const handles = new Set<unknown>()
      const seen = Effect.tap(UserSession, (handle) => Effect.sync(() => handles.add(handle)))
      const inner = Effect.gen(function* () {
        const session = yield* seen
        yield* session.update((data) => ({ ...data, count: data.count + 1 }))
        yield* session.rotate
        return empty
      })
      const open = SessionMiddleware.make(UserSession)
      const guard = SessionMiddleware.required(UserSession)
      const nestings = {
        "open(open)": open(Effect.flatMap(seen, () => open(inner))),
        "open(guard)": open(Effect.flatMap(seen, () => guard(inner))),
        "guard(open)": guard(Effect.flatMap(seen, () => open(inner))),
        "guard(guard)": guard(Effect.flatMap(seen, () => guard(inner))),
        "open(guard(open(guard)))": open(guard(open(Effect.flatMap(seen, () => guard(inner)))))
      }
      for (const [nesting, app] of Object.entries(nestings)) {
        const session = yield* stage.login(ada)
        handles.clear()
        const answer = yield* (yield* stage.app(app))("POST", "/", { cookie: Stage.cookieOf(session) })
        assert.strictEqual(answer.status, 204, nesting)
        assert.strictEqual(handles.size, 1, nesting)
        assert.deepStrictEqual(stage.backend.calls, ["read", "update", "update"], nesting)
        assert.strictEqual(answer.setCookie.length, 1, nesting)
        assert.strictEqual(answer.headers.get("vary"), "Cookie", nesting)
      }
    })
  )

  it.effect("law 1: combined middlewares of a router share one handle and one read", () =>
    Effect.gen(function* () {
      const backend = yield* InstrumentedBackend.make()
      const open = SessionMiddleware.router(UserSession)
      const guard = SessionMiddleware.routerRequired(UserSession)
      const route = (path: `/${string}`) =>
        HttpRouter.add(
          "GET",
          path,
          Effect.gen(function* () {
            const { id } = yield* (yield* UserSession).get
            return text(String(id === (yield* UserSession.Verified).id))
          })
        )
      const send = yield* Client.serve(
        Layer.mergeAll(
          HttpRouter.add(
            "POST",
            "/login",
            Effect.flatMap(UserSession, (s) => Effect.as(s.create(ada), empty))
          ).pipe(Layer.provide(open.layer)),
          route("/a").pipe(Layer.provide(guard.layer)),
          route("/b").pipe(Layer.provide(guard.combine(open).layer)),
          route("/c").pipe(Layer.provide(open.combine(guard).layer)),
          route("/d").pipe(Layer.provide(guard.layer), Layer.provide(open.layer))
        ).pipe(Layer.provide(layerStack(backend)))
      )
      const { cookie } = yield* send("POST", "/login")
      for (const path of ["/a", "/b", "/c", "/d"]) {
        backend.calls.length = 0
        const answer = yield* send("GET", path, { cookie })
        assert.deepStrictEqual([answer.status, answer.text, backend.calls], [200, "true", ["read"]], path)
        backend.calls.length = 0
        assert.strictEqual((yield* send("GET", path)).status, 401, path)
      }
    })
  )

  it.effect("law 1: a failed attempt is remembered for the next one", () =>
    Effect.gen(function* () {
      const stage = yield* Stage.make()
      const { token } = yield* stage.login(ada)
      yield* stage.manager.destroy(token)
      stage.backend.calls.length = 0
      const guard = SessionMiddleware.required(UserSession)
      const send = yield* stage.app(
        SessionMiddleware.make(UserSession)(
          Effect.catch(guard(verified), (first) =>
            Effect.catch(guard(verified), (second) => Effect.succeed(text(`${first === second}`)))
          )
        )
      )
      const answer = yield* send("GET", "/", { cookie: Stage.cookieOf({ token }) })
      assert.deepStrictEqual([answer.text, stage.backend.calls], ["true", ["read"]])
    })
  )

  it.effect("law 1: an in-process sub-request does not inherit its caller's user", () =>
    Effect.gen(function* () {
      const stage = yield* Stage.make()
      const session = yield* stage.login(ada)
      const guard = Effect.provideContext(
        Effect.catchTag(SessionMiddleware.required(UserSession)(verified), "SessionMissing", () =>
          Effect.succeed(text("nobody"))
        ),
        stage.context
      )
      const other = (cookie?: string) =>
        new Request("https://app.test/inner", cookie === undefined ? {} : { headers: { cookie } })
      const bodyOf = (response: HttpServerResponse.HttpServerResponse) =>
        Effect.promise(() => HttpServerResponse.toWeb(response).text())
      const stranger = Stage.cookieOf(yield* stage.login(eve))
      const send = yield* stage.guarded(
        Effect.gen(function* () {
          const direct = (request: Request) =>
            Effect.flatMap(
              Effect.provideService(guard, HttpServerRequest.HttpServerRequest, HttpServerRequest.fromWeb(request)),
              bodyOf
            )
          // A whole handler, run with all that this one's fiber carries.
          const context = yield* Effect.context<HttpServerRequest.HttpServerRequest>()
          const handler = HttpEffect.toWebHandlerWith<
            HttpServerRequest.HttpServerRequest,
            HttpServerRequest.HttpServerRequest
          >(context)(guard)
          const throughHandler = (request: Request) => Effect.promise(() => handler(request).then((r) => r.text()))
          const request = yield* HttpServerRequest.HttpServerRequest
          const rewritten = Effect.flatMap(
            Effect.provideService(guard, HttpServerRequest.HttpServerRequest, request.modify({ url: "/rewritten" })),
            bodyOf
          )
          return text(
            [
              yield* direct(other()),
              yield* throughHandler(other()),
              yield* direct(other(stranger)),
              yield* throughHandler(other(stranger)),
              yield* rewritten
            ].join()
          )
        })
      )
      const answer = yield* send("GET", "/", { cookie: Stage.cookieOf(session) })
      assert.strictEqual(answer.text, "nobody,nobody,eve,eve,ada")
      // One read for each request; the rewritten one is the same request.
      assert.deepStrictEqual(stage.backend.calls, ["read", "read", "read"])
    })
  )

  it.effect("law 1: the handle and what a guard verified are there for the wrapped app, and not after it", () =>
    Effect.gen(function* () {
      const stage = yield* Stage.make()
      const session = yield* stage.login(ada)
      const present = Effect.gen(function* () {
        const handle = yield* Effect.serviceOption(UserSession)
        const verified = yield* Effect.serviceOption(UserSession.Verified)
        return `${Option.isSome(handle)} ${Option.isSome(verified)}`
      })
      const open = SessionMiddleware.make(UserSession)
      const guard = SessionMiddleware.required(UserSession)
      const then = (
        app: Effect.Effect<unknown, unknown, HttpServerRequest.HttpServerRequest | Session.Bound<UserSession>>
      ) => Effect.map(Effect.andThen(Effect.exit(app), present), (after) => text(after))
      const broken = Effect.andThen(UserSession, Effect.die(new Error("boom")))
      const rows: Record<
        string,
        readonly [
          Effect.Effect<
            HttpServerResponse.HttpServerResponse,
            unknown,
            HttpServerRequest.HttpServerRequest | Session.Bound<UserSession>
          >,
          string
        ]
      > = {
        "after open": [then(open(Effect.as(UserSession, empty))), "false false"],
        "after guard": [then(guard(verified)), "false false"],
        "after open that died": [then(open(broken)), "false false"],
        "after guard that died": [then(guard(broken)), "false false"],
        "after guard in open": [open(then(guard(verified))), "true false"],
        "after a guard that died in open": [open(then(guard(broken))), "true false"],
        "after open in guard": [guard(then(open(Effect.as(UserSession, empty)))), "true true"]
      }
      for (const [title, [app, expected]] of Object.entries(rows)) {
        const answer = yield* (yield* stage.app(app))("GET", "/", { cookie: Stage.cookieOf(session) })
        assert.strictEqual(answer.text, expected, title)
      }
      const refused = yield* stage.app(then(guard(verified)))
      assert.strictEqual((yield* refused("GET", "/")).text, "false false")
    })
  )
})

describe("law 2: lazy", () => {
  it.effect("law 2: nothing is read until it is asked for", () =>
    Effect.gen(function* () {
      const stage = yield* Stage.make()
      const session = yield* stage.login(ada)
      const send = yield* stage.open(Effect.as(UserSession, empty))
      assert.strictEqual((yield* send("POST", "/", { cookie: Stage.cookieOf(session) })).status, 204)
      assert.deepStrictEqual(stage.backend.calls, [])
    })
  )

  it.effect("law 2: one read is shared by concurrent callers, its failure too", () =>
    Effect.gen(function* () {
      for (const fails of [false, true]) {
        const stage = yield* Stage.make()
        const session = yield* stage.login(ada)
        const gate = yield* Deferred.make<void>()
        stage.backend.wire = (operation, call) =>
          Effect.andThen(Deferred.await(gate), fails ? InstrumentedBackend.failure(operation) : call)
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
        assert.deepStrictEqual(stage.backend.calls, fails ? ["read"] : ["read", "listByPrincipal"])
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
      assert.deepStrictEqual(stage.backend.calls, ["read", "read"])
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
          assert.deepStrictEqual(stage.backend.calls, ["read", "update", "update", "update", "update"])
          const created = yield* handle.create(eve)
          assert.strictEqual(yield* handle.get, created)
          yield* handle.destroy
          assert.strictEqual((yield* Effect.flip(handle.get))._tag, "SessionMissing")
          assert.isTrue(Option.isNone(yield* handle.option))
          return empty
        })
      )
      assert.strictEqual((yield* send("POST", "/", { cookie: Stage.cookieOf(session) })).status, 204)
      assert.deepStrictEqual(yield* stage.backend.stored, [])
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
})

describe("laws 1 and 2, as attacked", () => {
  it.effect("law 1: a guard of another binding of the definition asks its own verifier", () =>
    Effect.gen(function* () {
      const stage = yield* Stage.make()
      const strict = yield* Layer.build(
        layerStack(stage.backend, {
          verifier: SessionVerifier.layer(UserSession, () =>
            Effect.fail(new SessionError.SessionRefused({ message: "no" }))
          )
        })
      )
      const session = yield* stage.login(ada)
      const inner = Effect.provideContext(SessionMiddleware.required(UserSession)(verified), strict)
      const send = yield* stage.app(
        SessionMiddleware.required(UserSession)(Effect.flatMap(UserSession.Verified, () => inner))
      )
      assert.strictEqual((yield* send("GET", "/", { cookie: Stage.cookieOf(session) })).status, 403)
    })
  )

  it.effect("law 1: what a sub-request logs in or out is not put on the caller's response", () =>
    Effect.gen(function* () {
      const stage = yield* Stage.make()
      const bob = yield* stage.login(eve)
      const session = yield* stage.login(ada)
      const call = (method: "login" | "logout", cookie: string) =>
        Effect.provideContext(
          SessionMiddleware.make(UserSession)(
            Effect.flatMap(UserSession, (session) =>
              Effect.as(method === "login" ? session.create(eve) : session.destroy, empty)
            )
          ),
          stage.context
        ).pipe(
          Effect.provideService(
            HttpServerRequest.HttpServerRequest,
            HttpServerRequest.fromWeb(new Request("https://app.test/", { method: "POST", headers: { cookie } }))
          )
        )
      for (const [method, cookie] of [
        ["login", ""],
        ["logout", Stage.cookieOf(bob)]
      ] as const) {
        const send = yield* stage.open(call(method, cookie))
        assert.deepStrictEqual((yield* send("GET", "/", { cookie: Stage.cookieOf(session) })).setCookie, [])
      }
      assert.isFalse(yield* isLive(stage, bob.token))
      assert.isTrue(yield* isLive(stage, session.token))
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
            stage.backend.wire = (operation, call) =>
              operation === "read" ? Effect.andThen(Deferred.await(gate), call) : call
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

  it.effect("law 5: a cookie that was not to be set is not set by a rotation either", () =>
    Effect.gen(function* () {
      const stage = yield* Stage.make()
      const send = yield* stage.open(
        Effect.gen(function* () {
          const session = yield* UserSession
          yield* session.create(ada, { cookie: "none" })
          yield* session.rotate
          return empty
        })
      )
      assert.deepStrictEqual((yield* send("POST", "/")).setCookie, [])
    })
  )

  it.effect("[R29] a session the verifier refuses, beside a good one, locks nobody out", () =>
    Effect.gen(function* () {
      const stage = yield* Stage.make({
        verifier: SessionVerifier.layer(UserSession, ({ data }) =>
          data.username === eve.username ? Effect.fail(new SessionError.SessionRefused({ message: "no" })) : Effect.void
        )
      })
      const [good, refused] = [yield* stage.login(ada), yield* stage.login(eve)]
      const send = yield* stage.guarded(verified)
      for (const cookie of [
        `${Stage.cookieOf(refused)}; ${Stage.cookieOf(good)}`,
        `${Stage.cookieOf(good)}; ${Stage.cookieOf(refused)}`
      ]) {
        assert.strictEqual((yield* send("GET", "/", { cookie })).text, "ada")
      }
      assert.strictEqual((yield* send("GET", "/", { cookie: Stage.cookieOf(refused) })).status, 403)
    })
  )
})

describe("law 3: Verified", () => {
  it.effect("law 3: UserSession.Verified stays what the guard verified, whatever the handler changes", () =>
    Effect.gen(function* () {
      const stage = yield* Stage.make()
      const session = yield* stage.login(ada)
      const send = yield* stage.guarded(
        Effect.gen(function* () {
          const first = yield* UserSession.Verified
          const handle = yield* UserSession
          yield* handle.update((data) => ({ ...data, count: 7 }))
          assert.strictEqual(yield* UserSession.Verified, first)
          yield* handle.create(eve)
          assert.strictEqual(yield* UserSession.Verified, first)
          yield* handle.destroy
          assert.strictEqual(yield* UserSession.Verified, first)
          return text(`${name(first)} ${first.data.count} ${first.version}`)
        })
      )
      assert.strictEqual((yield* send("POST", "/", { cookie: Stage.cookieOf(session) })).text, "ada 0 1")
    })
  )

  it.effect("law 3: a guard of a definition with a principal lets no anonymous session through", () =>
    Effect.gen(function* () {
      const stage = yield* Stage.make()
      const anonymous = yield* stage.login({ count: 5 })
      let ran = 0
      const send = yield* stage.guarded(Effect.sync(() => (ran++, empty)))
      const answer = yield* send("GET", "/", { cookie: Stage.cookieOf(anonymous) })
      assert.deepStrictEqual([answer.status, tagOf(answer), ran], [401, "SessionMissing", 0])
      assert.deepStrictEqual(answer.setCookie, [])
      const open = yield* stage.open(whoami)
      assert.strictEqual((yield* open("GET", "/", { cookie: Stage.cookieOf(anonymous) })).text, "-")
    })
  )
})

describe("law 4: writes", () => {
  it.effect("law 4: a write reaches the backend when it is called, and its failure is in the handler's hand", () =>
    Effect.gen(function* () {
      const stage = yield* Stage.make()
      const session = yield* stage.login(ada)
      const countNow = Effect.map(stage.backend.stored, (records) =>
        records.map(({ data }) => (JSON.parse(data) as { count: number }).count)
      )
      const send = yield* stage.open(
        Effect.gen(function* () {
          const handle = yield* UserSession
          yield* handle.update((data) => ({ ...data, count: 1 }))
          assert.deepStrictEqual(yield* countNow, [1])
          stage.backend.wire = (operation) => InstrumentedBackend.failure(operation)
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
        const summary = Effect.map(stage.backend.stored, (records) =>
          records
            .map(({ data, id, secretHash, version }) => {
              const isOwn = id === session.id
              const before = secretHash === firstHash
              return `${isOwn ? (before ? "own" : "own rotated") : "other"} v${version} ${data}`
            })
            .sort()
        )
        const firstHash = (yield* stage.backend.stored).find(({ id }) => id === session.id)!.secretHash
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
        return { untouched, after: yield* summary, calls, finished, status: answer.status, made: stage.backend.calls }
      })
      let aborted = 0
      for (const [title, operation] of Object.entries(operations)) {
        const whole = yield* run(operation, undefined)
        assert.strictEqual(whole.finished, 1, title)
        assert.notDeepEqual(whole.after, whole.untouched, title)
        for (let abortAt = 0; abortAt < whole.calls; abortAt++) {
          const isRead = whole.made[abortAt] === "read"
          const cut = yield* run(operation, abortAt)
          assert.strictEqual(cut.status, 499, `${title} ${abortAt}`)
          assert.strictEqual(cut.finished, 0, `${title} ${abortAt}`)
          // Going away before the first write leaves all as it was; after it, the write is carried to its end.
          const isBefore = isRead && title !== "revokeOthers" && title !== "revokeAll"
          assert.deepStrictEqual(cut.after, isBefore ? cut.untouched : whole.after, `${title} ${abortAt}`)
          aborted++
        }
      }
      assert.strictEqual(aborted, 2 + 2 + 2 + 2 + 1 + 3 + 2)
    })
  )
})

describe("law 5: headers", () => {
  const endings: Record<string, readonly [App<unknown>, status: number]> = {
    success: [Effect.succeed(text("fine")), 200],
    "a typed failure": [Effect.fail(new Teapot()), 500],
    "a failure with its own status": [Effect.fail(new SessionError.SessionConflict()), 409],
    "a failing schema": [Effect.flatMap(Schema.decodeUnknownEffect(Schema.Int)("x"), () => Effect.succeed(empty)), 400],
    "a defect": [Effect.die(new Error("boom")), 500],
    "a defect that is a response": [Effect.die(HttpServerResponse.empty({ status: 418 })), 418]
  }
  type App<E> = Effect.Effect<HttpServerResponse.HttpServerResponse, E>

  it.effect("law 5: on success, typed failure and defect, in a web handler and in a router", () =>
    Effect.gen(function* () {
      const stage = yield* Stage.make()
      for (const [title, [ending, status]] of Object.entries(endings)) {
        const handler = Effect.flatMap(UserSession, (session) => Effect.andThen(session.create(ada), ending))
        const plain = yield* stage.open(handler)
        const routed = yield* Client.serve(
          HttpRouter.add(
            "POST",
            "/",
            handler as Effect.Effect<HttpServerResponse.HttpServerResponse, never, UserSession>
          ).pipe(
            Layer.provide(SessionMiddleware.router(UserSession).layer),
            Layer.provide(Layer.succeedContext(stage.context))
          )
        )
        for (const send of [plain, routed]) {
          const answer = yield* send("POST", "/")
          assert.strictEqual(answer.status, status, title)
          // The token reaches the client though the handler failed afterwards: the session is there.
          assert.strictEqual(answer.setCookie.length, 1, title)
          assert.strictEqual(answer.headers.get("vary"), "Cookie", title)
          assert.strictEqual(answer.headers.get("cache-control"), "no-store", title)
          const me = yield* stage.open(whoami)
          assert.strictEqual((yield* me("GET", "/", { cookie: answer.cookie })).text, "ada", title)
        }
      }
    })
  )

  it.effect("law 5: after the handler's own headers", () =>
    Effect.gen(function* () {
      const stage = yield* Stage.make()
      const session = yield* stage.login(ada)
      const send = yield* stage.open(
        Effect.gen(function* () {
          yield* (yield* UserSession).rotate
          return text("x", { headers: { vary: "Accept-Encoding", "cache-control": "public, max-age=3600" } }).pipe(
            HttpServerResponse.setCookieUnsafe("theme", "dark"),
            HttpServerResponse.setCookieUnsafe(Stage.cookieName, "the handler's own")
          )
        })
      )
      const answer = yield* send("POST", "/", { cookie: Stage.cookieOf(session) })
      assert.strictEqual(answer.headers.get("vary"), "Accept-Encoding, Cookie")
      assert.strictEqual(answer.headers.get("cache-control"), "no-store")
      assert.deepStrictEqual(answer.setCookie.map((header) => header.split("=")[0]).sort(), [Stage.cookieName, "theme"])
      assert.notInclude(answer.setCookie.join(), "own")
    })
  )

  it.effect("law 5: a request that is interrupted has its headers all the same", () =>
    Effect.gen(function* () {
      const stage = yield* Stage.make()
      const send = yield* stage.open(
        Effect.flatMap(UserSession, (session) => Effect.andThen(session.create(ada), Effect.interrupt))
      )
      const answer = yield* send("POST", "/")
      assert.deepStrictEqual([answer.status, answer.setCookie.length], [503, 1])
    })
  )

  it.effect("law 5: [R77] create and rotate die after the headers are made, before they touch the store", () =>
    Effect.gen(function* () {
      const stage = yield* Stage.make()
      const session = yield* stage.login(ada)
      for (const operation of ["create", "rotate", "revokeOthers"] as const) {
        stage.backend.calls.length = 0
        let exit: Exit.Exit<unknown, unknown> | undefined
        const send = yield* stage.guarded(
          Effect.gen(function* () {
            const handle = yield* UserSession
            const late = Effect.gen(function* () {
              const change: Effect.Effect<unknown, unknown> =
                operation === "create" ? handle.create(ada) : handle[operation]
              exit = yield* Effect.exit(change)
              return new TextEncoder().encode("streamed")
            })
            return HttpServerResponse.stream(Stream.fromEffect(late))
          })
        )
        const answer = yield* send("POST", "/", { cookie: Stage.cookieOf(session) })
        assert.strictEqual(answer.text, "streamed")
        assert.deepStrictEqual(answer.setCookie, [])
        assert.match(String(exit), /after the response's headers were made/, operation)
        assert.isTrue(exit !== undefined && Exit.hasDies(exit), operation)
        assert.deepStrictEqual(stage.backend.calls, ["read"], operation)
      }
      assert.strictEqual((yield* stage.backend.stored).length, 1)
    })
  )

  it.effect("law 5: total, even when a frontend throws", () =>
    Effect.gen(function* () {
      const throwing = Layer.succeed(SessionFrontend.SessionFrontend, {
        security: [],
        extract: () => Effect.fail(new SessionError.SessionMissing()),
        attach: () => {
          throw new Error("broken")
        },
        detach: () => {
          throw new Error("broken")
        }
      })
      const stage = yield* Stage.make({ frontend: throwing })
      const login = Effect.flatMap(UserSession, (session) => Effect.as(session.create(ada), text("secret body")))
      const logout = Effect.flatMap(UserSession, (session) =>
        Effect.as(Effect.andThen(session.create(ada), session.destroy), text("secret body"))
      )
      for (const handler of [login, logout]) {
        const { lines, value } = yield* logged(Effect.flatMap(stage.open(handler), (send) => send("POST", "/")))
        assert.deepStrictEqual([value.status, value.text, value.setCookie], [500, "", []])
        assert.strictEqual(value.headers.get("cache-control"), "no-store")
        assert.deepStrictEqual(lines, [
          "Error test/UserSession: the frontend failed to put the session on the response"
        ])
      }
    })
  )
})

describe("parts that throw", () => {
  it.effect("a frontend or a verifier that throws is a defect each time it is asked, and holds nobody up", () =>
    Effect.gen(function* () {
      const broken = () => {
        throw new Error("broken")
      }
      const token = yield* Effect.map(
        Effect.flatMap(Stage.make(), (stage) => stage.login(ada)),
        Stage.cookieOf
      )
      for (const options of [
        {
          frontend: Layer.succeed(SessionFrontend.SessionFrontend, {
            security: [],
            extract: broken,
            attach: (response: HttpServerResponse.HttpServerResponse) => response,
            detach: (response: HttpServerResponse.HttpServerResponse) => response
          })
        },
        { verifier: Layer.succeed(UserSession.Verifier, { verify: broken }) }
      ]) {
        const stage = yield* Stage.make(options)
        const cookie = "verifier" in options ? Stage.cookieOf(yield* stage.login(ada)) : token
        const exits: Array<Exit.Exit<unknown, unknown>> = []
        const twice = Effect.gen(function* () {
          const session = yield* UserSession
          exits.push(yield* Effect.exit(session.get), yield* Effect.exit(session.get))
          return empty
        })
        assert.strictEqual((yield* (yield* stage.open(twice))("GET", "/", { cookie })).status, 204)
        assert.deepStrictEqual(exits.map(Exit.hasDies), [true, true])
      }
    })
  )
})

describe("parts put in place of the library's own", () => {
  it.effect("a manager that wraps the library's is the one that is asked, and may refuse", () =>
    Effect.gen(function* () {
      const stage = yield* Stage.make()
      const cookie = Stage.cookieOf(yield* stage.login(ada))
      let asked = 0
      const resolve = () =>
        Effect.suspend(() => {
          asked++
          return Effect.fail(new SessionError.SessionInvalid({ reason: "NotFound" }))
        })
      for (const wrapped of [
        { ...stage.manager, resolve },
        Object.create(stage.manager, { resolve: { value: resolve } })
      ]) {
        const app = verified.pipe(
          SessionMiddleware.required(UserSession),
          Effect.provideService(UserSession.Manager, wrapped as typeof stage.manager)
        )
        assert.strictEqual((yield* (yield* stage.app(app))("GET", "/", { cookie })).status, 401)
      }
      assert.strictEqual(asked, 2)
    })
  )

  it.effect("a mocked manager answers over HTTP, and so does log-in with a cookie of an old session", () =>
    Effect.gen(function* () {
      const stage = yield* Stage.make()
      const session = yield* stage.login(ada)
      const ended: Array<string> = []
      const Mock = Layer.mock(UserSession.Manager, {
        resolve: () => Effect.succeed(session),
        create: () => Effect.succeed(session),
        destroy: (token) => Effect.sync(() => void ended.push(Redacted.value(token)))
      })
      const cookie = "__Host-session=whatever"
      const whoami = yield* stage.app(verified.pipe(SessionMiddleware.required(UserSession), Effect.provide(Mock)))
      assert.strictEqual((yield* whoami("GET", "/", { cookie })).text, "ada")
      const login = yield* stage.app(
        Effect.flatMap(UserSession, (session) => Effect.as(session.create(ada), empty)).pipe(
          SessionMiddleware.make(UserSession),
          Effect.provide(Mock)
        )
      )
      assert.strictEqual((yield* login("POST", "/", { cookie })).status, 204)
      assert.deepStrictEqual(ended, ["whatever"])
    })
  )

  it.effect("a frontend that copies the credentials of another is understood", () =>
    Effect.gen(function* () {
      const inner = yield* Layer.build(SessionFrontend.layerCookie()).pipe(
        Effect.map((context) => Context.get(context, SessionFrontend.SessionFrontend)),
        Effect.orDie
      )
      const frontend = Layer.succeed(SessionFrontend.SessionFrontend, {
        ...inner,
        extract: (request) =>
          Effect.map(
            inner.extract(request),
            ([first, ...rest]) => [{ ...first }, ...rest.map((credential) => ({ ...credential }))] as const
          )
      })
      const stage = yield* Stage.make({ frontend })
      const cookie = Stage.cookieOf(yield* stage.login(ada))
      assert.strictEqual((yield* (yield* stage.guarded(verified))("GET", "/", { cookie })).text, "ada")
    })
  )

  it.effect("[R61] law 5: a throwing onFailure has the session's headers on its 500, as a failing one has", () =>
    Effect.gen(function* () {
      const throwing = HttpRouter.add("GET", "/", verified).pipe(
        Layer.provide(
          SessionMiddleware.routerRequired(UserSession, {
            onFailure: () => {
              throw new Error("broken")
            }
          }).layer
        )
      )
      const backend = yield* InstrumentedBackend.make()
      const send = yield* Client.serve(throwing.pipe(Layer.provide(layerStack(backend))))
      const stranger = yield* send("GET", "/")
      assert.deepStrictEqual([stranger.status, stranger.headers.get("vary")], [500, "Cookie"])
      const forged = yield* send("GET", "/", { cookie: "__Host-session=junk" })
      assert.deepStrictEqual(
        [forged.status, forged.headers.get("vary"), forged.headers.get("cache-control")],
        [500, "Cookie", "no-store"]
      )
    })
  )
})

describe("the response", () => {
  it.effect("is the handler's in all but its headers and cookies, and the handler's own stays as it was", () =>
    Effect.gen(function* () {
      const stage = yield* Stage.make()
      const { token } = yield* stage.login(ada)
      const given = HttpServerResponse.text("body", {
        status: 202,
        statusText: "Kept",
        headers: { "x-own": "1" }
      }).pipe(HttpServerResponse.setCookieUnsafe("own", "2", { path: "/" }))
      const before = { ...given, headers: { ...given.headers } }
      let sent: HttpServerResponse.HttpServerResponse | undefined
      const guarded = SessionMiddleware.required(UserSession)(Effect.succeed(given))
      const app = yield* stage.app(
        Effect.tap(guarded, () =>
          HttpEffect.appendPreResponseHandler((_, response) => Effect.sync(() => (sent = response)))
        )
      )
      const answer = yield* app("GET", "/", { cookie: Stage.cookieOf({ token }) })
      assert.deepStrictEqual([answer.status, answer.text, answer.setCookie], [202, "body", ["own=2; Path=/"]])
      assert.deepStrictEqual({ ...given, headers: { ...given.headers } }, before)
      assert.isTrue(HttpServerResponse.isHttpServerResponse(sent) && sent !== given)
      // Whatever fields Effect gives a response, it has them all.
      assert.sameMembers(Object.keys(sent!), Object.keys(given))
      assert.deepStrictEqual({ ...sent!, headers: {} }, { ...given, headers: {} })
      assert.deepStrictEqual(
        { ...sent!.headers },
        {
          ...given.headers,
          "cache-control": "no-store",
          vary: "Cookie"
        }
      )
    })
  )
})

describe("law 6: who takes the cookie off", () => {
  it.effect("law 6: only destroy and revokeAll do, a 401 does not", () =>
    Effect.gen(function* () {
      const stage = yield* Stage.make({
        verifier: SessionVerifier.layerPredicate(
          UserSession,
          ({ data }) => Effect.succeed(data.count < 100),
          () => new SessionError.SessionRefused({ message: "over" })
        )
      })
      const dead = yield* stage.login(ada)
      yield* stage.manager.destroy(dead.token)
      const stale = yield* stage.login(ada)
      yield* stage.manager.rotate(stale.token)
      const refused = yield* stage.login({ ...ada, count: 100 }).pipe(Effect.option)
      const guarded = yield* stage.guarded(verified)
      const open = yield* stage.open(Effect.flatMap(UserSession, (session) => Effect.as(session.option, empty)))
      const cookies = [
        "__Host-session=junk",
        Stage.cookieOf(dead),
        Stage.cookieOf(stale),
        Stage.cookieOf(Option.getOrThrow(refused)),
        `${Stage.cookieOf(yield* stage.login(ada))}; ${Stage.cookieOf(yield* stage.login(eve))}`
      ]
      for (const cookie of cookies) {
        const answer = yield* guarded("GET", "/", { cookie })
        assert.isTrue(answer.status === 401 || answer.status === 403, cookie)
        assert.deepStrictEqual(answer.setCookie, [])
        assert.deepStrictEqual((yield* open("GET", "/", { cookie })).setCookie, [])
      }
      yield* TestClock.adjust("25 hours")
      const expired = yield* guarded("GET", "/", { cookie: Stage.cookieOf(yield* stage.login(ada)) })
      assert.strictEqual(expired.status, 200)
    })
  )

  it.effect("law 6: destroy takes it off, when the request carried a token of ours, live or not", () =>
    Effect.gen(function* () {
      const stage = yield* Stage.make()
      const logout = yield* stage.open(Effect.flatMap(UserSession, (session) => Effect.as(session.destroy, empty)))
      const everywhere = yield* stage.open(
        Effect.flatMap(UserSession, (session) => Effect.as(session.revokeAll, empty))
      )
      const isDeletion = (answer: Client.Answer) =>
        answer.setCookie.length === 1 && answer.setCookie[0]!.startsWith("__Host-session=; Max-Age=0; Path=/;")
      const session = yield* stage.login(ada)
      const first = yield* logout("POST", "/", { cookie: Stage.cookieOf(session) })
      const second = yield* logout("POST", "/", { cookie: Stage.cookieOf(session) })
      for (const answer of [first, second]) assert.deepStrictEqual([answer.status, isDeletion(answer)], [204, true])
      const forged = yield* logout("POST", "/", { cookie: "__Host-session=junk" })
      const none = yield* logout("POST", "/")
      for (const answer of [forged, none]) assert.deepStrictEqual([answer.status, answer.setCookie], [204, []])
      const one = yield* stage.login(ada)
      const two = yield* stage.login(ada)
      assert.isTrue(isDeletion(yield* everywhere("POST", "/", { cookie: Stage.cookieOf(one) })))
      assert.isFalse(yield* isLive(stage, two.token))
    })
  )

  it.effect("a manager of which `destroy` was replaced is asked by the new one, for tokens that are its own", () =>
    Effect.gen(function* () {
      const stage = yield* Stage.make()
      const ended: Array<string> = []
      const wrapped: typeof stage.manager = {
        ...stage.manager,
        destroy: (token) =>
          Effect.andThen(
            Effect.sync(() => ended.push(Redacted.value(token))),
            stage.manager.destroy(token)
          )
      }
      const send = (effect: Effect.Effect<unknown, unknown, UserSession>) =>
        stage.app(
          Effect.as(effect, empty).pipe(
            SessionMiddleware.make(UserSession),
            Effect.provideService(UserSession.Manager, wrapped)
          )
        )
      const logout = yield* send(Effect.flatMap(UserSession, ({ destroy }) => destroy))
      const login = yield* send(Effect.flatMap(UserSession, ({ create }) => create(ada)))
      for (const app of [logout, login]) {
        const { token } = yield* stage.login(ada)
        const cookie = `__Host-session=junk; __Host-session=${Redacted.value(token)}`
        assert.strictEqual((yield* app("POST", "/", { cookie })).status, 204)
        assert.deepStrictEqual(ended.splice(0), [Redacted.value(token)])
        assert.isFalse(yield* isLive(stage, token))
      }
    })
  )

  it.effect("law 6: a log-out is answered the way the token came that is ours, whatever came beside it", () =>
    Effect.gen(function* () {
      const stage = yield* Stage.make({
        frontend: SessionFrontend.layerFirst([
          SessionFrontend.layerCookie(),
          SessionFrontend.layerHeader({ name: "x-session" })
        ])
      })
      const logout = yield* stage.open(Effect.flatMap(UserSession, (session) => Effect.as(session.destroy, empty)))
      const { token } = yield* stage.login(ada)
      const headers = { "x-session": Redacted.value(token) }
      const answer = yield* logout("POST", "/", { cookie: "__Host-session=junk", headers })
      assert.deepStrictEqual([answer.status, answer.setCookie], [204, []])
      assert.isFalse(yield* isLive(stage, token))
      const session = yield* stage.login(ada)
      const junk = { "x-session": "junk" }
      const byCookie = yield* logout("POST", "/", { cookie: Stage.cookieOf(session), headers: junk })
      assert.deepStrictEqual([byCookie.status, byCookie.setCookie.length], [204, 1])
    })
  )
})

describe("law 7: update, modify and replace", () => {
  /** Lets somebody else be faster, once, right before the first compare-and-set. */
  const meanwhile = (stage: Effect.Success<ReturnType<typeof Stage.make>>, other: Effect.Effect<unknown, unknown>) => {
    let first = true
    stage.backend.wire = (operation, call) =>
      operation === "update" && first
        ? Effect.suspend(() => {
            first = false
            return Effect.andThen(Effect.orDie(other), call)
          })
        : call
  }

  it.effect("law 7: an update that meets a newer version is made on that one", () =>
    Effect.gen(function* () {
      const stage = yield* Stage.make()
      const session = yield* stage.login(ada)
      // Another process, with a manager of its own.
      const other = yield* Layer.build(layerStack(stage.backend))
      const others = Context.get(other, UserSession.Manager)
      const seen: Array<number> = []
      const send = yield* stage.open(
        Effect.gen(function* () {
          const handle = yield* UserSession
          yield* handle.get
          meanwhile(
            stage,
            others.modify(session.token, (data) => [undefined, { ...data, count: 10 }])
          )
          const updated = yield* handle.update((data) => {
            seen.push(data.count)
            return { ...data, count: data.count + 1 }
          })
          return text(String(updated.data.count))
        })
      )
      assert.strictEqual((yield* send("POST", "/", { cookie: Stage.cookieOf(session) })).text, "11")
      assert.deepStrictEqual(seen, [0, 10])
    })
  )

  it.effect("law 7: secret, deadlines and verifier are checked again on a conflict", () =>
    Effect.gen(function* () {
      const verifier = SessionVerifier.layerPredicate(
        UserSession,
        ({ data }) => Effect.succeed(data.count < 100),
        () => new SessionError.SessionRefused({ message: "suspended meanwhile" })
      )
      const rows = [
        [
          "SessionRefused",
          403,
          (m: Manager, token: Redacted.Redacted<string>) => m.modify(token, (d) => [0, { ...d, count: 100 }])
        ],
        ["SessionInvalid", 401, (m: Manager, token: Redacted.Redacted<string>) => m.rotate(token)],
        ["SessionInvalid", 401, (m: Manager, token: Redacted.Redacted<string>) => m.destroy(token)],
        [
          "SessionInvalid",
          401,
          (m: Manager, token: Redacted.Redacted<string>) =>
            Effect.andThen(
              m.modify(token, (d) => [0, { ...d, count: 1 }]),
              TestClock.adjust("2 hours")
            )
        ]
      ] as const
      type Manager = Effect.Success<ReturnType<typeof Stage.make>>["manager"]
      for (const [tag, status, change] of rows) {
        // Time passes during a call, which is not to meet its deadline.
        const stage = yield* Stage.make({ verifier, backendTimeout: "1 day" })
        const session = yield* stage.login(ada)
        const other = yield* Layer.build(layerStack(stage.backend))
        const applied: Array<number> = []
        const send = yield* stage.open(
          Effect.gen(function* () {
            const handle = yield* UserSession
            yield* handle.get
            meanwhile(stage, change(Context.get(other, UserSession.Manager), session.token))
            yield* handle.update((data) => {
              applied.push(data.count)
              return { ...data, count: data.count + 1 }
            })
            return empty
          })
        )
        const answer = yield* send("POST", "/", { cookie: Stage.cookieOf(session) })
        assert.deepStrictEqual([answer.status, tagOf(answer)], [status, tag])
        assert.deepStrictEqual(applied, [0])
      }
    })
  )

  it.effect("law 7: [R70] replace is made on the version this request read, or not at all", () =>
    Effect.gen(function* () {
      const stage = yield* Stage.make()
      const session = yield* stage.login(ada)
      const send = yield* stage.open(
        Effect.gen(function* () {
          const handle = yield* UserSession
          yield* handle.get
          yield* stage.manager.modify(session.token, (data) => [undefined, { ...data, count: 5 }])
          yield* handle.replace({ ...ada, count: 1 })
          return empty
        })
      )
      const answer = yield* send("POST", "/", { cookie: Stage.cookieOf(session) })
      assert.deepStrictEqual([answer.status, tagOf(answer)], [409, "SessionConflict"])
      assert.strictEqual((yield* stage.manager.resolve(session.token)).data.count, 5)
      // On the newest version it is made, after the request's own changes too.
      const again = yield* stage.open(
        Effect.gen(function* () {
          const handle = yield* UserSession
          yield* handle.update((data) => ({ ...data, count: 6 }))
          return text(String((yield* handle.replace({ ...ada, count: 7 })).version))
        })
      )
      assert.strictEqual((yield* again("POST", "/", { cookie: Stage.cookieOf(session) })).text, "4")
    })
  )

  it.effect("law 7: the same reference back writes nothing", () =>
    Effect.gen(function* () {
      const stage = yield* Stage.make()
      const session = yield* stage.login(ada)
      const send = yield* stage.open(
        Effect.gen(function* () {
          const handle = yield* UserSession
          const { version } = yield* handle.update((data) => data)
          const answer = yield* handle.modify((data) => ["kept", data])
          return text(`${version} ${answer}`)
        })
      )
      assert.strictEqual((yield* send("POST", "/", { cookie: Stage.cookieOf(session) })).text, "1 kept")
      assert.deepStrictEqual(stage.backend.calls, ["read"])
    })
  )

  it.effect("law 7: [R70] 50 concurrent requests of one session keep all their updates", () =>
    Effect.gen(function* () {
      const stage = yield* Stage.make()
      const session = yield* stage.login(ada)
      const send = yield* stage.open(
        Effect.gen(function* () {
          const handle = yield* UserSession
          yield* handle.get
          yield* Effect.yieldNow
          yield* handle.update((data) => ({ ...data, count: data.count + 1 }))
          return empty
        })
      )
      const answers = yield* Effect.all(
        Array.from({ length: 50 }, () => send("POST", "/", { cookie: Stage.cookieOf(session) })),
        { concurrency: "unbounded" }
      )
      assert.deepStrictEqual(new Set(answers.map(({ status }) => status)), new Set([204]))
      assert.strictEqual((yield* stage.manager.resolve(session.token)).data.count, 50)
    })
  )

  it.effect("law 7: what the schema refuses is a defect, and is not stored", () =>
    Effect.gen(function* () {
      const stage = yield* Stage.make()
      const session = yield* stage.login(ada)
      const send = yield* stage.open(
        Effect.flatMap(UserSession, (handle) =>
          Effect.as(
            handle.update((data) => ({ ...data, count: 0.5 })),
            empty
          )
        )
      )
      assert.strictEqual((yield* send("POST", "/", { cookie: Stage.cookieOf(session) })).status, 500)
      assert.deepStrictEqual(stage.backend.calls, ["read"])
    })
  )
})

describe("law 8: create", () => {
  it.effect("law 8: [R46] log-in makes a new session, and ends the one an attacker planted", () =>
    Effect.gen(function* () {
      const stage = yield* Stage.make()
      const planted = yield* stage.login({ count: 0 })
      const login = yield* stage.open(
        Effect.flatMap(UserSession, (session) => Effect.map(session.create(ada), ({ id }) => text(id)))
      )
      const victim = yield* login("POST", "/", { cookie: Stage.cookieOf(planted) })
      assert.notStrictEqual(victim.text, planted.id)
      assert.notStrictEqual(victim.cookie, Stage.cookieOf(planted))
      const me = yield* stage.open(whoami)
      assert.strictEqual((yield* me("GET", "/", { cookie: victim.cookie })).text, "ada")
      const attacker = yield* me("GET", "/", { cookie: Stage.cookieOf(planted) })
      assert.deepStrictEqual([attacker.status, reasonOf(attacker)], [401, "NotFound"])
      assert.strictEqual((yield* stage.backend.stored).length, 1)
    })
  )

  it.effect("law 8: every session the request carried ends, and every call makes a new one", () =>
    Effect.gen(function* () {
      const stage = yield* Stage.make()
      const [one, two] = [yield* stage.login(ada), yield* stage.login(eve)]
      const login = yield* stage.open(
        Effect.gen(function* () {
          const handle = yield* UserSession
          const first = yield* handle.create(ada)
          const second = yield* handle.create(ada)
          assert.notStrictEqual(first.id, second.id)
          return text(second.id)
        })
      )
      const answer = yield* login("POST", "/", {
        cookie: `${Stage.cookieOf(one)}; ${Stage.cookieOf(two)}; __Host-session=junk`
      })
      assert.deepStrictEqual(
        (yield* stage.backend.stored).map(({ id }) => id as string),
        [answer.text]
      )
      assert.strictEqual(answer.setCookie.length, 1)
      assert.include(answer.cookie, answer.text)
    })
  )

  it.effect("law 8: if the old session cannot be ended, the new one is deleted and create fails", () =>
    Effect.gen(function* () {
      const stage = yield* Stage.make()
      const old = yield* stage.login(ada)
      stage.backend.wire = (operation, call) =>
        // The old one cannot be deleted: neither the first time nor on the retry.
        operation === "delete" && stage.backend.calls.filter((made) => made === "delete").length <= 1
          ? InstrumentedBackend.failure(operation)
          : call
      const login = yield* stage.open(
        Effect.flatMap(UserSession, (session) => Effect.as(session.create(eve), text("welcome eve")))
      )
      // One failure is made good by the retry.
      assert.strictEqual((yield* login("POST", "/", { cookie: Stage.cookieOf(old) })).status, 200)
      const last = yield* stage.login(ada)
      const rest = (yield* stage.backend.stored).map(({ id }) => id)
      let deletes = 0
      stage.backend.wire = (operation, call) =>
        operation === "delete" && deletes++ < 2 ? InstrumentedBackend.failure(operation) : call
      const answer = yield* login("POST", "/", { cookie: Stage.cookieOf(last) })
      assert.deepStrictEqual([answer.status, tagOf(answer)], [503, "SessionUnavailable"])
      assert.deepStrictEqual(answer.setCookie, [])
      assert.notInclude(answer.text, "eve")
      assert.deepStrictEqual(
        (yield* stage.backend.stored).map(({ id }) => id),
        rest
      )
      assert.isTrue(yield* isLive(stage, last.token))
    })
  )

  it.effect("law 8: revokeOthers rotates this session's own token as well", () =>
    Effect.gen(function* () {
      const stage = yield* Stage.make()
      const [mine, other, eves] = [yield* stage.login(ada), yield* stage.login(ada), yield* stage.login(eve)]
      const send = yield* stage.open(
        Effect.flatMap(UserSession, (session) => Effect.map(session.revokeOthers, (n) => text(`${n}`)))
      )
      const answer = yield* send("POST", "/", { cookie: Stage.cookieOf(mine) })
      assert.strictEqual(answer.text, "1")
      const me = yield* stage.open(whoami)
      assert.strictEqual((yield* me("GET", "/", { cookie: answer.cookie })).text, "ada")
      // The copy a thief may hold.
      assert.isFalse(yield* isLive(stage, mine.token))
      assert.isFalse(yield* isLive(stage, other.token))
      assert.isTrue(yield* isLive(stage, eves.token))
    })
  )

  it.effect("law 8: revoke touches only sessions of the same principal", () =>
    Effect.gen(function* () {
      const stage = yield* Stage.make()
      const [mine, other, eves] = [yield* stage.login(ada), yield* stage.login(ada), yield* stage.login(eve)]
      const revoke = (id: Session.SessionId) =>
        Effect.flatMap(
          stage.open(Effect.flatMap(UserSession, (session) => Effect.map(session.revoke(id), (yes) => text(`${yes}`)))),
          (send) => send("POST", "/", { cookie: Stage.cookieOf(mine) })
        )
      assert.strictEqual((yield* revoke(eves.id)).text, "false")
      assert.isTrue(yield* isLive(stage, eves.token))
      assert.strictEqual((yield* revoke(other.id)).text, "true")
      assert.isFalse(yield* isLive(stage, other.token))
      const own = yield* revoke(mine.id)
      assert.strictEqual(own.text, "true")
      assert.isFalse(yield* isLive(stage, mine.token))
    })
  )
})

describe("cookies of a response", () => {
  it.effect("[R25] one Set-Cookie for all that happened, the last state of it", () =>
    Effect.gen(function* () {
      const stage = yield* Stage.make()
      const session = yield* stage.login(ada)
      const handler = (last: "logout" | "login" | "rotate") =>
        Effect.gen(function* () {
          const handle = yield* UserSession
          yield* handle.rotate
          yield* handle.create(eve)
          yield* handle.rotate
          if (last !== "rotate") yield* handle.destroy
          if (last === "login") yield* handle.create(ada)
          return text("x")
        })
      yield* TestClock.adjust("10 minutes")
      const rotated = yield* (yield* stage.open(handler("rotate")))("POST", "/", { cookie: Stage.cookieOf(session) })
      assert.strictEqual(rotated.setCookie.length, 1)
      const me = yield* stage.open(whoami)
      assert.strictEqual((yield* me("GET", "/", { cookie: rotated.cookie })).text, "eve")
      const out = yield* (yield* stage.open(handler("logout")))("POST", "/", { cookie: rotated.cookie })
      assert.strictEqual(out.setCookie.length, 1)
      assert.match(out.setCookie[0]!, /^__Host-session=; Max-Age=0;/)
      assert.deepStrictEqual(yield* stage.backend.stored, [])
      const again = yield* stage.login(ada)
      const back = yield* (yield* stage.open(handler("login")))("POST", "/", { cookie: Stage.cookieOf(again) })
      assert.strictEqual(back.setCookie.length, 1)
      assert.strictEqual((yield* me("GET", "/", { cookie: back.cookie })).text, "ada")
    })
  )
})

describe("log-out", () => {
  const logout = Effect.flatMap(UserSession, (session) => Effect.as(session.destroy, empty))

  it.effect("[R47] revokes first, then takes the cookie off; what the store refuses is not promised", () =>
    Effect.gen(function* () {
      const stage = yield* Stage.make()
      const session = yield* stage.login(ada)
      const send = yield* stage.open(logout)
      stage.backend.wire = (operation, call) =>
        operation === "delete" ? InstrumentedBackend.failure(operation, "unknown") : call
      const failed = yield* send("POST", "/", { cookie: Stage.cookieOf(session) })
      assert.deepStrictEqual([failed.status, failed.setCookie], [503, []])
      assert.isTrue(yield* isLive(stage, session.token))
      stage.backend.wire = (_, call) => call
      // A handler that fails afterwards does not undo it.
      const dying = yield* stage.open(
        Effect.flatMap(UserSession, (session) => Effect.andThen(session.destroy, Effect.die(new Error("a hook"))))
      )
      const died = yield* dying("POST", "/", { cookie: Stage.cookieOf(session) })
      assert.deepStrictEqual([died.status, died.setCookie.length], [500, 1])
      assert.isFalse(yield* isLive(stage, session.token))
    })
  )

  it.effect("[R47] idempotent, also for a token that was rotated or has expired", () =>
    Effect.gen(function* () {
      const stage = yield* Stage.make()
      const send = yield* stage.open(logout)
      const session = yield* stage.login(ada)
      for (let i = 0; i < 3; i++) {
        assert.strictEqual((yield* send("POST", "/", { cookie: Stage.cookieOf(session) })).status, 204)
      }
      const rotated = yield* stage.login(ada)
      const successor = yield* stage.manager.rotate(rotated.token)
      assert.strictEqual((yield* send("POST", "/", { cookie: Stage.cookieOf(rotated) })).status, 204)
      assert.isFalse(yield* isLive(stage, successor.token))
      const expired = yield* stage.login(ada)
      yield* TestClock.adjust("2 hours")
      assert.strictEqual((yield* send("POST", "/", { cookie: Stage.cookieOf(expired) })).status, 204)
      assert.deepStrictEqual(yield* stage.backend.stored, [])
    })
  )

  it.effect("[R47] [R29] also for a request with more cookies than are read: planted ones keep no session alive", () =>
    Effect.gen(function* () {
      const stage = yield* Stage.make()
      const send = yield* stage.open(logout)
      const session = yield* stage.login(ada)
      const planted = Array.from({ length: 20 }, (_, i) => `${Stage.cookieName}=planted-${i}`)
      const cookie = [...planted, Stage.cookieOf(session), ...planted].join("; ")
      const guarded = yield* stage.guarded(verified)
      assert.strictEqual(reasonOf(yield* guarded("GET", "/", { cookie })), "Ambiguous")
      const answer = yield* send("POST", "/", { cookie })
      assert.deepStrictEqual([answer.status, answer.setCookie.length], [204, 1])
      assert.isFalse(yield* isLive(stage, session.token))
    })
  )

  it.effect("[R47] [R32] also for a cookie behind more others than are read", () =>
    Effect.gen(function* () {
      const stage = yield* Stage.make()
      const send = yield* stage.open(logout)
      const session = yield* stage.login(ada)
      const cookie = `${"a=b; ".repeat(300)}${Stage.cookieOf(session)}`
      assert.strictEqual((yield* send("POST", "/", { cookie })).setCookie.length, 1)
      assert.isFalse(yield* isLive(stage, session.token))
    })
  )

  it.effect("[R48] a captured cookie is dead after log-out: later, after a restart, after key rotation", () =>
    Effect.gen(function* () {
      const stage = yield* Stage.make()
      const captured = Stage.cookieOf(yield* stage.login(ada))
      yield* (yield* stage.open(logout))("POST", "/", { cookie: captured })
      const replay = Effect.fnUntraced(function* (
        backend: InstrumentedBackend.InstrumentedBackend,
        ring: ReadonlyArray<Redacted.Redacted>
      ) {
        const context = yield* Layer.build(layerStack(backend, { keys: layerKeys(ring) }))
        const handler = yield* Client.webHandler(
          Effect.provideContext(SessionMiddleware.required(UserSession)(verified), context)
        )
        const answer = yield* Client.sender(handler)("GET", "/", { cookie: captured })
        return [answer.status, reasonOf(answer), answer.setCookie.length]
      })
      const [old, fresh] = [secrets[0]!, secrets[1]!]
      for (const wait of [1, 3_600_000, 86_400_000] as const) {
        yield* TestClock.adjust(wait)
        assert.deepStrictEqual(yield* replay(stage.backend, [old]), [401, "NotFound", 0])
      }
      assert.deepStrictEqual(yield* replay(yield* InstrumentedBackend.make(), [old]), [401, "NotFound", 0])
      assert.deepStrictEqual(yield* replay(stage.backend, [fresh, old]), [401, "NotFound", 0])
      assert.deepStrictEqual(yield* replay(stage.backend, [fresh]), [401, "Signature", 0])
    })
  )
})

describe("caching", () => {
  const Routes = Layer.mergeAll(
    HttpRouter.add("GET", "/untouched", Effect.as(UserSession, text("x"))),
    HttpRouter.add(
      "GET",
      "/has",
      Effect.flatMap(UserSession, (session) => Effect.as(session.option, text("x")))
    ),
    HttpRouter.add("GET", "/304", Effect.as(UserSession, HttpServerResponse.empty({ status: 304 }))),
    HttpRouter.add("GET", "/redirect", Effect.as(UserSession, HttpServerResponse.redirect("/elsewhere"))),
    HttpRouter.add("GET", "/404", Effect.as(UserSession, HttpServerResponse.empty({ status: 404 }))),
    HttpRouter.add(
      "GET",
      "/fail",
      Effect.flatMap(UserSession, () => Effect.fail(new Teapot()))
    ),
    HttpRouter.add(
      "GET",
      "/die",
      Effect.flatMap(UserSession, () => Effect.die(new Error("boom")))
    ),
    HttpRouter.add(
      "GET",
      "/stream",
      Effect.as(UserSession, HttpServerResponse.stream(Stream.succeed(new Uint8Array(3))))
    ),
    HttpRouter.add("GET", "/whoami", whoami),
    HttpRouter.add(
      "GET",
      "/merged/:kind",
      Effect.gen(function* () {
        const { kind } = yield* HttpRouter.schemaPathParams(Schema.Struct({ kind: Schema.String }))
        yield* UserSession
        return text("x", { headers: { vary: decodeURIComponent(kind) } })
      })
    )
  ).pipe(Layer.provide(SessionMiddleware.router(UserSession).layer))

  it.effect("[R61] Vary names the cookie, once, on every response of a session-aware route", () =>
    Effect.gen(function* () {
      const backend = yield* InstrumentedBackend.make()
      const send = yield* Client.serve(Routes.pipe(Layer.provide(layerStack(backend))))
      const rows: ReadonlyArray<readonly [string, number]> = [
        ["/untouched", 200],
        ["/has", 200],
        ["/304", 304],
        ["/redirect", 302],
        ["/404", 404],
        ["/fail", 500],
        ["/die", 500],
        ["/stream", 200],
        ["/whoami", 401]
      ]
      for (const [path, status] of rows) {
        for (const method of ["GET", "HEAD"]) {
          for (const cookie of [undefined, "__Host-session=junk"]) {
            const answer = yield* send(method, path, { cookie })
            assert.deepStrictEqual([answer.status, answer.headers.get("vary")], [status, "Cookie"], `${method} ${path}`)
          }
        }
      }
      for (const [given, expected] of [
        ["Accept", "Accept, Cookie"],
        ["cookie", "cookie"],
        ["Accept, COOKIE", "Accept, COOKIE"],
        ["X-Cookie", "X-Cookie, Cookie"],
        ["*", "*"]
      ] as const) {
        const { headers } = yield* send("GET", `/merged/${encodeURIComponent(given)}`)
        assert.strictEqual(headers.get("vary"), expected)
      }
    })
  )

  it.effect("[R61] Vary names every header the frontends read", () =>
    Effect.gen(function* () {
      const stage = yield* Stage.make({
        frontend: SessionFrontend.layerFirst([
          SessionFrontend.layerCookie(),
          SessionFrontend.layerBearer(),
          SessionFrontend.layerHeader({ name: "X-Session" })
        ])
      })
      const send = yield* stage.open(Effect.as(UserSession, text("x", { headers: { vary: "authorization" } })))
      assert.strictEqual(
        (yield* send("GET", "/")).headers.get("vary"),
        "authorization, Cookie, Authorization, X-Session"
      )
    })
  )

  it.effect(
    "[R62] no-store where a session was read or a cookie is set, whatever the handler says, with a warning",
    () =>
      Effect.gen(function* () {
        const stage = yield* Stage.make()
        const session = yield* stage.login(ada)
        const cookie = Stage.cookieOf(session)
        const cached = (effect: Effect.Effect<unknown, unknown, UserSession>, cacheControl: string | undefined) =>
          stage.open(
            Effect.as(
              effect,
              text("x", cacheControl === undefined ? {} : { headers: { "cache-control": cacheControl } })
            )
          )
        const read = Effect.flatMap(UserSession, ({ get }) => get)
        for (const cacheControl of [undefined, "public, max-age=3600", "s-maxage=60", "immutable", "private"]) {
          const send = yield* cached(read, cacheControl)
          const { lines, value } = yield* logged(
            Effect.flatMap(cached(read, cacheControl), (send) => send("GET", "/", { cookie }))
          )
          assert.strictEqual(value.headers.get("cache-control"), "no-store", cacheControl)
          const warned = lines.filter((line) => /no-store/.test(line)).length
          assert.strictEqual(warned, cacheControl === undefined || cacheControl === "private" ? 0 : 1, cacheControl)
          // Nobody's session was read: the handler's word stands.
          const untouched = yield* cached(UserSession, cacheControl)
          assert.strictEqual(
            (yield* untouched("GET", "/", { cookie })).headers.get("cache-control"),
            cacheControl ?? null
          )
          const anonymous = yield* cached(
            Effect.flatMap(UserSession, ({ option }) => option),
            cacheControl
          )
          assert.strictEqual((yield* anonymous("GET", "/")).headers.get("cache-control"), cacheControl ?? null)
          assert.strictEqual((yield* send("GET", "/")).headers.get("cache-control"), null)
        }
        const login = yield* cached(
          Effect.flatMap(UserSession, (s) => s.create(ada)),
          "public, max-age=1"
        )
        assert.strictEqual((yield* login("POST", "/")).headers.get("cache-control"), "no-store")
        const out = yield* cached(
          Effect.flatMap(UserSession, (s) => s.destroy),
          "public, max-age=1"
        )
        assert.strictEqual((yield* out("POST", "/", { cookie })).headers.get("cache-control"), "no-store")
      })
  )

  it.effect("a 401 names its challenge", () =>
    Effect.gen(function* () {
      const both = yield* Stage.make({
        frontend: SessionFrontend.layerFirst([SessionFrontend.layerCookie(), SessionFrontend.layerBearer()])
      })
      const guarded = yield* both.guarded(verified)
      assert.strictEqual((yield* guarded("GET", "/")).headers.get("www-authenticate"), "Session, Bearer")
      // One that has nothing to do with the session is left alone.
      const own = yield* both.open(Effect.as(UserSession, HttpServerResponse.empty({ status: 401 })))
      assert.isNull((yield* own("GET", "/")).headers.get("www-authenticate"))
    })
  )

  it.effect("onFailure answers for the guard: a redirect keeps Vary, and is not stored", () =>
    Effect.gen(function* () {
      const backend = yield* InstrumentedBackend.make()
      const seen: Array<string> = []
      const send = yield* Client.serve(
        HttpRouter.add("*", "/", verified).pipe(
          Layer.provide(
            SessionMiddleware.routerRequired(UserSession, {
              onFailure: (error, request) => {
                seen.push(`${error._tag} ${request.url}`)
                return Effect.succeed(HttpServerResponse.redirect(`/login?because=${error._tag}`))
              }
            }).layer
          ),
          Layer.provide(layerStack(backend))
        )
      )
      const missing = yield* send("GET", "/")
      assert.deepStrictEqual(
        [missing.status, missing.headers.get("location"), missing.headers.get("vary"), missing.setCookie],
        [302, "/login?because=SessionMissing", "Cookie", []]
      )
      const junk = yield* send("GET", "/", { cookie: "__Host-session=junk" })
      assert.deepStrictEqual(
        [junk.headers.get("location"), junk.headers.get("vary"), junk.headers.get("cache-control")],
        ["/login?because=SessionInvalid", "Cookie", "no-store"]
      )
      yield* send("POST", "/", { headers: { "sec-fetch-site": "cross-site" } })
      assert.deepStrictEqual(seen, ["SessionMissing /", "SessionInvalid /", "SessionCrossOrigin /"])
    })
  )
})

describe("a definition's own error", () => {
  class Suspended extends Schema.TaggedError<Suspended>()(
    "Suspended",
    { until: Schema.String },
    { httpApiStatus: 423 }
  ) {}
  class Unpaid extends Schema.TaggedError<Unpaid>()("Unpaid", {}, { httpApiStatus: 402 }) {}
  class Plain extends Schema.TaggedError<Plain>()("Plain", { why: Schema.String }) {}
  class MemberSession extends Session.Service<MemberSession>()("test/MemberSession", {
    data: UserData,
    refused: [Suspended, Unpaid, Plain],
    principal: (data) => data.username
  }) {}

  it.effect("answers with its httpApiStatus in a plain router, unhandled", () =>
    Effect.gen(function* () {
      const backend = yield* InstrumentedBackend.make()
      let refusal: Suspended | Unpaid | Plain = new Suspended({ until: "noon" })
      const stack = MemberSession.layerHttp().pipe(
        Layer.provide([
          SessionFrontend.layerCookie(),
          backend.layer,
          SessionVerifier.layer(MemberSession, () => Effect.fail(refusal)),
          layerKeys(),
          layerCrypto
        ])
      )
      const send = yield* Client.serve(
        Layer.mergeAll(
          HttpRouter.add(
            "POST",
            "/login",
            Effect.flatMap(MemberSession, (s) => Effect.as(s.create(ada), empty))
          ),
          HttpRouter.add(
            "GET",
            "/open",
            Effect.flatMap(MemberSession, ({ get }) => Effect.as(get, empty))
          )
        ).pipe(
          Layer.provide(SessionMiddleware.router(MemberSession).layer),
          Layer.merge(
            HttpRouter.add("GET", "/guarded", Effect.as(MemberSession.Verified, empty)).pipe(
              Layer.provide(SessionMiddleware.routerRequired(MemberSession).layer)
            )
          ),
          Layer.provide(stack)
        )
      )
      const { cookie } = yield* send("POST", "/login")
      const rows = [
        [refusal, 423, { _tag: "Suspended", until: "noon" }],
        [new Unpaid(), 402, { _tag: "Unpaid" }],
        // One without a status of its own says what SessionRefused says.
        [new Plain({ why: "because" }), 403, { _tag: "Plain", why: "because" }]
      ] as const
      for (const [error, status, body] of rows) {
        refusal = error
        for (const path of ["/open", "/guarded"]) {
          const answer = yield* send("GET", path, { cookie })
          assert.deepStrictEqual([answer.status, JSON.parse(answer.text)], [status, body], path)
          assert.deepStrictEqual([answer.headers.get("vary"), answer.setCookie], ["Cookie", []], path)
        }
      }
    })
  )
})

describe("a backend that fails, or never answers", () => {
  const faults: Record<string, InstrumentedBackend.Wire> = {
    fails: (operation) => InstrumentedBackend.failure(operation),
    dies: () => Effect.die(new Error("driver bug: hunter2")),
    "never answers": () => Effect.never,
    "never answers, and cannot be interrupted": () => Effect.uninterruptible(Effect.never)
  }

  it.effect(
    "[R78] is a 503 with Retry-After within the deadline, on guarded and open routes, and never 'no session'",
    () =>
      Effect.gen(function* () {
        for (const [title, wire] of Object.entries(faults)) {
          const stage = yield* Stage.make()
          const session = yield* stage.login(ada)
          stage.backend.wire = wire
          let ran = 0
          const run = Effect.sync(() => void ran++)
          const routes: Record<string, Client.Send> = {
            guarded: yield* stage.guarded(Effect.as(run, empty)),
            get: yield* stage.open(Effect.flatMap(UserSession, (s) => Effect.andThen(s.get, Effect.as(run, empty)))),
            option: yield* stage.open(
              Effect.flatMap(UserSession, (s) => Effect.andThen(s.option, Effect.as(run, empty)))
            ),
            update: yield* stage.open(
              Effect.flatMap(UserSession, (s) =>
                Effect.andThen(
                  s.update((d) => ({ ...d })),
                  Effect.as(run, empty)
                )
              )
            ),
            create: yield* stage.open(
              Effect.flatMap(UserSession, (s) => Effect.andThen(s.create(ada), Effect.as(run, empty)))
            ),
            destroy: yield* stage.open(
              Effect.flatMap(UserSession, (s) => Effect.andThen(s.destroy, Effect.as(run, empty)))
            ),
            revokeAll: yield* stage.open(
              Effect.flatMap(UserSession, (s) => Effect.andThen(s.revokeAll, Effect.as(run, empty)))
            )
          }
          for (const [route, send] of Object.entries(routes)) {
            const began = yield* Clock.currentTimeMillis
            let ended: number | undefined
            const fiber = yield* Effect.forkChild(
              Effect.tap(send("POST", "/", { cookie: Stage.cookieOf(session) }), () =>
                Effect.map(Clock.currentTimeMillis, (now) => void (ended = now))
              ),
              { startImmediately: true }
            )
            yield* TestClock.adjust("1500 millis")
            const answer = yield* Fiber.join(fiber)
            const row = `${title}: ${route}`
            assert.deepStrictEqual([answer.status, answer.headers.get("retry-after")], [503, "1"], row)
            assert.strictEqual(tagOf(answer), "SessionUnavailable", row)
            assert.deepStrictEqual(answer.setCookie, [], row)
            assert.notInclude(answer.text, "hunter2", row)
            assert.isTrue(ended !== undefined && ended - began <= 1500, row)
          }
          assert.strictEqual(ran, 0, title)
          // It was never taken for "no session".
          stage.backend.wire = (_, call) => call
          assert.isTrue(yield* isLive(stage, session.token))
        }
      })
  )

  it.effect("[R78] a log-in whose revocation never answers is a 503 within the deadline too", () =>
    Effect.gen(function* () {
      const stage = yield* Stage.make()
      const session = yield* stage.login(ada)
      stage.backend.wire = (operation, call) => (operation === "delete" ? Effect.never : call)
      let created: number | undefined
      const login = yield* stage.open(
        Effect.gen(function* () {
          const now = Effect.map(Clock.currentTimeMillis, (now) => void (created = now))
          yield* Effect.onExit((yield* UserSession).create(ada), () => now)
          return empty
        })
      )
      const began = yield* Clock.currentTimeMillis
      const fiber = yield* Effect.forkChild(login("POST", "/", { cookie: Stage.cookieOf(session) }), {
        startImmediately: true
      })
      yield* TestClock.adjust("10 seconds")
      assert.strictEqual((yield* Fiber.join(fiber)).status, 503)
      // The deadline of the revocation, and a quarter more to delete the new session again.
      assert.strictEqual(created! - began, 1250)
    })
  )

  it.effect("[R78] Retry-After is set also where the handler turned the error into its own 503", () =>
    Effect.gen(function* () {
      const stage = yield* Stage.make()
      const session = yield* stage.login(ada)
      stage.backend.wire = faults["fails"]!
      const own = yield* stage.open(
        Effect.flatMap(UserSession, ({ get }) => Effect.as(get, empty)).pipe(
          Effect.catch(() => Effect.succeed(text("busy", { status: 503 })))
        )
      )
      const answer = yield* own("GET", "/", { cookie: Stage.cookieOf(session) })
      assert.deepStrictEqual([answer.text, answer.headers.get("retry-after")], ["busy", "1"])
      const unrelated = yield* stage.open(Effect.as(UserSession, text("busy", { status: 503 })))
      assert.isNull((yield* unrelated("GET", "/")).headers.get("retry-after"))
    })
  )

  it.effect("[R76] a write that fails leaves no byte of the handler's body, and no cookie", () =>
    Effect.gen(function* () {
      for (const operation of ["create", "update"] as const) {
        const stage = yield* Stage.make()
        const session = yield* stage.login(ada)
        stage.backend.wire = (called, call) => (called === operation ? InstrumentedBackend.failure(called) : call)
        const send = yield* stage.open(
          Effect.gen(function* () {
            const handle = yield* UserSession
            yield* operation === "create" ? handle.create(eve) : handle.rotate
            return text("the handler's body").pipe(HttpServerResponse.setCookieUnsafe("other", "x"))
          })
        )
        const answer = yield* send("POST", "/", { cookie: Stage.cookieOf(session) })
        assert.deepStrictEqual([answer.status, answer.setCookie], [503, []], operation)
        assert.deepStrictEqual(JSON.parse(answer.text), { _tag: "SessionUnavailable", outcome: "notApplied" })
        stage.backend.wire = (_, call) => call
        assert.isTrue(yield* isLive(stage, session.token))
      }
    })
  )
})

// -----------------------------------------------------------------------------
// Many requests, run without a web request each: the same root, the same middlewares
// -----------------------------------------------------------------------------

const get = new Request("https://app.test/")
const post = new Request("https://app.test/", { method: "POST" })

interface Seen {
  readonly status: number
  readonly setCookie: number
}

/** Runs an app with these very headers, whatever characters they hold. */
const runner = (
  stage: Effect.Success<ReturnType<typeof Stage.make>>,
  app: Effect.Effect<
    HttpServerResponse.HttpServerResponse,
    unknown,
    HttpServerRequest.HttpServerRequest | Session.Bound<UserSession>
  >
) => {
  let seen: Seen | undefined
  const handled = HttpEffect.toHandled(app, (_, response) =>
    Effect.sync(() => {
      seen = { status: response.status, setCookie: Object.keys(response.cookies.cookies).length }
    })
  )
  return (source: Request, headers: Headers.Headers): Effect.Effect<Seen> => {
    const request = HttpServerRequest.fromWeb(source).modify({ headers })
    const context = Context.add(stage.context, HttpServerRequest.HttpServerRequest, request)
    // It exits as the handler did, after the response was sent.
    return Effect.map(Effect.exit(Effect.provideContext(handled, context)), () => seen!)
  }
}

const noHeaders = Headers.fromRecordUnsafe({})
const withCookie = (cookie: string) => Headers.fromRecordUnsafe({ cookie })

describe("strangers", () => {
  it.effect(
    "[R84a] 100,000 anonymous GETs and 100,000 anonymous log-outs store nothing and set no cookie",
    () =>
      Effect.gen(function* () {
        const stage = yield* Stage.make()
        const read = runner(
          stage,
          SessionMiddleware.make(UserSession)(Effect.flatMap(UserSession, (s) => Effect.as(s.option, empty)))
        )
        const logout = runner(
          stage,
          SessionMiddleware.make(UserSession)(Effect.flatMap(UserSession, (s) => Effect.as(s.destroy, empty)))
        )
        let set = 0
        let answered = 0
        for (let i = 0; i < 100_000; i++) {
          for (const { setCookie, status } of [yield* read(get, noHeaders), yield* logout(post, noHeaders)]) {
            set += setCookie
            if (status === 204) answered++
          }
        }
        assert.deepStrictEqual([answered, set], [200_000, 0])
        assert.deepStrictEqual([stage.backend.calls, yield* stage.backend.stored], [[], []])
      }),
    120_000
  )

  it.effect(
    "[R84b] [R16] 50,000 mutated tokens: none accepted, no backend call, no defect, no cookie",
    () =>
      Effect.gen(function* () {
        const stage = yield* Stage.make()
        const tokens: Array<string> = []
        for (let i = 0; i < 20; i++) tokens.push(Redacted.value((yield* stage.login(ada)).token))
        const guarded = runner(stage, SessionMiddleware.required(UserSession)(verified))
        const logout = runner(
          stage,
          SessionMiddleware.make(UserSession)(Effect.flatMap(UserSession, (s) => Effect.as(s.destroy, empty)))
        )
        const dice = Dice.make(84)
        const issued = new Set(tokens)
        const statuses = new Map<number, number>()
        let cases = 0
        let set = 0
        while (cases < 50_000) {
          const token = mutated(dice, tokens)
          // What happens to be a whole token again is not forged.
          if (issued.has(token) || /[;]/.test(token) || issued.has(token.replace(/^[ \t]+|[ \t]+$/g, ""))) continue
          cases++
          const isLogout = cases % 4 === 0
          const headers = withCookie(`__Host-session=${token}`)
          const { setCookie, status } = yield* isLogout ? logout(post, headers) : guarded(get, headers)
          set += setCookie
          const key = isLogout ? -status : status
          statuses.set(key, (statuses.get(key) ?? 0) + 1)
        }
        assert.deepStrictEqual([...statuses].sort(), [
          [-204, 12_500],
          [401, 37_500]
        ])
        assert.deepStrictEqual([stage.backend.calls, set], [[], 0])
      }),
    120_000
  )

  it.effect(
    "[R26] [R29] 60,000 hostile Cookie headers: none accepted, no backend call, no defect, no cookie",
    () =>
      Effect.gen(function* () {
        const stage = yield* Stage.make()
        const token = Redacted.value((yield* stage.login(ada)).token)
        const guarded = runner(stage, SessionMiddleware.required(UserSession)(verified))
        const dice = Dice.make(26)
        let set = 0
        let good = 0
        for (let cases = 0; cases < 60_000; cases++) {
          const { setCookie, status } = yield* guarded(get, withCookie(hostileHeader(dice, token)))
          set += setCookie
          if (status !== 401) good++
        }
        assert.deepStrictEqual([stage.backend.calls, set, good], [[], 0, 0])
        // The same runner lets the real one in.
        assert.strictEqual((yield* guarded(get, withCookie(`x=1; __Host-session=${token}`))).status, 200)
        assert.deepStrictEqual(stage.backend.calls, ["read"])
      }),
    120_000
  )

  it.effect(
    "[R84b] 100,000 well-signed tokens of sessions that never were: one read each, no write, no cookie",
    () =>
      Effect.gen(function* () {
        const stage = yield* Stage.make()
        const tokens = yield* Effect.provide(
          Effect.gen(function* () {
            const ring = yield* SessionKeys.SessionKeys.use((keys) =>
              keys.signers(SessionToken.purpose(UserSession.key))
            )
            return SessionToken.make(ring)
          }),
          Layer.merge(layerKeys(), layerCrypto)
        )
        const guarded = runner(stage, SessionMiddleware.required(UserSession)(verified))
        const dice = Dice.make(6)
        const turned = `${base64url}${base64url}`
        const random = (i: number, length: number) => `${i}${turned.slice(dice.below(64))}`.slice(0, length)
        let set = 0
        for (let i = 0; i < 100_000; i++) {
          const token = yield* tokens.issue({ id: random(i, 22), secret: random(i, 43) })
          const answer = yield* guarded(get, withCookie(`__Host-session=${Redacted.value(token)}`))
          set += answer.setCookie
          if (answer.status !== 401) assert.fail(`status ${answer.status}`)
        }
        assert.strictEqual(set, 0)
        assert.deepStrictEqual([...new Set(stage.backend.calls)], ["read"])
        assert.strictEqual(stage.backend.calls.length, 100_000)
      }),
    120_000
  )
})

const base64url = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_"
const strange = [..."=+/.%;, \t\"'\\\0\u00a0\u2028\ufeffé", "%41", "=="]

/** One of these tokens, or two, with something done to it. */
const mutated = (dice: Dice.Dice, tokens: ReadonlyArray<string>): string => {
  const token = dice.pick(tokens)
  const at = dice.below(token.length)
  const other = dice.pick(tokens)
  const parts = token.split(".")
  switch (dice.below(14)) {
    case 0:
      return token.slice(0, at) + dice.pick([...base64url]) + token.slice(at + 1)
    case 1:
      return token.slice(0, at) + dice.pick(strange) + token.slice(at + 1)
    case 2:
      return token.slice(0, at) + dice.pick([...base64url, ...strange]) + token.slice(at)
    case 3:
      return token.slice(0, at)
    case 4:
      return token.slice(0, at) + token.slice(at + 1)
    case 5:
      return token + dice.pick([...base64url, ...strange, token, `.${token}`, "~2junk"])
    case 6:
      return token.slice(0, at) + other.slice(at)
    case 7: {
      const i = dice.below(5)
      return parts.map((part, j) => (i === j ? other.split(".")[i]! : part)).join(".")
    }
    case 8: {
      // The unused bits of the last character of a part.
      const i = 2 + dice.below(3)
      const part = parts[i]!
      const last = base64url[base64url.indexOf(part.at(-1)!) ^ (1 + dice.below(3))]!
      return parts.map((text, j) => (i === j ? part.slice(0, -1) + last : text)).join(".")
    }
    case 9:
      return dice.pick([token.toUpperCase(), token.toLowerCase(), [...token].toReversed().join(""), `"${token}"`])
    case 10: {
      const mac = parts[4]!
      const short = dice.pick(["", mac.slice(0, 22), mac.slice(0, 42), `${mac}A`, "A".repeat(43), "none", mac.slice(1)])
      return [...parts.slice(0, 4), short].join(".")
    }
    case 11:
      // Other formats: a bare secret, express, itsdangerous, iron, a JWT without an algorithm.
      return dice.pick([
        parts[3]!,
        parts[2]!,
        `${parts[2]}.${parts[3]}`,
        `s:${parts[3]}.${parts[4]}`,
        `eyJhbGciOiJub25lIn0.${parts[3]}.`,
        `Fe26.2**${parts[4]}`,
        encodeURIComponent(JSON.stringify({ id: parts[2] }))
      ])
    case 12: {
      const i = dice.below(5)
      const j = dice.below(5)
      return parts.map((part, k) => (k === i ? parts[j]! : k === j ? parts[i]! : part)).join(".")
    }
    default:
      return token.replace(/^v1/, dice.pick(["v2", "V1", "v01", "", "v1.v1"]))
  }
}

/** A header in which the token stands only in places that are not the cookie. */
const hostileHeader = (dice: Dice.Dice, token: string): string => {
  const cookie = "__Host-session"
  const blank = () =>
    dice.pick([
      "\u00a0",
      "\u0085",
      "\u1680",
      "\u2003",
      "\u2028",
      "\u202f",
      "\u3000",
      "\ufeff",
      "\v",
      "\f",
      "\0",
      "\n",
      "\r"
    ])
  const planted = () =>
    dice.pick([
      () => `${blank()}${cookie}=${token}`,
      () => `${cookie}${blank()}=${token}`,
      () => `${cookie}=${blank()}${token}`,
      () => `${cookie}=${token}${blank()}`,
      () => `=${cookie}=${token}`,
      () => `==${cookie}=${token}`,
      () => `${cookie} =${token}`,
      () => `${cookie}= ${token}`,
      () => `${cookie}="${token}"`,
      () => `"${cookie}=${token}"`,
      () => `a=b, ${cookie}=${token}`,
      () => `%5F_Host-session=${token}`,
      () => `__host-session=${token}`,
      () => `__HOST-SESSION=${token}`,
      () => `x${cookie}=${token}`,
      () => `${cookie}x=${token}`,
      () => `${cookie}==${token}`,
      () => `${cookie}=${token}, ${token}`,
      () => `$Version=1, ${cookie}=${token}`,
      () => `session=${token}`,
      () => `${cookie}=${mutated(dice, [token]).replaceAll(";", "").replace(token, "x")}`,
      () => `${cookie}`,
      () => `${cookie}=`
    ])()
  const noise = () =>
    dice.pick(["a=b", "", " ", "=", "a", "__proto__=x", "$Version=1", `x="`, `y="`, "é=ü", "\u2028", "x=\\", ",,"])
  const pairs: Array<string> = []
  for (let n = 1 + dice.below(6); n > 0; n--) pairs.push(dice.below(2) === 0 ? planted() : noise())
  return pairs.join(dice.pick([";", "; ", " ; ", ";\t", ";;"]))
}

describe("a browser's day", () => {
  it.effect("logs in, goes on, changes its mind and logs out", () =>
    Effect.gen(function* () {
      const backend = yield* InstrumentedBackend.make()
      const send = yield* Client.serve(
        Layer.mergeAll(
          HttpRouter.add(
            "POST",
            "/login",
            Effect.flatMap(UserSession, (s) => Effect.as(s.create(ada), empty))
          ),
          HttpRouter.add(
            "POST",
            "/rotate",
            Effect.flatMap(UserSession, (s) => Effect.as(s.rotate, empty))
          ),
          HttpRouter.add(
            "POST",
            "/logout",
            Effect.flatMap(UserSession, (s) => Effect.as(s.destroy, empty))
          )
        ).pipe(
          Layer.provide(SessionMiddleware.router(UserSession).layer),
          Layer.merge(
            HttpRouter.add("GET", "/whoami", verified).pipe(
              Layer.provide(SessionMiddleware.routerRequired(UserSession).layer)
            )
          ),
          Layer.provide(layerStack(backend))
        )
      )
      const browser = Browser.make(send)
      const status = (method: string, path: string) =>
        Effect.map(browser.visit(method, path), (answer) => answer.status)
      assert.strictEqual(yield* status("GET", "/whoami"), 401)
      assert.strictEqual(yield* status("POST", "/login"), 204)
      for (let i = 0; i < 30; i++) {
        yield* TestClock.adjust("45 minutes")
        assert.strictEqual(yield* status("GET", "/whoami"), 200)
      }
      assert.strictEqual(yield* status("POST", "/rotate"), 204)
      assert.strictEqual(yield* status("GET", "/whoami"), 200)
      // The cookie itself ends with the absolute deadline: the browser no longer sends it.
      yield* TestClock.adjust("90 minutes")
      yield* status("POST", "/login")
      yield* TestClock.adjust("24 hours")
      assert.strictEqual(browser.jar.header(new URL("https://app.test/"), yield* Clock.currentTimeMillis), "")
      yield* status("POST", "/login")
      assert.strictEqual(yield* status("POST", "/logout"), 204)
      assert.strictEqual(browser.jar.header(new URL("https://app.test/"), yield* Clock.currentTimeMillis), "")
      assert.strictEqual(yield* status("GET", "/whoami"), 401)
    })
  )
})
