/** The test kit, for handlers and clients of an API. */
import { assert, describe, it } from "@effect/vitest"
import * as Effect from "effect/Effect"
import * as Fiber from "effect/Fiber"
import * as HttpServer from "effect/http/HttpServer"
import * as HttpApi from "effect/http-api/HttpApi"
import * as HttpApiBuilder from "effect/http-api/HttpApiBuilder"
import * as HttpApiClient from "effect/http-api/HttpApiClient"
import * as HttpApiEndpoint from "effect/http-api/HttpApiEndpoint"
import * as HttpApiGroup from "effect/http-api/HttpApiGroup"
import * as HttpApiMiddleware from "effect/http-api/HttpApiMiddleware"
import * as HttpApiTest from "effect/http-api/HttpApiTest"
import * as Layer from "effect/Layer"
import * as Redacted from "effect/Redacted"
import * as Schema from "effect/Schema"
import * as TestClock from "effect/testing/TestClock"
import { Session, SessionBackend, SessionError, SessionFrontend, SessionHttpApi } from "effect-sessions"
import { SessionTest } from "effect-sessions/testing"
import { live } from "../support/httpApiSupport.ts"
import type { MemberData } from "../support/memberApi.ts"
import {
  Api,
  Authenticated,
  Guarded,
  Handlers,
  member,
  MemberSession,
  Middlewares,
  Visitor,
  VisitorOrMember
} from "../support/memberApi.ts"

describe("SessionTest.layerHttpApi", () => {
  const services = HttpServer.layerServices
  const ada = member("ada")

  it.effect("tests handlers under a session, in one line", () =>
    Effect.gen(function* () {
      const client = yield* HttpApiTest.groups(Api, ["plain"])
      assert.strictEqual(yield* client.plain.plain(), "ada")
    }).pipe(
      Effect.provide(
        Handlers.pipe(
          Layer.provideMerge([
            SessionTest.layerHttpApi(Guarded, MemberSession, ada),
            SessionTest.layerHttpApi(Authenticated, MemberSession, ada),
            SessionTest.layerHttpApiOptional(Visitor, MemberSession, ada),
            SessionTest.layerHttpApiOptional(VisitorOrMember, MemberSession)
          ]),
          Layer.provideMerge(services)
        )
      )
    )
  )

  // One client, over all middlewares.
  const loggedIn = (data?: MemberData) =>
    Handlers.pipe(
      Layer.provideMerge(Middlewares),
      Layer.provideMerge(SessionTest.layerLoggedIn(MemberSession, data)),
      Layer.provideMerge(services)
    )

  it.effect("follows its session: rotated, ended, begun again", () =>
    Effect.gen(function* () {
      const client = yield* HttpApiTest.groups(Api, ["auth", "account", "open"])
      yield* client.account.add({ params: { item: "pen" } })
      yield* client.account.rotate()
      assert.deepStrictEqual((yield* client.account.whoami()).cart, ["pen"])
      yield* client.auth.logout()
      assert.instanceOf(yield* Effect.flip(client.account.whoami()), SessionError.SessionMissing)
      assert.isNull(yield* client.open.peek())
      yield* client.auth.login({ payload: { username: "bob" } })
      assert.strictEqual((yield* client.account.whoami()).username, "bob")
    }).pipe(Effect.provide(loggedIn(ada)))
  )

  it.effect("starts anonymous without data", () =>
    Effect.gen(function* () {
      const client = yield* HttpApiTest.groups(Api, ["account", "open"])
      assert.isNull(yield* client.open.peek())
      assert.instanceOf(yield* Effect.flip(client.account.whoami()), SessionError.SessionMissing)
    }).pipe(Effect.provide(loggedIn()))
  )

  it.effect("a session expires with no sleep", () =>
    Effect.gen(function* () {
      const client = yield* HttpApiTest.groups(Api, ["account"])
      yield* TestClock.adjust("59 minutes")
      yield* client.account.whoami()
      yield* TestClock.adjust("61 minutes")
      const error = yield* Effect.flip(client.account.whoami())
      assert.deepStrictEqual({ ...error }, { ...new SessionError.SessionInvalid({ reason: "Expired" }) })
    }).pipe(Effect.provide(loggedIn(ada)))
  )
})

describe("SessionTest.layerClient", () => {
  it.effect("is logged in over a real socket, and stays so over a rotation", () =>
    Effect.gen(function* () {
      const client = yield* HttpApiClient.make(Api).pipe(
        Effect.provide(SessionTest.layerClient([Authenticated, Visitor], MemberSession, member("ada")))
      )
      assert.strictEqual((yield* client.account.whoami()).username, "ada")
      yield* client.account.rotate()
      assert.strictEqual((yield* client.account.whoami()).username, "ada")
      yield* client.auth.logout()
      assert.instanceOf(yield* Effect.flip(client.account.whoami()), SessionError.SessionMissing)
    }).pipe(Effect.provide(live))
  )

  it.effect("two of them are two users", () =>
    Effect.gen(function* () {
      const as = (name: string) =>
        HttpApiClient.make(Api).pipe(
          Effect.provide(SessionTest.layerClient([Authenticated], MemberSession, member(name)))
        )
      const [ada, bob] = [yield* as("ada"), yield* as("bob")]
      assert.strictEqual((yield* ada.account.whoami()).username, "ada")
      assert.strictEqual((yield* bob.account.whoami()).username, "bob")
    }).pipe(Effect.provide(live))
  )

  it.effect.each(["cookie", "header", "bearer"] as const)("carries by %s, without a socket", (kind) => {
    class Plain extends HttpApiMiddleware.Service<Plain, { provides: Session.Provided<typeof MemberSession> }>()(
      "test/Plain",
      { error: Session.errors(MemberSession) }
    ) {}
    const One = HttpApi.make("one").add(
      HttpApiGroup.make("g")
        .add(HttpApiEndpoint.post("rotate", "/rotate", { success: Schema.String }))
        .middleware(Plain)
    )
    const handlers = HttpApiBuilder.group(One, "g", (handlers) =>
      handlers.handle("rotate", () =>
        Effect.gen(function* () {
          const { data } = yield* (yield* MemberSession).get
          if (kind !== "bearer") yield* (yield* MemberSession).rotate
          return data.username
        })
      )
    )
    const frontend = {
      cookie: SessionFrontend.layerCookie(),
      header: SessionFrontend.layerHeader({ name: "X-Session" }),
      bearer: SessionFrontend.layerBearer()
    }[kind]
    return Effect.gen(function* () {
      const client = yield* HttpApiTest.groups(One, ["g"]).pipe(
        Effect.provide(SessionTest.layerClient([Plain], MemberSession, member("ada")))
      )
      assert.strictEqual(yield* client.g.rotate(), "ada")
      assert.strictEqual(yield* client.g.rotate(), "ada")
      const stranger = yield* HttpApiTest.groups(One, ["g"]).pipe(
        Effect.provide(SessionTest.layerClient([Plain], MemberSession))
      )
      assert.instanceOf(yield* Effect.flip(stranger.g.rotate()), SessionError.SessionMissing)
    }).pipe(
      Effect.provide(
        handlers.pipe(
          Layer.provideMerge(SessionHttpApi.layer(Plain, MemberSession)),
          Layer.provideMerge(SessionTest.layer(MemberSession, { frontend })),
          Layer.provideMerge(HttpServer.layerServices)
        )
      )
    )
  })
})

describe("SessionTest.layerBackend", () => {
  const backend = Layer.merge(
    SessionTest.layer(MemberSession, { backend: SessionTest.layerBackend }),
    SessionTest.layerBackend
  )
  const unavailable = (outcome: "notApplied" | "unknown") => ({ ...new SessionError.SessionUnavailable({ outcome }) })

  it.effect("fails the n-th call of an operation, done or not done", () =>
    Effect.gen(function* () {
      const manager = yield* MemberSession.Manager
      const faults = yield* SessionTest.BackendFaults
      yield* faults.inject({ operation: "create", call: 2, outcome: "notApplied" })
      yield* manager.create(member("ada"))
      assert.deepStrictEqual({ ...(yield* Effect.flip(manager.create(member("ada")))) }, unavailable("notApplied"))
      assert.lengthOf(yield* manager.list("ada"), 1)
      yield* faults.inject({ operation: "create", call: 1, outcome: "unknown" })
      assert.deepStrictEqual({ ...(yield* Effect.flip(manager.create(member("ada")))) }, unavailable("unknown"))
      // Done or not, a log-in that has failed is taken back.
      assert.lengthOf(yield* manager.list("ada"), 1)
      assert.deepStrictEqual(yield* faults.calls, [
        // A log-in that is made looks at the fence and at the other sessions.
        ...(["create", "listByPrincipal", "read"] as const),
        ...(["create", "listByPrincipal", "create", "delete", "listByPrincipal"] as const)
      ])
    }).pipe(Effect.provide(backend))
  )

  it.effect("answers late, and with TestClock nobody waits", () =>
    Effect.gen(function* () {
      const manager = yield* MemberSession.Manager
      const faults = yield* SessionTest.BackendFaults
      const { token } = yield* manager.create(member("ada"))
      const reads = (n: number) =>
        Effect.repeat(Effect.andThen(Effect.yieldNow, faults.calls), {
          until: (calls) => calls.filter((operation) => operation === "read").length === n
        })
      // The log-in has read the fence.
      yield* faults.inject({ operation: "read", delay: "500 millis" })
      const slow = yield* Effect.forkChild(manager.resolve(token))
      yield* reads(2)
      yield* TestClock.adjust("500 millis")
      assert.strictEqual((yield* Fiber.join(slow)).data.username, "ada")
      yield* faults.heal
      yield* faults.inject({ operation: "read", delay: "2 seconds" })
      const late = yield* Effect.forkChild(Effect.flip(manager.resolve(token)))
      yield* reads(3)
      yield* TestClock.adjust("1 second")
      assert.deepStrictEqual({ ...(yield* Fiber.join(late)) }, unavailable("notApplied"))
    }).pipe(Effect.provide(backend))
  )

  it.effect("every part is replaceable by a mock", () =>
    Effect.gen(function* () {
      assert.strictEqual(
        (yield* Effect.flip((yield* MemberSession.Manager).create(member("ada"))))._tag,
        "SessionUnavailable"
      )
    }).pipe(
      Effect.provide(
        SessionTest.layer(MemberSession, {
          backend: Layer.mock(SessionBackend.SessionBackend, {
            create: () =>
              Effect.fail(
                new SessionBackend.SessionBackendError({ operation: "create", outcome: "notApplied", cause: "mocked" })
              )
          })
        })
      )
    )
  )

  it.effect("a manager of one's own stands in for the library's", () =>
    Effect.gen(function* () {
      const { data } = yield* (yield* MemberSession.Manager).resolve(Redacted.make("anything"))
      assert.strictEqual(data.username, "mock")
    }).pipe(
      Effect.provide(
        Layer.mock(MemberSession.Manager, {
          resolve: () =>
            MemberSession.Verified.pipe(Effect.provide(SessionTest.layerVerified(MemberSession, member("mock"))))
        })
      )
    )
  )
})
