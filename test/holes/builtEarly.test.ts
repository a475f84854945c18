/**
 * An Effect does nothing until it runs: reading a member of the request's session, of the manager or of a frontend, and
 * calling it to build its Effect, calls nothing, and what was built acts on the state of the moment in which it runs.
 */
import { assert, describe, it } from "@effect/vitest"
import { Clock, Context, Effect, Fiber, Layer, Option, Redacted } from "effect"
import { Headers, HttpServerRequest } from "effect/http"
import { SessionBackend, SessionFrontend, SessionMiddleware } from "effect-sessions"
import type { Session } from "effect-sessions"
import { TestClock } from "effect/testing"
import { build, empty } from "../support/httpSupport.ts"
import * as WatchedBackend from "../support/watchedBackend.ts"
import * as Stage from "../support/stage.ts"
import { ada, eve, UserSession } from "../support/userSession.ts"
import * as Stack from "../support/stack.ts"

type Handle = (typeof UserSession)["Service"]
type Manager = Effect.Success<ReturnType<typeof Stage.make>>["manager"]

/** A service each of whose functions is written down when it is called, before its Effect runs. */
const watched = <S extends object>(service: S, name: string, calls: Array<string>): S =>
  new Proxy(service, {
    get: (target, key) => {
      const member: unknown = Reflect.get(target, key)
      if (typeof member !== "function") return member
      return (...args: ReadonlyArray<unknown>) => {
        calls.push(`${name}.${String(key)}`)
        return Reflect.apply(member, target, args)
      }
    }
  })

/** The instrumented backend, whose calls are written down when they are made, before their Effects run. */
const watchedBackend = Effect.fnUntraced(function* (calls: Array<string>) {
  const instrumented = WatchedBackend.make()
  const backend = yield* Effect.provide(SessionBackend.SessionBackend, instrumented.layer)
  return {
    ...instrumented,
    layer: Layer.succeed(SessionBackend.SessionBackend, watched(backend, "backend", calls))
  }
})

describe("a log-out that was built before the log-in", () => {
  const spellings: Record<string, (session: Handle) => Effect.Effect<unknown, unknown>> = {
    "taken apart first": ({ create, destroy }) => Effect.andThen(create(ada), () => destroy),
    "andThen(create, destroy)": (session) => Effect.andThen(session.create(ada), session.destroy),
    "ensuring(destroy)": (session) => session.create(ada).pipe(Effect.ensuring(Effect.orDie(session.destroy))),
    "create, rotate, destroy": (session) => Effect.all([session.create(ada), session.rotate, session.destroy])
  }

  it.effect("[R47] ends the session and deletes its record, however it is spelt", () =>
    Effect.gen(function* () {
      for (const [spelling, change] of Object.entries(spellings)) {
        for (const carries of [false, true]) {
          const stage = yield* Stage.make()
          const cookie = carries ? Stage.cookieOf(yield* stage.login(eve)) : ""
          const send = yield* stage.open(Effect.flatMap(UserSession, (session) => Effect.as(change(session), empty)))
          const answer = yield* send("POST", "/", { cookie })
          assert.strictEqual(answer.status, 204, spelling)
          assert.deepStrictEqual(yield* stage.backend.records, [], spelling)
          assert.match(answer.setCookie.join(), /^__Host-session=; Max-Age=0;/, spelling)
        }
      }
    })
  )
})

/** Every member of the request's session, and what it is called with. */
const members: {
  readonly [K in keyof Handle]: (session: Handle, other: Session.SessionId) => Effect.Effect<unknown, unknown>
} = {
  get: ({ get }) => Effect.map(get, ({ data }) => data),
  option: ({ option }) =>
    Effect.map(
      option,
      Option.map(({ data }) => data)
    ),
  create: ({ create }) => Effect.as(create({ ...ada, count: 9 }), "created"),
  reauthenticate: ({ reauthenticate }) =>
    Effect.map(reauthenticate({ methods: ["pwd"] }), ({ factors }) => factors.map(({ method }) => method)),
  ended: ({ destroy, ended }) =>
    Effect.gen(function* () {
      const waiting = yield* Effect.forkChild(ended, { startImmediately: true })
      yield* destroy
      return (yield* Fiber.join(waiting))._tag
    }),
  fresh: ({ fresh }) => Effect.map(fresh({ within: "5 minutes" }), ({ data }) => data),
  describe: ({ describe }) => Effect.map(describe({ label: "phone" }), ({ client }) => client),
  update: ({ update }) =>
    Effect.map(
      update((data) => ({ ...data, count: data.count + 9 })),
      ({ data }) => data
    ),
  modify: ({ modify }) => modify((data) => [data.username, { ...data, count: data.count + 9 }]),
  replace: ({ replace }) => Effect.map(replace({ ...eve, count: 9 }), ({ data }) => data),
  rotate: ({ rotate }) => Effect.map(rotate, ({ data }) => data),
  destroy: ({ destroy }) => destroy,
  list: ({ list }) =>
    Effect.map(list, (infos) => infos.map(({ current, data }) => `${data?.username} ${current}`).sort()),
  revoke: ({ revoke }, other) => revoke(other),
  revokeOthers: ({ revokeOthers }) => revokeOthers,
  revokeAll: ({ revokeAll }) => revokeAll
}

describe("the request's session", () => {
  it.effect("every member, read and called, calls nothing until its Effect runs", () =>
    Effect.gen(function* () {
      const stage = yield* Stage.make()
      const session = yield* stage.login(ada)
      const calls: Array<string> = []
      const frontend = watched(Context.get(stage.context, UserSession.Frontend), "frontend", calls)
      const manager = watched(stage.manager, "manager", calls)
      const early: Record<string, ReadonlyArray<string>> = {}
      let after: ReadonlyArray<string> = []
      const handler = Effect.gen(function* () {
        const request = yield* UserSession
        // What the middleware itself asks, before the handler.
        calls.length = 0
        for (const [name, member] of Object.entries(members)) {
          member(request, session.id)
          if (calls.length > 0) early[name] = calls.splice(0)
        }
        yield* request.get
        after = [...calls]
        return empty
      })
      const send = yield* stage.app(
        handler.pipe(
          SessionMiddleware.make(UserSession),
          Effect.provideService(UserSession.Frontend, frontend),
          Effect.provideService(UserSession.Manager, manager)
        )
      )
      assert.strictEqual((yield* send("POST", "/", { cookie: Stage.cookieOf(session) })).status, 204)
      assert.deepStrictEqual(early, {})
      // The same two are asked once an Effect runs.
      assert.deepStrictEqual(after, ["frontend.extract", "manager.resolve"])
    })
  )

  it.effect("every member, built before a log-in and run after it, acts on the session of that log-in", () =>
    Effect.gen(function* () {
      const rows: { readonly [K in keyof Handle]: readonly [answer: unknown, stored: ReadonlyArray<string>] } = {
        get: [eve, ["other ada 0", "other eve 0", "this eve 0"]],
        option: [Option.some(eve), ["other ada 0", "other eve 0", "this eve 0"]],
        create: ["created", ["new ada 9", "other ada 0", "other eve 0"]],
        reauthenticate: [["pwd"], ["new eve 0", "other ada 0", "other eve 0"]],
        fresh: [eve, ["other ada 0", "other eve 0", "this eve 0"]],
        ended: ["SessionInvalid", ["other ada 0", "other eve 0"]],
        describe: [{ label: "phone" }, ["other ada 0", "other eve 0", "this eve 0"]],
        update: [{ ...eve, count: 9 }, ["other ada 0", "other eve 0", "this eve 9"]],
        modify: ["eve", ["other ada 0", "other eve 0", "this eve 9"]],
        replace: [{ ...eve, count: 9 }, ["other ada 0", "other eve 0", "this eve 9"]],
        rotate: [eve, ["other ada 0", "other eve 0", "this eve 0"]],
        destroy: [undefined, ["other ada 0", "other eve 0"]],
        list: [
          ["eve false", "eve true"],
          ["other ada 0", "other eve 0", "this eve 0"]
        ],
        revoke: [true, ["other ada 0", "this eve 0"]],
        revokeOthers: [1, ["other ada 0", "this eve 0"]],
        revokeAll: [2, ["other ada 0"]]
      }
      for (const name of Object.keys(rows) as ReadonlyArray<keyof Handle>) {
        const stage = yield* Stage.make()
        const carried = yield* stage.login(ada)
        const others = [yield* stage.login(ada), yield* stage.login(eve)]
        const known = new Map(others.map(({ id }) => [id as string, "other"]))
        let answer: unknown
        const send = yield* stage.open(
          Effect.gen(function* () {
            const session = yield* UserSession
            const built = members[name](session, others[1]!.id)
            known.set((yield* session.create(eve)).id, "this")
            answer = yield* built
            return empty
          })
        )
        assert.strictEqual((yield* send("POST", "/", { cookie: Stage.cookieOf(carried) })).status, 204, name)
        const stored = (yield* stage.backend.records).map(({ data, id }) => {
          const { count, username } = JSON.parse(data) as { readonly count: number; readonly username: string }
          return `${known.get(id) ?? "new"} ${username} ${count}`
        })
        assert.deepStrictEqual([answer, stored.sort()], rows[name], name)
      }
    })
  )
})

describe("the manager", () => {
  /** Every member of the manager, of a session of ada's. */
  const ofManager: {
    readonly [K in keyof Manager]: (
      manager: Manager,
      session: Session.Session<typeof ada>,
      calls: Array<string>
    ) => Effect.Effect<unknown, { readonly _tag: string }>
  } = {
    create: ({ create }) => Effect.map(create(ada), ({ createdAt }) => createdAt.epochMilliseconds),
    adopt: ({ adopt }) => Effect.map(adopt("old", ada), ({ createdAt }) => createdAt.epochMilliseconds),
    disown: ({ disown }) => disown("old"),
    createFrom: ({ createFrom }, { token }) =>
      Effect.map(
        createFrom(token, (before) => ({ ...ada, count: Option.getOrElse(before, () => ada).count + 1 })),
        ({ data }) => data.count
      ),
    reauthenticate: ({ reauthenticate }, { token }) => Effect.map(reauthenticate(token), ({ data }) => data.count),
    get: ({ get }, { id }) => Effect.map(get(id), (found) => Option.map(found, ({ data }) => data?.count)),
    describe: ({ describe }, { token }) => Effect.map(describe(token, { label: "a" }), ({ client }) => client),
    modifyAll: ({ modifyAll }, _, calls) =>
      modifyAll("ada", (data) => {
        calls.push("f")
        return { ...data, count: data.count + 1 }
      }),
    resolve: ({ resolve }, { token }) =>
      Effect.map(resolve(token), ({ data, lastSeenAt }) => [data.count, lastSeenAt.epochMilliseconds]),
    modify: ({ modify }, { token }, calls) =>
      Effect.map(
        modify(token, (data) => {
          calls.push("f")
          return ["answer", { ...data, count: data.count + 1 }]
        }),
        ([answer, { data }]) => [answer, data.count]
      ),
    replace: ({ replace }, session) =>
      Effect.match(replace(session, { ...ada, count: 9 }), {
        onFailure: ({ _tag }) => _tag,
        onSuccess: () => "replaced"
      }),
    rotate: ({ rotate }, { token }) => Effect.map(rotate(token), ({ data }) => data.count),
    destroy: ({ destroy }, { token }) => Effect.as(destroy(token), "destroyed"),
    ended: ({ ended, revokeAny }, session) =>
      Effect.gen(function* () {
        const waiting = yield* Effect.forkChild(ended(session), { startImmediately: true })
        yield* revokeAny(session.id)
        return (yield* Fiber.join(waiting))._tag
      }),
    scan: ({ scan }) => Effect.map(scan(), ({ sessions }) => sessions.map(({ data }) => data?.count).sort()),
    list: ({ list }) => Effect.map(list("ada"), (infos) => infos.map(({ data }) => data?.count).sort()),
    revoke: ({ revoke }, { id }) => revoke(id, { principal: "ada" }),
    revokeAny: ({ revokeAny }, { id }) => revokeAny(id),
    revokeAll: ({ revokeAll }) => revokeAll("ada")
  }

  it.effect("every member, called, calls nothing until its Effect runs, and acts on what is stored then", () =>
    Effect.gen(function* () {
      const minutes = 10
      const rows: {
        readonly [K in keyof Manager]: (now: number) => readonly [answer: unknown, counts: ReadonlyArray<number>]
      } = {
        create: (now) => [now, [0, 0, 5]],
        adopt: (now) => [now, [0, 0, 5]],
        disown: () => [false, [0, 5]],
        createFrom: () => [6, [0, 6]],
        reauthenticate: () => [5, [0, 5]],
        get: () => [Option.some(5), [0, 5]],
        describe: () => [{ label: "a" }, [0, 5]],
        modifyAll: () => [2, [1, 6]],
        resolve: (now) => [
          [5, now],
          [0, 5]
        ],
        modify: () => [
          ["answer", 6],
          [0, 6]
        ],
        // The snapshot is of before the change.
        replace: () => ["SessionConflict", [0, 5]],
        rotate: () => [5, [0, 5]],
        destroy: () => ["destroyed", [0]],
        ended: () => ["SessionInvalid", [0]],
        scan: () => [
          [0, 5],
          [0, 5]
        ],
        list: () => [
          [0, 5],
          [0, 5]
        ],
        revoke: () => [true, [0]],
        revokeAny: () => [true, [0]],
        revokeAll: () => [2, []]
      }
      for (const name of Object.keys(rows) as ReadonlyArray<keyof Manager>) {
        const calls: Array<string> = []
        const backend = yield* watchedBackend(calls)
        const manager = Context.get(
          yield* Layer.build(Stack.http(UserSession, { backend: backend.layer })),
          UserSession.Manager
        )
        const session = yield* manager.create(ada)
        calls.length = 0
        const built = ofManager[name](manager, session as Session.Session<typeof ada>, calls)
        assert.deepStrictEqual(calls, [], name)
        yield* TestClock.adjust(`${minutes} minutes`)
        yield* manager.modify(session.token, (data) => [undefined, { ...data, count: 5 }])
        yield* manager.create(ada)
        calls.length = 0
        // What the change above hands on to the next is gone by then.
        yield* Effect.yieldNow
        const answer = yield* built
        assert.isAbove(calls.length, 0, name)
        const counts = (yield* backend.records).map(
          ({ data }) => (JSON.parse(data) as { readonly count: number }).count
        )
        const expected = rows[name](yield* Clock.currentTimeMillis)
        assert.deepStrictEqual([answer, counts.sort()], [expected[0], expected[1]], name)
      }
    })
  )
})

describe("the frontends", () => {
  const header = SessionFrontend.layerHeader({ name: "x-session" })
  const frontends = {
    cookie: [SessionFrontend.layerCookie(), { cookie: "__Host-session=t" }],
    header: [header, { "x-session": "t" }],
    bearer: [SessionFrontend.layerBearer(), { authorization: "Bearer t" }],
    first: [SessionFrontend.layerFirst([SessionFrontend.layerBearer(), header]), { "x-session": "t" }]
  } as const

  /** A request whose headers may change, and are written down when they are read. */
  const watchedRequest = () => {
    const seen = { headers: Headers.fromRecordUnsafe({}), reads: 0 }
    const request: HttpServerRequest.HttpServerRequest = Object.create(
      HttpServerRequest.fromWeb(new Request("https://app.test/")),
      {
        headers: {
          get: () => {
            seen.reads++
            return seen.headers
          }
        }
      }
    )
    return { seen, request }
  }

  it.effect("what reads a request reads nothing until its Effect runs, and reads what the request holds then", () =>
    Effect.gen(function* () {
      for (const [name, [layer, headers]] of Object.entries(frontends)) {
        const frontend = yield* build(layer)
        // The ways to read tokens, whatever they are called: those that answer an Effect.
        const readers = Object.entries(frontend).flatMap(([key, member]) =>
          typeof member === "function" && key !== "attach" && key !== "detach" ? [[key, member] as const] : []
        )
        assert.include(
          readers.map(([key]) => key),
          "extract"
        )
        for (const [key, read] of readers) {
          const row = `${name} ${key}`
          const { request, seen } = watchedRequest()
          const built = (read as (typeof frontend)["extract"])(request)
          assert.strictEqual(seen.reads, 0, row)
          seen.headers = Headers.fromRecordUnsafe(headers)
          assert.deepStrictEqual(
            (yield* built).map(({ token }) => Redacted.value(token)),
            ["t"],
            row
          )
        }
      }
    })
  )

  it.effect("several in one ask none of their members before the Effect runs", () =>
    Effect.gen(function* () {
      const calls: Array<string> = []
      const inner = yield* build(SessionFrontend.layerCookie())
      const frontend = yield* build(
        SessionFrontend.layerFirst([Layer.succeed(SessionFrontend.SessionFrontend, watched(inner, "member", calls))])
      )
      calls.length = 0
      const { request, seen } = watchedRequest()
      const built = frontend.extract(request)
      assert.deepStrictEqual(calls, [])
      seen.headers = Headers.fromRecordUnsafe({ cookie: "__Host-session=t" })
      assert.strictEqual((yield* built).length, 1)
      assert.deepStrictEqual(calls, ["member.extract"])
    })
  )
})
