/** `make` beside each `layer`: the two answer alike, and what is wrong with their options is told alike. */
import { NodeCrypto } from "@effect/platform-node"
import { assert, describe, it } from "@effect/vitest"
import { Effect, Exit, Layer, Option, Redacted, Scope } from "effect"
import { HttpClient, HttpClientRequest, HttpClientResponse, HttpServerRequest, HttpServerResponse } from "effect/http"
import { Redis } from "effect/persistence"
import { SqlClient } from "effect/sql"
import { TestClock } from "effect/testing"
import {
  type Session,
  SessionBackend,
  SessionBackendMemory,
  SessionBackendRedis,
  SessionBackendSql,
  SessionError,
  SessionFrontend,
  SessionHttpApiClient,
  SessionKeys,
  SessionSweeper,
  SessionVerifier
} from "effect-sessions"
import { SessionTest } from "effect-sessions/testing"
import * as NodeSqliteClient from "effect-sessions/NodeSqliteClient"
import * as Token from "../src/internal/token/token.ts"
import { fake, unasked } from "./support/fakeRedis.ts"
import { outcome } from "./support/outcome.ts"
import { ada, banned, type Data, secretA, UserSession } from "./support/userSession.ts"
import { record, seen } from "./support/sqlBackend.ts"
import * as WatchedBackend from "./support/watchedBackend.ts"

type Problem = SessionError.SessionConfigError

/** A `make` and its `layer`, with what is seen of the service of either. */
interface Pair {
  readonly name: string
  readonly made: Effect.Effect<unknown, Problem, Scope.Scope>
  readonly layered: Effect.Effect<unknown, Problem, Scope.Scope>
  /** With options that are wrong, and what is said of them. */
  readonly wrong?: {
    readonly make: Effect.Effect<unknown, Problem, Scope.Scope>
    readonly layer: Layer.Layer<never, Problem>
    readonly says: RegExp
    /** Where a database is opened or asked first, Layer has given up by then if another layer fails. */
    readonly isLate?: boolean
  }
}

const response = HttpServerResponse.empty()
const issued = (via: Option.Option<SessionFrontend.Transport>): SessionFrontend.Issued => ({
  token: Redacted.make("TOKEN"),
  maxAge: Option.none(),
  via
})

/** What a frontend finds in a request that carries a token in every place, and what it puts on a response. */
const seenOfFrontend = (frontend: SessionFrontend.SessionFrontend["Service"]) =>
  Effect.gen(function* () {
    const request = HttpServerRequest.fromWeb(
      new Request("https://app.test/", {
        headers: { cookie: "__Host-session=a; sid=b", authorization: "Bearer c", "x-session": "d" }
      })
    )
    const found = yield* Effect.result(frontend.extract(request))
    const sent = [Option.none(), Option.some("cookie" as const), Option.some("header" as const)].map((via) => {
      const { cookies, headers } = frontend.attach(response, issued(via))
      return [cookies.toJSON(), headers["x-session"]]
    })
    return {
      security: frontend.security,
      found:
        found._tag === "Failure"
          ? found.failure._tag
          : found.success.map(({ isReplaceable, token, via }) => [Redacted.value(token), via, isReplaceable]),
      sent,
      taken: frontend.detach(response, "cookie").cookies.toJSON(),
      origins: frontend.origins
    }
  })
const frontendOf = (layer: Layer.Layer<SessionFrontend.SessionFrontend, Problem>) =>
  Effect.flatMap(Effect.provide(SessionFrontend.SessionFrontend, layer), seenOfFrontend)

const cookie = { name: "sid", sameSite: "strict", trustedOrigins: ["https://shop.test"] } as const
const header = { name: "x-session" }

const stored = { namespace: "app/Made", id: "i".repeat(22), principal: "ada" }

/** What a store answers, operation after operation. */
const seenOfBackend = (backend: SessionBackend.SessionBackend["Service"]) =>
  Effect.gen(function* () {
    const one = record(stored)
    const { id, namespace } = one
    return [
      yield* outcome(backend.create(one)),
      yield* backend.create(one),
      yield* backend.read(namespace, id),
      yield* backend.update(namespace, id, one.version, { ...seen, data: "{}" }),
      yield* backend.listByPrincipal(namespace, "ada", { limit: 10 }),
      yield* backend.delete(namespace, id),
      yield* backend.read(namespace, id)
    ]
  }).pipe(Effect.catchTag("SessionBackendError", Effect.die))
const backendOf = <R>(layer: Layer.Layer<SessionBackend.SessionBackend, Problem, R>) =>
  Effect.flatMap(Effect.provide(SessionBackend.SessionBackend, layer), seenOfBackend)

/** Each has a database of its own. */
const sqlite = () => Layer.fresh(NodeSqliteClient.layer({ filename: ":memory:" }).pipe(Layer.orDie))
/** The tables there are, which tell what was made in which. */
const tables = Effect.flatMap(
  SqlClient.SqlClient,
  (sql) => sql`SELECT name FROM sqlite_master WHERE type = 'table' ORDER BY name`.values
).pipe(Effect.orDie)
const inSqlite = <A, R>(effect: Effect.Effect<A, Problem, R | SqlClient.SqlClient>) =>
  Effect.gen(function* () {
    const context = yield* Layer.build(sqlite())
    return yield* Effect.provideContext(
      Effect.flatMap(effect, (answer) => Effect.map(tables, (names) => [answer, names])),
      context
    )
  })

/** What a store of Redis sends, to one that knows nothing. */
const commandsOf = <E>(
  use: (redis: Layer.Layer<Redis.Redis>) => Effect.Effect<SessionBackend.SessionBackend["Service"], E, Scope.Scope>
) =>
  Effect.gen(function* () {
    const { commands, redis } = yield* fake(() => Effect.succeed(null))
    const backend = yield* use(Layer.succeed(Redis.Redis, redis))
    const one = record(stored)
    yield* outcome(backend.create(one))
    yield* outcome(backend.read(one.namespace, one.id))
    yield* outcome(backend.delete(one.namespace, one.id))
    assert.isAbove(commands.length, 2)
    return commands
  })
const redisOptions = { prefix: "shop", ttlSlack: "1 hour" } as const

/** How many sweeps there were after half an hour, and after the scope was closed. */
const sweeps = (
  start: (watched: WatchedBackend.WatchedBackend) => Effect.Effect<unknown, Problem, Scope.Scope>
): Effect.Effect<unknown, Problem, Scope.Scope> =>
  Effect.gen(function* () {
    const watched = WatchedBackend.make()
    const scope = yield* Scope.make()
    yield* Scope.provide(start(watched), scope)
    yield* TestClock.adjust("30 minutes")
    const during = watched.count("deleteExpired")
    yield* Scope.close(scope, Exit.void)
    yield* TestClock.adjust("1 hour")
    // The pauses are jittered: a minute's are 25 at least, and five minutes' 8 at most.
    assert.isAbove(during, 20)
    assert.strictEqual(watched.count("deleteExpired"), during)
    return "swept"
  })
const interval = { interval: "1 minute" } as const

/** What a client carries, once it has been answered with a cookie and a token. */
const carried = (client: HttpClient.HttpClient) =>
  Effect.gen(function* () {
    const sent: Array<unknown> = []
    for (let i = 0; i < 2; i++) {
      const { request } = yield* client.execute(HttpClientRequest.get("https://api.test/a")).pipe(Effect.orDie)
      sent.push([request.headers["cookie"], request.headers["authorization"], request.headers["x-session"]])
    }
    return sent
  })
const server = Layer.succeed(
  HttpClient.HttpClient,
  HttpClient.make((request) =>
    Effect.succeed(
      HttpClientResponse.fromWeb(
        request,
        new Response("", { headers: { "set-cookie": "__Host-session=a; Path=/; Secure", "x-session": "d" } })
      )
    )
  )
)
const client = (make: Effect.Effect<HttpClient.HttpClient, never, HttpClient.HttpClient>) =>
  Effect.flatMap(Effect.provide(make, server), carried)
const clientOf = (layer: Layer.Layer<HttpClient.HttpClient, never, HttpClient.HttpClient>) =>
  Effect.flatMap(Effect.provide(HttpClient.HttpClient, layer.pipe(Layer.provide(server))), carried)
const bearer = { baseUrl: "https://api.test", token: Effect.succeedSome(Redacted.make("c")) }

/** What a verifier says of a session of ada's, and of one that is banned. */
const verdicts = (verifier: (typeof UserSession.Verifier)["Service"]) =>
  Effect.forEach([ada, banned], (data) =>
    Effect.flatMap(UserSession.Verified, (session) => outcome(verifier.verify(session))).pipe(
      Effect.provide(SessionTest.layerVerified(UserSession, data))
    )
  )
const verdictsOf = (layer: Layer.Layer<Session.VerifierOf<UserSession>>) =>
  Effect.flatMap(Effect.provide(UserSession.Verifier, layer), verdicts)

const isNotBanned = ({ data }: { readonly data: Data }) => Effect.succeed(data.count !== banned.count)
const refusal = () => new SessionError.SessionRefused({ message: "no" })
const verify = (session: { readonly data: Data }) =>
  Effect.flatMap(isNotBanned(session), (accepted) => (accepted ? Effect.void : Effect.fail(refusal())))

/** The token of a key ring for some session. */
const tokenOf = (keys: SessionKeys.SessionKeys["Service"]) =>
  Effect.flatMap(keys.signers("test"), (signers) =>
    Token.make(signers).issue({ id: "i".repeat(22), secret: "s".repeat(43) })
  ).pipe(Effect.map(Redacted.value), Effect.provide(NodeCrypto.layer))

const secret = Redacted.make(secretA)
const weak = Redacted.make("weak")

const pairs: ReadonlyArray<Pair> = [
  {
    name: "SessionKeys",
    made: Effect.flatMap(SessionKeys.make(secret), tokenOf).pipe(Effect.provide(NodeCrypto.layer)),
    layered: Effect.flatMap(SessionKeys.SessionKeys, tokenOf).pipe(
      Effect.provide(SessionKeys.layer(secret)),
      Effect.provide(NodeCrypto.layer)
    ),
    wrong: {
      make: SessionKeys.make([secret, weak]).pipe(Effect.provide(NodeCrypto.layer)),
      layer: SessionKeys.layer([secret, weak]).pipe(Layer.provide(NodeCrypto.layer)),
      says: /session secret 2 of 2 has 4 bytes/
    }
  },
  {
    name: "SessionFrontend, cookie",
    made: Effect.flatMap(SessionFrontend.makeCookie(cookie), seenOfFrontend),
    layered: frontendOf(SessionFrontend.layerCookie(cookie)),
    wrong: {
      make: SessionFrontend.makeCookie({ sameSite: "none", secure: false }),
      layer: SessionFrontend.layerCookie({ sameSite: "none", secure: false }),
      says: /sameSite "none" demands secure/
    }
  },
  {
    name: "SessionFrontend, header",
    made: Effect.flatMap(SessionFrontend.makeHeader(header), seenOfFrontend),
    layered: frontendOf(SessionFrontend.layerHeader(header)),
    wrong: {
      make: SessionFrontend.makeHeader({ name: "cookie" }),
      layer: SessionFrontend.layerHeader({ name: "cookie" }),
      says: /header name "cookie"/
    }
  },
  {
    name: "SessionFrontend, bearer",
    made: seenOfFrontend(SessionFrontend.makeBearer()),
    layered: frontendOf(SessionFrontend.layerBearer())
  },
  {
    name: "SessionFrontend, several",
    made: Effect.flatMap(SessionFrontend.makeCookie(cookie), (first) =>
      seenOfFrontend(SessionFrontend.makeFirst([first, SessionFrontend.makeBearer()]))
    ),
    layered: frontendOf(
      SessionFrontend.layerFirst([SessionFrontend.layerCookie(cookie), SessionFrontend.layerBearer()])
    )
  },
  {
    name: "SessionVerifier, every session",
    made: verdicts(SessionVerifier.makeExists(UserSession)),
    layered: verdictsOf(SessionVerifier.layerExists(UserSession))
  },
  {
    name: "SessionVerifier, one's own",
    made: Effect.flatMap(SessionVerifier.make(UserSession, Effect.succeed(verify)), verdicts),
    layered: verdictsOf(SessionVerifier.layer(UserSession, verify))
  },
  {
    name: "SessionVerifier, a predicate",
    made: verdicts(SessionVerifier.makePredicate(UserSession, isNotBanned, refusal)),
    layered: verdictsOf(SessionVerifier.layerPredicate(UserSession, isNotBanned, refusal))
  },
  {
    name: "SessionBackendMemory",
    made: Effect.flatMap(SessionBackendMemory.make({ maxSessions: 1 }), seenOfBackend),
    layered: backendOf(SessionBackendMemory.layerWith({ maxSessions: 1 })),
    wrong: {
      make: SessionBackendMemory.make({ maxSessions: 0 }),
      layer: SessionBackendMemory.layerWith({ maxSessions: 0 }),
      says: /maxSessions must be a whole number/
    }
  },
  {
    name: "SessionBackendRedis",
    made: commandsOf((redis) => Effect.provide(SessionBackendRedis.make(redisOptions), redis)),
    layered: commandsOf((redis) =>
      Effect.provide(
        SessionBackend.SessionBackend,
        SessionBackendRedis.layerWith(redisOptions).pipe(Layer.provide(redis))
      )
    ),
    wrong: {
      make: Effect.provide(SessionBackendRedis.make({ prefix: "{x}" }), unasked),
      layer: SessionBackendRedis.layerWith({ prefix: "{x}" }).pipe(Layer.provide(unasked)),
      says: /prefix/
    }
  },
  {
    name: "SessionBackendSql",
    made: inSqlite(Effect.flatMap(SessionBackendSql.make({ table: "mine" }), seenOfBackend)),
    layered: inSqlite(backendOf(SessionBackendSql.layerWith({ table: "mine" }))),
    wrong: {
      make: inSqlite(SessionBackendSql.make({ table: "1" })),
      layer: SessionBackendSql.layerWith({ table: "1" }).pipe(Layer.provide(sqlite())),
      says: /table must be 1 to 48 letters/,
      isLate: true
    }
  },
  {
    name: "SessionBackendSql, migrations and storage",
    made: inSqlite(
      Effect.andThen(
        SessionBackendSql.migrate({ table: "mine" }),
        Effect.flatMap(SessionBackendSql.makeStorage({ table: "mine" }), seenOfBackend)
      )
    ),
    layered: inSqlite(
      Effect.andThen(
        Layer.build(SessionBackendSql.layerMigrations({ table: "mine" })),
        backendOf(SessionBackendSql.layerStorage({ table: "mine" }))
      )
    ),
    wrong: {
      make: inSqlite(SessionBackendSql.makeStorage({ table: "mine" })),
      layer: SessionBackendSql.layerStorage({ table: "mine" }).pipe(Layer.provide(sqlite())),
      says: /there is no table mine/,
      isLate: true
    }
  },
  {
    name: "SessionSweeper",
    made: sweeps((watched) => Effect.provide(SessionSweeper.make(interval), watched.layer)),
    layered: sweeps((watched) => Layer.build(SessionSweeper.layer(interval).pipe(Layer.provide(watched.layer)))),
    wrong: {
      make: Effect.provide(SessionSweeper.make({ batch: 0 }), SessionBackendMemory.layer),
      layer: SessionSweeper.layer({ batch: 0 }).pipe(Layer.provide(SessionBackendMemory.layer)),
      says: /batch must be a whole number from 1/
    }
  },
  {
    name: "SessionHttpApiClient, cookies",
    made: client(SessionHttpApiClient.makeCookies()),
    layered: clientOf(SessionHttpApiClient.layerCookies())
  },
  {
    name: "SessionHttpApiClient, bearer",
    made: client(SessionHttpApiClient.makeBearer(bearer)),
    layered: clientOf(SessionHttpApiClient.layerBearer(bearer))
  },
  {
    name: "SessionHttpApiClient, header",
    made: client(SessionHttpApiClient.makeHeader({ ...header, baseUrl: bearer.baseUrl })),
    layered: clientOf(SessionHttpApiClient.layerHeader({ ...header, baseUrl: bearer.baseUrl }))
  }
]

describe("make", () => {
  for (const { layered, made, name, wrong } of pairs) {
    it.effect(`${name}: answers as its layer does`, () =>
      Effect.gen(function* () {
        const answer = yield* made
        assert.deepStrictEqual(answer, yield* layered)
        // Whatever it is, it is something.
        assert.isNotEmpty(answer)
      })
    )
    if (wrong !== undefined) {
      it.effect(`${name}: says of its options what its layer says, and nothing of others`, () =>
        Effect.gen(function* () {
          const error = yield* Effect.flip(wrong.make)
          assert.strictEqual(error._tag, "SessionConfigError")
          assert.match(error.problems.join("\n"), wrong.says)
          const told = yield* Effect.flip(Layer.build(wrong.layer))
          assert.deepStrictEqual([told.layers, told.problems], [error.layers, error.problems])
          // Beside another that fails, a layer tells of both, and `make` of its own.
          const other = SessionFrontend.layerHeader({ name: "origin" })
          const both = yield* Effect.flip(Layer.build(Layer.merge(wrong.layer, other)))
          if (wrong.isLate !== true) assert.includeMembers([...both.problems], [...error.problems])
          assert.match(both.message, /header name "origin"/)
          const alone = yield* Effect.flip(
            Effect.all([wrong.make, Effect.ignore(Layer.build(other))], { concurrency: 2 })
          )
          assert.deepStrictEqual(alone.problems, error.problems)
        })
      )
    }
  }
})
