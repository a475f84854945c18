/** Sessions of another library that are named, and so become ours once, whatever their cookie does afterwards. */
import { assert, describe, it } from "@effect/vitest"
import { Context, Deferred, Effect, Fiber, Layer, Option, Redacted } from "effect"
import { SessionError, SessionFrontend, SessionMiddleware } from "effect-sessions"
import type { Session } from "effect-sessions"
import { TestClock } from "effect/testing"
import * as Client from "../support/client.ts"
import { empty, name, reasonOf, text } from "../support/httpSupport.ts"
import * as Stack from "../support/stack.ts"
import { ada, eve, UserSession } from "../support/userSession.ts"
import * as WatchedBackend from "../support/watchedBackend.ts"

/** An app whose requests may carry `sid=<user>`, the id of another library's session, which stays where it is. */
const make = Effect.fnUntraced(function* (
  given: Session.LayerOptions & { readonly verifier?: Stack.Parts<UserSession>["verifier"] } = {}
) {
  const backend = WatchedBackend.make()
  const old = { asked: 0, isDown: false }
  const adopt = ({ headers }: { readonly headers: Readonly<Record<string, string | undefined>> }) =>
    Effect.suspend(() => {
      old.asked++
      if (old.isDown) return Effect.die("the old store is down")
      const username = /sid=(\w+)/.exec(headers["cookie"] ?? "")?.[1]
      return Effect.succeed(
        username === undefined
          ? Option.none()
          : Option.some({ from: `id of ${username}`, data: { ...ada, username, words: ["old"] } })
      )
    })
  const context = yield* Layer.build(
    SessionMiddleware.layer(UserSession, { ...given, adopt }).pipe(
      Layer.provideMerge([
        Stack.parts(UserSession, { backend: backend.layer, verifier: given.verifier }),
        SessionFrontend.layerCookie()
      ])
    )
  )
  const manager = Context.get(context, UserSession.Manager)
  const route = <E>(handler: (session: (typeof UserSession)["Service"]) => Effect.Effect<unknown, E>) =>
    Effect.map(
      Client.webHandler(
        Effect.provideContext(
          SessionMiddleware.make(UserSession)(
            Effect.flatMap(UserSession, (session) =>
              Effect.map(handler(session), (answer) => (typeof answer === "string" ? text(answer) : empty))
            )
          ),
          context
        )
      ),
      Client.sender
    )
  const me = yield* route((session) => Effect.map(session.get, name))
  return { backend, manager, old, route, me }
})

const sid = "sid=ada"

/** The old cookie alone brings nobody back. */
const expectEnded = Effect.fnUntraced(function* ({ backend, me }: Effect.Success<ReturnType<typeof make>>) {
  const answer = yield* me("GET", "/", { cookie: sid })
  assert.deepStrictEqual([answer.status, reasonOf(answer), answer.setCookie], [401, "NotFound", []])
  assert.strictEqual((yield* backend.claims).length, 1)
})

describe("adopt with `from`", () => {
  it.effect("gives requests at once one session and one token", () =>
    Effect.gen(function* () {
      const { backend, me } = yield* make()
      const gate = yield* Deferred.make<void>()
      let creates = 0
      backend.wire = (operation, run, [record]) =>
        operation === "create" && !(record as { readonly namespace: string }).namespace.endsWith("/adopted")
          ? Effect.suspend(() => {
              creates++
              return Effect.andThen(Deferred.await(gate), run)
            })
          : run
      const all = yield* Effect.forkChild(
        Effect.all(
          Array.from({ length: 20 }, () => me("GET", "/", { cookie: sid })),
          { concurrency: "unbounded" }
        )
      )
      // The others wait for the one that is making it.
      yield* TestClock.adjust("200 millis")
      yield* Deferred.succeed(gate, undefined)
      yield* TestClock.adjust("200 millis")
      const answers = yield* Fiber.join(all)
      assert.deepStrictEqual(new Set(answers.map(({ status, text }) => `${status} ${text}`)), new Set(["200 ada"]))
      assert.strictEqual(new Set(answers.map(({ cookie }) => cookie)).size, 1)
      assert.deepStrictEqual([creates, (yield* backend.records).length, (yield* backend.claims).length], [1, 1, 1])
    })
  )

  it.effect("gives the same one again where the answer was lost, and tells apart what it is given", () =>
    Effect.gen(function* () {
      const { backend, manager, me } = yield* make()
      const lost = yield* me("GET", "/", { cookie: sid })
      yield* TestClock.adjust("10 minutes")
      const again = yield* me("GET", "/", { cookie: sid })
      assert.deepStrictEqual([again.text, again.cookie], ["ada", lost.cookie])
      assert.strictEqual((yield* me("GET", "/", { cookie: again.cookie })).text, "ada")
      const other = yield* me("GET", "/", { cookie: "sid=bob" })
      assert.deepStrictEqual([other.text, other.cookie === again.cookie], ["bob", false])
      const [session] = yield* manager.list("ada")
      assert.strictEqual(session?.authenticatedAt.epochMilliseconds, 0)
      assert.strictEqual((yield* backend.records).length, 2)
      // The store knows the session, and no secret of it.
      const [claim] = yield* backend.claims
      const kid = Redacted.value((yield* manager.adopt("id of ada", ada)).token).split(".")[1]
      assert.strictEqual(claim!.data, JSON.stringify({ id: session!.id, kid, state: "made" }))
    })
  )

  it.effect("a log-out ends it for good, however it was asked for", () =>
    Effect.gen(function* () {
      const logOuts = {
        "with both cookies": (ours: string) => `${sid}; ${ours}`,
        "with the old cookie alone": () => sid
      }
      for (const [how, cookieOf] of Object.entries(logOuts)) {
        for (const reads of [true, false]) {
          for (const isAdopted of [true, false]) {
            const app = yield* make()
            const out = yield* app.route((session) =>
              Effect.andThen(reads ? Effect.ignore(session.get) : Effect.void, session.destroy)
            )
            const { cookie } = isAdopted ? yield* app.me("GET", "/", { cookie: sid }) : { cookie: "" }
            const answer = yield* out("POST", "/", { cookie: cookieOf(cookie) })
            const what = `${how}, ${reads}, ${isAdopted}`
            assert.strictEqual(answer.status, 204, what)
            assert.deepStrictEqual(yield* app.backend.records, [], what)
            yield* expectEnded(app)
          }
        }
      }
    })
  )

  it.effect(
    "who ends their own session in another way than by log-out is not brought back by an old cookie either",
    () =>
      Effect.gen(function* () {
        const endings: Record<string, (session: (typeof UserSession)["Service"]) => Effect.Effect<unknown, unknown>> = {
          revokeAll: ({ revokeAll }) => revokeAll,
          "revoke of its own": (session) => Effect.flatMap(session.get, ({ id }) => session.revoke(id))
        }
        for (const [how, end] of Object.entries(endings)) {
          const app = yield* make()
          // Logged in at ours first, and at the old app afterwards.
          const logIn = yield* app.route((session) => session.create(ada))
          const { cookie } = yield* logIn("POST", "/")
          const send = yield* app.route(end)
          const answer = yield* send("POST", "/", { cookie: `${sid}; ${cookie}` })
          assert.strictEqual(answer.status, 204, how)
          assert.deepStrictEqual(yield* app.backend.records, [], how)
          yield* expectEnded(app)
        }
      })
  )

  it.effect("one that was revoked, has expired or was replaced is not made again", () =>
    Effect.gen(function* () {
      const endings: Record<
        string,
        (app: Effect.Success<ReturnType<typeof make>>, ours: string) => Effect.Effect<unknown, unknown>
      > = {
        revokeAll: ({ manager }) => manager.revokeAll("ada"),
        revokeAny: ({ manager }) => Effect.flatMap(manager.list("ada"), ([one]) => manager.revokeAny(one!.id)),
        disown: ({ manager }) => manager.disown("id of ada"),
        expired: ({ backend }) =>
          Effect.andThen(
            TestClock.adjust("1 hour"),
            Effect.sync(() => backend.calls)
          ),
        reauthenticated: ({ route }, cookie) =>
          Effect.flatMap(
            route((session) => session.reauthenticate()),
            (send) => send("POST", "/", { cookie })
          ),
        "a new token": ({ route }, cookie) =>
          Effect.flatMap(
            route((session) => session.rotate),
            (send) => send("POST", "/", { cookie })
          )
      }
      for (const [how, end] of Object.entries(endings)) {
        const app = yield* make()
        const { cookie } = yield* app.me("GET", "/", { cookie: sid })
        yield* end(app, cookie)
        const answer = yield* app.me("GET", "/", { cookie: sid })
        assert.deepStrictEqual([answer.status, answer.setCookie], [401, []], how)
      }
    })
  )

  it.effect("a log-in ends what the request's old cookie stands for, and keeps what it takes over", () =>
    Effect.gen(function* () {
      const kept = (before: Option.Option<{ readonly words: ReadonlyArray<string> }>) => ({
        ...eve,
        words: Option.match(before, { onNone: () => [], onSome: ({ words }) => [...words] })
      })
      const logIns: Record<string, (session: (typeof UserSession)["Service"]) => Effect.Effect<unknown, unknown>> = {
        data: (session) => session.create(eve),
        "data, once read": (session) => Effect.andThen(session.get, session.create(eve)),
        function: (session) => session.create(kept)
      }
      for (const [how, logIn] of Object.entries(logIns)) {
        for (const isAdopted of [true, false]) {
          const app = yield* make()
          const send = yield* app.route(logIn)
          const { cookie } = isAdopted ? yield* app.me("GET", "/", { cookie: sid }) : { cookie: "" }
          const answer = yield* send("POST", "/", { cookie: `${sid}; ${cookie}` })
          assert.strictEqual(answer.status, 204, how)
          const records = yield* app.backend.records
          assert.deepStrictEqual(
            records.map(({ data }) => (JSON.parse(data) as typeof eve).words),
            [how === "function" ? ["old"] : [...eve.words]],
            how
          )
          assert.strictEqual((yield* app.me("GET", "/", { cookie: `${sid}; ${answer.cookie}` })).text, "eve")
          yield* app.manager.revokeAll("eve")
          yield* expectEnded(app)
        }
      }
    })
  )

  it.effect("[R78] where a store fails the next request adopts", () =>
    Effect.gen(function* () {
      for (const outcome of ["notApplied", "unknown"] as const) {
        for (const namespace of [UserSession.key, `${UserSession.key}/adopted`]) {
          const { backend, me } = yield* make()
          backend.wire = (operation, run, [record]) =>
            operation === "create" && (record as { readonly namespace: string }).namespace === namespace
              ? // Whether it was applied or not, nobody is told.
                Effect.andThen(
                  Effect.ignore(outcome === "unknown" ? run : Effect.void),
                  WatchedBackend.failure(operation, outcome)
                )
              : run
          const failed = yield* me("GET", "/", { cookie: sid })
          assert.deepStrictEqual([failed.status, failed.setCookie], [503, []], `${namespace} ${outcome}`)
          assert.deepStrictEqual(yield* backend.records, [], `${namespace} ${outcome}`)
          backend.wire = (_, run) => run
          assert.strictEqual((yield* me("GET", "/", { cookie: sid })).text, "ada")
        }
      }
    })
  )

  it.effect("[R78] an old store that is down keeps no session of ours from its log-out, which says so", () =>
    Effect.gen(function* () {
      const app = yield* make()
      const out = yield* app.route((session) => session.destroy)
      const { cookie } = yield* app.me("GET", "/", { cookie: sid })
      app.old.isDown = true
      assert.strictEqual((yield* out("POST", "/", { cookie: `${sid}; ${cookie}` })).status, 503)
      assert.deepStrictEqual(yield* app.backend.records, [])
      app.old.isDown = false
      yield* expectEnded(app)
    })
  )

  it.effect("a log-out ends what a request is adopting just now, however long that takes", () =>
    Effect.gen(function* () {
      const app = yield* make()
      const gate = yield* Deferred.make<void>()
      app.backend.wire = (operation, run, [record]) =>
        operation === "create" && (record as { readonly namespace: string }).namespace === UserSession.key
          ? Effect.andThen(Deferred.await(gate), run)
          : run
      const adopting = yield* Effect.forkChild(app.me("GET", "/", { cookie: sid }))
      yield* TestClock.adjust(1)
      const out = yield* app.route((session) => session.destroy)
      assert.strictEqual((yield* out("POST", "/", { cookie: sid })).status, 204)
      const meanwhile = yield* Effect.forkChild(app.me("GET", "/", { cookie: sid }))
      yield* Deferred.succeed(gate, undefined)
      for (const fiber of [adopting, meanwhile]) {
        const answer = yield* Fiber.join(fiber)
        assert.deepStrictEqual([answer.status, reasonOf(answer), answer.setCookie], [401, "NotFound", []])
      }
      assert.deepStrictEqual(yield* app.backend.records, [])
      yield* expectEnded(app)
    })
  )

  it.effect(
    "one whose user's sessions were ended meanwhile is not made, and one the verifier refuses stays refused",
    () =>
      Effect.gen(function* () {
        const late = yield* make()
        yield* TestClock.adjust("1 minute")
        const came = yield* late.route((session) =>
          Effect.gen(function* () {
            yield* TestClock.adjust(1)
            yield* late.manager.revokeAll("ada")
            return name(yield* session.get)
          })
        )
        const superseded = yield* came("GET", "/", { cookie: sid })
        assert.deepStrictEqual([superseded.status, reasonOf(superseded)], [401, "Superseded"])
        yield* expectEnded(late)
        let isSuspended = true
        const verifier = Layer.succeed(UserSession.Verifier, {
          verify: () =>
            Effect.suspend(() =>
              isSuspended ? Effect.fail(new SessionError.SessionRefused({ message: "suspended" })) : Effect.void
            )
        })
        const { me } = yield* make({ verifier })
        for (let i = 0; i < 2; i++) {
          const answer = yield* me("GET", "/", { cookie: sid })
          assert.deepStrictEqual([answer.status, answer.setCookie], [403, []])
        }
        isSuspended = false
        assert.strictEqual((yield* me("GET", "/", { cookie: sid })).text, "ada")
      })
  )

  it.effect("the manager's own is made once too, with its options", () =>
    Effect.gen(function* () {
      const { manager } = yield* make()
      const one = yield* manager.adopt("x", ada, { methods: ["pwd"], cookie: "browser" })
      const two = yield* manager.adopt("x", { ...eve, username: "ada" })
      assert.deepStrictEqual(
        [two.id, Redacted.value(two.token), two.data, two.persistent],
        [one.id, Redacted.value(one.token), ada, false]
      )
      assert.strictEqual(yield* manager.disown("x", { except: one.id }), false)
      assert.deepStrictEqual([yield* manager.disown("x"), yield* manager.disown("y")], [true, false])
    })
  )
})
