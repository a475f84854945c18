/** Streams and sockets that end with the session of the request that opened them. */
import { assert, describe, it } from "@effect/vitest"
import { Effect, Layer, Stream } from "effect"
import { HttpRouter, HttpServerRequest, HttpServerResponse } from "effect/http"
import { connect } from "node:net"
import { SessionMiddleware } from "effect-sessions"
import { silent } from "../support/logs.ts"
import { defectOf, outcome, wordOf } from "../support/outcome.ts"
import { empty } from "../support/httpSupport.ts"
import { listen } from "../support/server.ts"
import * as Stage from "../support/stage.ts"
import { ada, eve, UserSession } from "../support/userSession.ts"
import { pass, settle, waitFor } from "../support/waiting.ts"
import * as WatchedBackend from "../support/watchedBackend.ts"

const encoder = new TextEncoder()
const events = Stream.concat(Stream.make(encoder.encode("data: hello\n\n")), Stream.never)

const Feed = HttpRouter.add(
  "GET",
  "/feed",
  Effect.map(UserSession, (session) =>
    HttpServerResponse.stream(events.pipe(Stream.interruptWhen(session.ended)), { contentType: "text/event-stream" })
  )
)

const Socket = HttpRouter.add(
  "GET",
  "/socket",
  Effect.gen(function* () {
    const session = yield* UserSession
    const socket = yield* (yield* HttpServerRequest.HttpServerRequest).upgrade
    yield* socket.reader
    yield* (yield* socket.writer).write("hello")
    yield* Effect.raceFirst(Effect.never, session.ended)
    return HttpServerResponse.empty()
  }).pipe(Effect.scoped)
)

const post = (path: `/${string}`, act: (session: (typeof UserSession)["Service"]) => Effect.Effect<unknown, unknown>) =>
  HttpRouter.add("POST", path, Effect.as(Effect.orDie(Effect.flatMap(UserSession, act)), empty))

const Changes = Layer.mergeAll(
  post("/log-out", ({ destroy }) => destroy),
  post("/log-out-everywhere", ({ revokeAll }) => revokeAll),
  post("/log-out-others", ({ revokeOthers }) => revokeOthers),
  post("/prove", ({ reauthenticate }) => reauthenticate()),
  post("/change", ({ update }) => update((data) => ({ ...data, count: data.count + 1 })))
)

const Routes = Layer.merge(
  Layer.mergeAll(Feed, Socket).pipe(Layer.provide(SessionMiddleware.routerRequired(UserSession).layer)),
  Changes.pipe(Layer.provide(SessionMiddleware.router(UserSession).layer))
)

/** Waits in real time, for 50 times as long as it should take. */
const within = <A, E>(effect: Effect.Effect<A, E>, millis: number): Effect.Effect<A | "late", E> =>
  Effect.timeoutOrElse(effect, { duration: millis, orElse: () => Effect.succeed("late" as const) })

/** Opens a feed, and answers how it ends. A response that is cut off is not one that has come to its end. */
const feed = Effect.fnUntraced(function* (port: number, cookie: string) {
  const response = yield* Effect.promise(() => fetch(`http://127.0.0.1:${port}/feed`, { headers: { cookie } }))
  assert.strictEqual(response.status, 200)
  const reader = response.body!.getReader()
  const first = yield* Effect.promise(() => reader.read())
  assert.include(new TextDecoder().decode(first.value), "hello")
  const state = { ended: undefined as string | undefined }
  const end = reader.read().then(
    ({ done }) => (state.ended = done ? "to its end" : "more"),
    () => (state.ended = "cut off")
  )
  return {
    state,
    end: within(
      Effect.promise(() => end),
      2500
    ),
    leave: Effect.promise(() => reader.cancel())
  }
})

/** Opens a socket, and answers when it is closed. */
const socketTo = Effect.fnUntraced(function* (port: number, cookie: string) {
  const closed = Promise.withResolvers<"closed">()
  const text = yield* Effect.callback<string>((resume) => {
    const lines = [
      "GET /socket HTTP/1.1",
      `Host: 127.0.0.1:${port}`,
      "Connection: Upgrade",
      "Upgrade: websocket",
      "Sec-WebSocket-Version: 13",
      "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==",
      `Origin: http://127.0.0.1:${port}`,
      `Cookie: ${cookie}`
    ]
    let text = ""
    const socket = connect({ port, host: "127.0.0.1" }, () => socket.write(`${lines.join("\r\n")}\r\n\r\n`))
    socket.on("data", (chunk) => {
      text += chunk.toString("latin1")
      if (text.includes("hello")) resume(Effect.succeed(text))
      // A close frame, and what a client answers.
      const frame = chunk.indexOf(0x88)
      if (frame >= 0) socket.end(Buffer.from([0x88, 0x80, 0, 0, 0, 0]))
    })
    socket.on("close", () => closed.resolve("closed"))
    socket.on("error", () => {})
  })
  assert.match(text, /^HTTP\/1\.1 101 /)
  return within(
    Effect.promise(() => closed.promise),
    2500
  )
})

describe("over a real server", () => {
  const stage = Effect.gen(function* () {
    const stage = yield* Stage.make()
    const port = yield* listen(Routes.pipe(Layer.provide(Layer.succeedContext(stage.context))))
    const send = (path: string, cookie: string) =>
      Effect.promise(() => fetch(`http://127.0.0.1:${port}${path}`, { method: "POST", headers: { cookie } }))
    const login = (data: typeof ada) => Effect.map(stage.login(data), Stage.cookieOf)
    return { ...stage, login, port, send }
  })

  it.live("a feed comes to its end with a log-out by another request, from the same browser", () =>
    Effect.gen(function* () {
      const { login, port, send } = yield* stage
      const [own, other] = [yield* login(ada), yield* login(eve)]
      const feeds = [yield* feed(port, own), yield* feed(port, own)]
      const unconcerned = yield* feed(port, other)
      assert.strictEqual((yield* send("/change", own)).status, 204)
      assert.strictEqual((yield* send("/log-out", own)).status, 204)
      for (const { end } of feeds) assert.strictEqual(yield* end, "to its end")
      assert.isUndefined(unconcerned.state.ended)
      yield* unconcerned.leave
    })
  )

  it.live("a feed comes to its end when another client ends all sessions of the user", () =>
    Effect.gen(function* () {
      const { login, port, send } = yield* stage
      const [phone, laptop] = [yield* login(ada), yield* login(ada)]
      const { end, state } = yield* feed(port, phone)
      assert.isUndefined(state.ended)
      assert.strictEqual((yield* send("/log-out-everywhere", laptop)).status, 204)
      assert.strictEqual(yield* end, "to its end")
    })
  )

  it.live("ending the other sessions ends their feeds, and those of this one's token, which is replaced", () =>
    Effect.gen(function* () {
      const { login, port, send } = yield* stage
      const [phone, laptop] = [yield* login(ada), yield* login(ada)]
      const [other, own] = [yield* feed(port, phone), yield* feed(port, laptop)]
      const answer = yield* send("/log-out-others", laptop)
      assert.strictEqual(yield* other.end, "to its end")
      assert.strictEqual(yield* own.end, "to its end")
      // The browser opens its feed again, with its new cookie.
      const again = yield* feed(port, answer.headers.getSetCookie()[0]!.split(";")[0]!)
      yield* Effect.sleep("50 millis")
      assert.isUndefined(again.state.ended)
      yield* again.leave
    })
  )

  it.live("a WebSocket is closed with a log-out, and with a new proof that replaces the session", () =>
    Effect.gen(function* () {
      const { login, port, send } = yield* stage
      for (const path of ["/log-out", "/prove"]) {
        const cookie = yield* login(ada)
        const closed = yield* socketTo(port, cookie)
        assert.strictEqual((yield* send(path, cookie)).status, 204)
        assert.strictEqual(yield* closed, "closed", path)
      }
    })
  )

  it.live("a client that leaves ends the waiting", () =>
    Effect.gen(function* () {
      const { backend, login, port, send } = yield* stage
      const cookie = yield* login(ada)
      const { leave } = yield* feed(port, cookie)
      yield* leave
      yield* Effect.sleep("500 millis")
      backend.calls.length = 0
      assert.strictEqual((yield* send("/log-out", cookie)).status, 204)
      yield* Effect.sleep("100 millis")
      assert.deepStrictEqual(backend.operations, ["delete"])
    })
  )
})

describe("the request's session", () => {
  type Handle = (typeof UserSession)["Service"]

  /** What a handler is told, in words, by `ended` alone or after something else. */
  const told = (handler: (session: Handle) => Effect.Effect<{ readonly _tag: string }, { readonly _tag: string }>) =>
    Effect.map(Effect.flatMap(UserSession, handler), (why) =>
      HttpServerResponse.text("reason" in why ? `${why._tag} ${why.reason}` : why._tag)
    )

  it.effect("answers at once what `get` fails with", () =>
    Effect.gen(function* () {
      const stage = yield* Stage.make()
      const gone = yield* stage.login(ada)
      yield* stage.manager.destroy(gone.token)
      const send = yield* stage.open(told(({ ended }) => ended))
      const rows = [
        ["", "SessionMissing"],
        ["__Host-session=x", "SessionInvalid Malformed"],
        [Stage.cookieOf(gone), "SessionInvalid NotFound"]
      ] as const
      for (const [cookie, text] of rows) assert.strictEqual((yield* send("GET", "/", { cookie })).text, text)
    })
  )

  it.effect("is the one that the request has when it runs", () =>
    Effect.gen(function* () {
      const acts: Record<
        string,
        readonly [(session: Handle) => Effect.Effect<unknown, { readonly _tag: string }>, string]
      > = {
        create: [({ create }) => create(ada), "undefined"],
        rotate: [({ rotate }) => rotate, "undefined"],
        reauthenticate: [({ reauthenticate }) => reauthenticate(), "undefined"],
        update: [({ update }) => update((data) => ({ ...data, count: 1 })), "undefined"],
        destroy: [({ destroy }) => destroy, "SessionMissing"],
        revokeAll: [({ revokeAll }) => revokeAll, "SessionMissing"]
      }
      for (const [name, [act, expected]] of Object.entries(acts)) {
        const stage = yield* Stage.make()
        const cookie = Stage.cookieOf(yield* stage.login(ada))
        const send = yield* stage.open(
          Effect.gen(function* () {
            const session = yield* UserSession
            const { ended } = session
            yield* act(session)
            const waiting = yield* waitFor(ended)
            yield* pass(31)
            const text = String(waiting.told())
            yield* stage.manager.revokeAll("ada")
            yield* settle
            return HttpServerResponse.text(`${text}, ${waiting.told()}`)
          })
        )
        const after = expected === "undefined" ? "SessionInvalid NotFound" : expected
        assert.strictEqual((yield* send("POST", "/", { cookie })).text, `${expected}, ${after}`, name)
      }
    })
  )

  it.effect("which could not be read is asked for again, and a store that is down ends nothing", () =>
    Effect.gen(function* () {
      const stage = yield* Stage.make()
      const cookie = Stage.cookieOf(yield* stage.login(ada))
      stage.backend.wire = (operation, run) => (operation === "read" ? WatchedBackend.failure("read") : run)
      const send = yield* stage.open(
        Effect.gen(function* () {
          const session = yield* UserSession
          const waiting = yield* waitFor(session.ended)
          yield* pass(100)
          const down = waiting.told()
          stage.backend.wire = (_, run) => run
          yield* pass(31)
          const up = waiting.told()
          // What `get` has answered once it answers for the rest of the request.
          const get = yield* outcome(session.get)
          yield* stage.manager.revokeAll("ada")
          yield* settle
          return HttpServerResponse.text([down, up, get, waiting.told()].map(String).join(", "))
        })
      )
      assert.strictEqual(
        (yield* send("GET", "/", { cookie })).text,
        "undefined, undefined, SessionUnavailable notApplied, SessionInvalid NotFound"
      )
    }).pipe(Effect.provide(silent))
  )

  it.effect("which could not be read, and is made by the request meanwhile, is waited for", () =>
    Effect.gen(function* () {
      const stage = yield* Stage.make()
      const cookie = Stage.cookieOf(yield* stage.login(ada))
      stage.backend.wire = (operation, run) => (operation === "read" ? WatchedBackend.failure("read") : run)
      const send = yield* stage.open(
        Effect.gen(function* () {
          const session = yield* UserSession
          const waiting = yield* waitFor(session.ended)
          stage.backend.wire = (_, run) => run
          yield* session.create(eve)
          yield* pass(31)
          const before = waiting.told()
          yield* stage.manager.revokeAll("eve")
          yield* settle
          return HttpServerResponse.text([before, waiting.told()].map(String).join(", "))
        })
      )
      assert.strictEqual((yield* send("POST", "/", { cookie })).text, "undefined, SessionInvalid NotFound")
    }).pipe(Effect.provide(silent))
  )

  it.effect("first read in the body of a response that a shared cache may keep dies, and says what to do", () =>
    Effect.gen(function* () {
      const stage = yield* Stage.make()
      const cookie = Stage.cookieOf(yield* stage.login(ada))
      let died: unknown
      const body = (session: Handle) =>
        Stream.fromEffect(
          Effect.map(Effect.exit(session.ended), (exit) => {
            died = defectOf(exit)
            return encoder.encode(wordOf(exit))
          })
        )
      const open = yield* stage.open(Effect.map(UserSession, (session) => HttpServerResponse.stream(body(session))))
      assert.strictEqual((yield* open("GET", "/", { cookie })).text, "died")
      assert.include(String(died), "read it before the body streams")
      // A guard has read it, and then the body may wait.
      const guarded = yield* stage.guarded(
        Effect.map(UserSession, (session) =>
          HttpServerResponse.stream(
            Stream.merge(body(session), Stream.drain(Stream.fromEffect(stage.manager.revokeAll("ada"))))
          )
        )
      )
      assert.strictEqual((yield* guarded("GET", "/", { cookie })).text, "ok")
    })
  )
})
