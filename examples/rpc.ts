/**
 * RPC with a session: a log-in that sets the cookie, a call of a user, and a stream that ends with the session.
 *
 * `npm run example:rpc` starts a server on port 3000, or on `PORT`, lets the client at the end of this file talk to it, and stops.
 */
import { NodeCrypto, NodeHttpServer } from "@effect/platform-node"
import { Config, Effect, Layer, Redacted, Schema, Stream } from "effect"
import { SecureRandom } from "effect/crypto"
import { Base64 } from "effect/encoding"
import { FetchHttpClient, HttpRouter } from "effect/http"
import { Rpc, RpcClient, RpcGroup, RpcMiddleware, RpcSerialization, RpcServer } from "effect/rpc"
import {
  Session,
  SessionBackendMemory,
  SessionError,
  SessionFrontend,
  SessionHttpApiClient,
  SessionKeys,
  SessionMiddleware,
  SessionRpc,
  SessionVerifier
} from "effect-sessions"
import { createServer } from "node:http"
import { runMain } from "./launch.ts"

// -----------------------------------------------------------------------------
// The groups: what server and client share
// -----------------------------------------------------------------------------

// 1. The session.
export class UserSession extends Session.Service<UserSession>()("example/UserSession", {
  data: Schema.Struct({ username: Schema.String }),
  principal: (data) => data.username
}) {}

// 2. The middlewares that provide it: to everybody, or to those whose session stands.
class Visitor extends RpcMiddleware.Service<Visitor, { provides: UserSession }>()("example/Rpc/Visitor", {
  error: SessionError.SessionCrossOrigin
}) {}

class Authenticated extends RpcMiddleware.Service<Authenticated, { provides: Session.Provided<typeof UserSession> }>()(
  "example/Rpc/Authenticated",
  { error: Schema.Union(Session.errors(UserSession)) }
) {}

// 3. The calls. What a handler itself does with the session may fail, too.
const error = Schema.Union(Session.errors(UserSession))

class Auth extends RpcGroup.make(
  Rpc.make("LogIn", { payload: { username: Schema.String }, error }),
  Rpc.make("LogOut", { error })
).middleware(Visitor) {}

class Account extends RpcGroup.make(
  Rpc.make("WhoAmI", { success: Schema.String }),
  Rpc.make("Ticks", { success: Schema.Int, stream: true })
).middleware(Authenticated) {}

export class Group extends Auth.merge(Account) {}

// -----------------------------------------------------------------------------
// The server
// -----------------------------------------------------------------------------

// Who you are is what you say you are: check a password here.
const AuthLive = Auth.toLayer({
  LogIn: Effect.fnUntraced(function* ({ username }) {
    yield* (yield* UserSession).create({ username })
  }),
  LogOut: Effect.fnUntraced(function* () {
    yield* (yield* UserSession).destroy
  })
})

const AccountLive = Account.toLayer({
  WhoAmI: () => Effect.map(UserSession.Verified, ({ data }) => data.username),
  // It says nothing of the session, and yet ends with it.
  Ticks: () => Stream.range(1, 1_000).pipe(Stream.mapEffect((n) => Effect.delay(Effect.succeed(n), "100 millis")))
})

const Sessions = SessionMiddleware.layer(UserSession).pipe(
  Layer.provide([
    // This example speaks plain http. Behind https leave the options out.
    SessionFrontend.layerCookie({ name: "session", secure: false }),
    SessionVerifier.layerExists(UserSession),
    SessionBackendMemory.layer,
    // A secret for this run. Yours is in the environment: `SessionKeys.layerConfig`.
    Layer.unwrap(
      Effect.map(
        SecureRandom.SecureRandom.use((random) => random.randomBytes(32)),
        (bytes) => SessionKeys.layer(Redacted.make(Base64.encode(bytes)))
      )
    )
  ]),
  Layer.provide(NodeCrypto.layer)
)

// The middleware of the route puts the cookie on the response.
export const Routes = RpcServer.layerHttp({ group: Group, path: "/rpc", protocol: "http" }).pipe(
  Layer.provide([
    AuthLive,
    AccountLive,
    SessionRpc.layerOptional(Visitor, UserSession),
    SessionRpc.layer(Authenticated, UserSession),
    RpcSerialization.layerNdjson
  ]),
  Layer.provide(SessionMiddleware.router(UserSession).layer)
)

const Port = Config.Port("PORT").pipe(Config.withDefault(3000))

const Server = Layer.unwrap(
  Effect.map(Port, (port) =>
    HttpRouter.serve(Routes).pipe(Layer.provide([NodeHttpServer.layer(createServer, { port }), Sessions]))
  )
)

// -----------------------------------------------------------------------------
// The client. A browser keeps the cookie itself: there `FetchHttpClient.layer` is enough
// -----------------------------------------------------------------------------

const Client = Layer.unwrap(
  Effect.map(Port, (port) => RpcClient.layerProtocolHttp({ url: `http://localhost:${port}/rpc` }))
).pipe(
  Layer.provide([
    SessionHttpApiClient.layerCookies().pipe(Layer.provide(FetchHttpClient.layer)),
    RpcSerialization.layerNdjson
  ])
)

const program = Effect.gen(function* () {
  const client = yield* RpcClient.make(Group)
  const stranger = yield* Effect.flip(client.WhoAmI())
  yield* Effect.log(`before the log-in: ${stranger._tag}`)

  yield* client.LogIn({ username: "ada" })
  yield* Effect.log(`logged in as ${yield* client.WhoAmI()}`)

  // At the third tick the user logs out, as they might in another tab.
  const ended = yield* client.Ticks().pipe(
    Stream.runForEach((n) =>
      Effect.andThen(Effect.log(`tick ${n}`), n === 3 ? Effect.orDie(client.LogOut()) : Effect.void)
    ),
    Effect.flip
  )
  yield* Effect.log(`the stream ended with the session: ${ended.message}`)
}).pipe(Effect.scoped)

if (import.meta.main) program.pipe(Effect.provide(Client), Effect.provide(Server), runMain)
