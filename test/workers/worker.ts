/**
 * The Worker of the tests: sessions in memory and in D1, each in an app of its own, as a request's `x-store` header says,
 * and with a deadline of the store's calls as `x-timeout` says.
 * Paths that begin with `/test/` are for the test's own hand, and go by no app.
 */
import {
  Cause,
  Clock,
  Config,
  ConfigProvider,
  Duration,
  Effect,
  Layer,
  Scheduler,
  Schema,
  Stream,
  Struct
} from "effect"
import { Digest, Kdf, Mac, SecureRandom } from "effect/crypto"
import { HttpRouter, HttpServer, HttpServerResponse } from "effect/http"
import { HttpApi, HttpApiBuilder, HttpApiEndpoint, HttpApiGroup } from "effect/http-api"
import { Rpc, RpcGroup, RpcMiddleware, RpcSerialization, RpcServer } from "effect/rpc"
import {
  Session,
  SessionBackend,
  SessionBackendMemory,
  SessionBackendSql,
  SessionFrontend,
  SessionHttpApi,
  SessionHttpApiMiddleware,
  SessionKeys,
  SessionMiddleware,
  SessionRpc,
  SessionSweeper,
  SessionVerifier
} from "effect-sessions"
import * as D1Client from "effect-sessions/D1Client"
import { SessionBackendTest } from "effect-sessions/testing"

interface Env {
  readonly DB: D1Client.D1Database
  readonly SESSION_SECRET: string
}

interface Context {
  readonly waitUntil: (promise: Promise<unknown>) => void
}

const UserData = Schema.Struct({ username: Schema.String, marks: Schema.Array(Schema.String) })

class UserSession extends Session.Service<UserSession>()("test/workers", {
  data: UserData,
  principal: (data) => data.username
}) {}

// -----------------------------------------------------------------------------
// Routes
// -----------------------------------------------------------------------------

const param = (name: "name" | "mark") =>
  Effect.map(HttpRouter.params, (params) => Schema.decodeUnknownSync(Schema.String)(params[name]))

const done = HttpServerResponse.empty({ status: 204 })

const Open = Layer.mergeAll(
  HttpRouter.add(
    "POST",
    "/login/:name",
    Effect.gen(function* () {
      yield* (yield* UserSession).create({ username: yield* param("name"), marks: [] })
      return HttpServerResponse.setCookieUnsafe(done, "theme", "dark", { path: "/" })
    })
  ),
  HttpRouter.add(
    "POST",
    "/logout",
    Effect.gen(function* () {
      yield* (yield* UserSession).destroy
      return done
    })
  ),
  HttpRouter.add("GET", "/public", Effect.succeed(HttpServerResponse.text("public")))
).pipe(Layer.provide(SessionMiddleware.router(UserSession).layer))

const Guarded = Layer.mergeAll(
  HttpRouter.add(
    "GET",
    "/whoami",
    Effect.flatMap(UserSession.Verified, ({ data }) => HttpServerResponse.schemaJson(UserData)(data))
  ),
  HttpRouter.add(
    "POST",
    "/mark/:mark",
    Effect.gen(function* () {
      const mark = yield* param("mark")
      yield* (yield* UserSession).update((data) => ({ ...data, marks: [...data.marks, mark] }))
      return done
    })
  ),
  HttpRouter.add(
    "GET",
    "/feed",
    Effect.gen(function* () {
      const session = yield* UserSession
      // What it does then takes longer than the request that has ended the session.
      const goodbye = Effect.map(session.ended, (why) => (why._tag === "SessionInvalid" ? why.reason : why._tag))
      const ended = Stream.fromEffect(Effect.tap(goodbye, Effect.sleep("300 millis")))
      const body = Stream.concat(Stream.make("begun\n"), ended).pipe(Stream.encodeText)
      return HttpServerResponse.stream(body)
    })
  )
).pipe(Layer.provide(SessionMiddleware.routerRequired(UserSession).layer))

class Authenticated extends SessionHttpApiMiddleware.Required<Authenticated>()("test/Authenticated", UserSession) {}

const Api = HttpApi.make("api").add(
  HttpApiGroup.make("account")
    .add(HttpApiEndpoint.get("whoami", "/api/whoami", { success: Schema.String }))
    .middleware(Authenticated)
)

const ApiLive = HttpApiBuilder.layer(Api).pipe(
  Layer.provide(
    HttpApiBuilder.group(Api, "account", (handlers) =>
      handlers.handle("whoami", () => Effect.map(UserSession.Verified, ({ data }) => data.username))
    )
  ),
  Layer.provide(SessionHttpApi.layer(Authenticated, UserSession)),
  Layer.provide(HttpServer.layerServices)
)

class RpcAuthenticated extends RpcMiddleware.Service<
  RpcAuthenticated,
  { provides: Session.Provided<typeof UserSession> }
>()("test/RpcAuthenticated", { error: Schema.Union(Session.errors(UserSession)) }) {}

class Calls extends RpcGroup.make(Rpc.make("WhoAmI", { success: Schema.String })).middleware(RpcAuthenticated) {}

const RpcLive = RpcServer.layerHttp({ group: Calls, path: "/rpc", protocol: "http" }).pipe(
  Layer.provide(Calls.toLayer({ WhoAmI: () => Effect.map(UserSession.Verified, ({ data }) => data.username) })),
  Layer.provide(SessionRpc.layer(RpcAuthenticated, UserSession)),
  Layer.provide(RpcSerialization.layerJson)
)

// -----------------------------------------------------------------------------
// Stores
// -----------------------------------------------------------------------------

/** Which operation of the store gets no answer, and how many times. What hangs was not carried out. */
const hanging = { operation: "", calls: 0, met: 0 }

const hangs = (operation: string): boolean => {
  if (hanging.operation !== operation || hanging.calls === 0) return false
  hanging.calls--
  hanging.met++
  return true
}

/** No timer and no I/O: to workerd a request that has nothing else left hangs. */
const noAnswer = Effect.promise<never>(() => new Promise(() => {}))

const hangable = Layer.effect(
  SessionBackend.SessionBackend,
  Effect.map(SessionBackend.SessionBackend, (backend) => ({
    ...backend,
    read: (...args) => Effect.suspend(() => (hangs("read") ? noAnswer : backend.read(...args))),
    update: (...args) =>
      Effect.suspend(() => {
        if (hangs("update")) return noAnswer
        return hangs("slow-update") ? Effect.delay(backend.update(...args), "300 millis") : backend.update(...args)
      })
  }))
)

/** D1, whose statements hang as `sql`. */
const databaseOf = ({ DB }: Env): D1Client.D1Database => ({
  prepare: (sql) => (hangs("sql") ? hangingStatement : DB.prepare(sql))
})

const hangingStatement: D1Client.D1PreparedStatement = {
  bind: () => hangingStatement,
  all: () => new Promise(() => {}),
  raw: () => new Promise(() => {})
}

const storageOf = (env: Env) =>
  SessionBackendSql.layerStorage().pipe(Layer.provide(D1Client.layer({ db: databaseOf(env) })))

/** A clock that runs a hundred times as fast. */
const fast = Effect.map(Clock.clockWith(Effect.succeed), (live): Clock.Clock => {
  const rate = 100
  const begun = { millis: live.currentTimeMillisUnsafe(), nanos: live.monotonicTimeNanosUnsafe() }
  const millis = () => begun.millis + (live.currentTimeMillisUnsafe() - begun.millis) * rate
  const monotonic = () => (live.monotonicTimeNanosUnsafe() - begun.nanos) * BigInt(rate)
  return {
    currentTimeMillisUnsafe: millis,
    currentTimeMillis: Effect.sync(millis),
    currentTimeNanosUnsafe: () => BigInt(millis()) * 1_000_000n,
    currentTimeNanos: Effect.sync(() => BigInt(millis()) * 1_000_000n),
    monotonicTimeNanosUnsafe: monotonic,
    monotonicTimeNanos: Effect.sync(monotonic),
    sleep: (duration) => live.sleep(Duration.times(duration, 1 / rate))
  }
})

/** What fibers that requests share need on Workers: those of `RpcServer`, and the one that takes a push. */
const SyncScheduler = Layer.succeed(Scheduler.Scheduler, new Scheduler.MixedScheduler("sync"))

const stores = {
  memory: () => hangable.pipe(Layer.provide(SessionBackendMemory.layer)),
  "memory-sync": () => Layer.mergeAll(hangable.pipe(Layer.provide(SessionBackendMemory.layer)), SyncScheduler),
  d1: (env: Env) => hangable.pipe(Layer.provide(storageOf(env))),
  "d1-sync": (env: Env) => Layer.mergeAll(hangable.pipe(Layer.provide(storageOf(env))), SyncScheduler),
  /** D1, where a hundred seconds take one. */
  "d1-fast": (env: Env) =>
    Layer.mergeAll(hangable.pipe(Layer.provide(storageOf(env))), Layer.effect(Clock.Clock, fast)),
  /** D1 with a sweeper beside it, as on a server. */
  "d1-sweeper": (env: Env) => SessionSweeper.layer({ interval: "100 millis" }).pipe(Layer.provideMerge(storageOf(env)))
}

// -----------------------------------------------------------------------------
// Apps
// -----------------------------------------------------------------------------

const WebCrypto = Layer.mergeAll(Mac.layerWebCrypto, Digest.layerWebCrypto, Kdf.layerWebCrypto).pipe(
  Layer.provideMerge(SecureRandom.layerWebCrypto)
)

const told: Array<readonly [store: string, event: string]> = []

const app = (store: keyof typeof stores, timeout: Duration.Duration, env: Env) =>
  Layer.mergeAll(Open, Guarded, ApiLive, RpcLive).pipe(
    Layer.provide(
      SessionMiddleware.layer(UserSession, {
        backendTimeout: timeout,
        // The handler has I/O of its own.
        onEvent: (event) =>
          Effect.promise(async () => {
            await env.DB.prepare("SELECT 1").bind().all()
            told.push([store, event._tag])
          })
      })
    ),
    Layer.provide([SessionFrontend.layerCookie(), SessionVerifier.layerExists(UserSession)]),
    Layer.provideMerge(stores[store](env)),
    Layer.provide(SessionKeys.layerConfig(Config.Redacted("SESSION_SECRET"))),
    Layer.provide(WebCrypto),
    Layer.provide(ConfigProvider.layer(ConfigProvider.fromUnknown({ SESSION_SECRET: env.SESSION_SECRET })))
  )

const handlers = new Map<string, (request: Request) => Promise<Response>>()

const handle = async (request: Request, env: Env): Promise<Response> => {
  const store = Schema.decodeUnknownSync(Schema.Literals(Struct.keys(stores)))(request.headers.get("x-store"))
  const timeout = Number(request.headers.get("x-timeout"))
  const name = `${store} ${timeout}`
  const handler = handlers.get(name)
  if (handler !== undefined) return handler(request)
  const built = HttpRouter.toWebHandler(app(store, Duration.millis(timeout), env), { disableLogger: true })
  const response = await built.handler(request)
  handlers.set(name, handlers.get(name) ?? built.handler)
  return response
}

/** What the test does itself. */
const byHand = async (path: string, env: Env): Promise<unknown> => {
  const [what, first, second] = path.split("/")
  if (what === "hang") Object.assign(hanging, { operation: first, calls: Number(second), met: 0 })
  if (what === "hang" || what === "hanging") return hanging
  if (what === "told") return told
  if (what === "cases") {
    const results = Effect.forEach(
      [...SessionBackendTest.cases, ...SessionBackendTest.collectingCases],
      ({ effect, name }) =>
        Effect.matchCause(effect, {
          onFailure: (cause) => ({ name, failure: Cause.pretty(cause) }),
          onSuccess: () => ({ name, failure: undefined })
        }),
      { concurrency: 8 }
    )
    return Effect.runPromise(Effect.provide(results, storageOf(env)))
  }
  return undefined
}

export default {
  fetch: async (request: Request, env: Env, context: Context): Promise<Response> => {
    const { pathname } = new URL(request.url)
    if (pathname.startsWith("/test/")) return Response.json(await byHand(pathname.slice("/test/".length), env))
    const response = handle(request, env)
    // As a Worker should; but some tests are about what happens where it does not.
    if (request.headers.get("x-wait") === "yes") context.waitUntil(response)
    return response
  }
}
