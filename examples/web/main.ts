/**
 * A shop that one can click, with server-rendered pages and no build: `npm run example:web`.
 *
 * | file | what it shows |
 * | --- | --- |
 * | `session.ts` | two session definitions, "remember me", five devices at most, devices by name, a verifier, `onEvent` |
 * | `users.ts` | passwords: a KDF, the same work for a user who is not there, a limit to guessing |
 * | `audit.ts` | an audit table: log-ins, why each ended, and what else matters |
 * | `html.ts` | templates in which every text is escaped |
 * | `pages.ts` | guards with redirects, sudo mode, flash messages, errors as pages, the headers of every response |
 * | `routes/shop.ts` | a visitor's cart, and a feed that ends with its session |
 * | `routes/log-in.ts` | sign up, log in with the visitor's cart, log out |
 * | `routes/devices.ts` | where a user is logged in: revoke one, or all others |
 * | `routes/account.ts` | the proof that it is still them, a new password, the deletion of the account |
 * | `routes/admin.ts` | an administrator, who ends a user's sessions and reads the audit |
 * | `assets.ts` | the style, and the script that the feed alone needs |
 *
 * Sessions are in the file `sessions.sqlite`, or where `SESSION_BACKEND` says: see `../backend.ts`. Users and the audit are in
 * memory, or in the file that `SHOP_DATABASE` names. The administrator's password is `ADMIN_PASSWORD`, or a new one each time.
 */
import { NodeCrypto, NodeHttpServer } from "@effect/platform-node"
import { ByteSize, Config, Console, Effect, Layer, Logger, Option, Redacted } from "effect"
import { SecureRandom } from "effect/crypto"
import { Base64Url } from "effect/encoding"
import { HttpRouter, HttpServerRequest } from "effect/http"
import * as NodeSqliteClient from "effect-sessions/NodeSqliteClient"
import { createServer } from "node:http"
import { backend } from "../backend.ts"
import { Keys } from "../basic.ts"
import { launch } from "../launch.ts"
import { Assets } from "./assets.ts"
import { Audit } from "./audit.ts"
import { ErrorPages } from "./pages.ts"
import { AccountRoutes } from "./routes/account.ts"
import { AdminRoutes } from "./routes/admin.ts"
import { DeviceRoutes } from "./routes/devices.ts"
import { LogInRoutes } from "./routes/log-in.ts"
import { ShopRoutes } from "./routes/shop.ts"
import { Sessions } from "./session.ts"
import { Users } from "./users.ts"

const Routes = Layer.mergeAll(ShopRoutes, LogInRoutes, DeviceRoutes, AccountRoutes, AdminRoutes, Assets, ErrorPages)

const DatabaseFile = Config.String("SHOP_DATABASE").pipe(Config.withDefault(":memory:"))

/** A client of its own: no statement of the shop holds up those of its sessions. */
const Database = NodeSqliteClient.layerConfig({ filename: DatabaseFile })

const Administrator = Layer.effectDiscard(
  Effect.gen(function* () {
    const users = yield* Users
    const given = yield* Config.option(Config.Redacted("ADMIN_PASSWORD"))
    const bytes = yield* SecureRandom.SecureRandom.use((random) => random.randomBytes(15))
    const password = Option.getOrElse(given, () => Redacted.make(Base64Url.encode(bytes)))
    yield* users.putAdministrator("admin", password)
    if (Option.isSome(given)) return
    yield* Console.log(`the administrator is "admin", the password ${Redacted.value(password)}`)
  })
)

/** Everything but the server and the store of the sessions: a test has its own. */
export const App = HttpRouter.serve(Routes, { disableListenLog: true }).pipe(
  Layer.provide(Layer.succeed(HttpServerRequest.MaxBodySize, ByteSize.kibibytes(16))),
  Layer.provide(Administrator),
  // Provided after the server, and so built before it: it does not listen before sessions are ready.
  Layer.provide(Sessions),
  Layer.provide(Layer.provideMerge(Layer.merge(Users.layer, Audit.layer), Database))
)

const Server = Layer.unwrap(
  Effect.gen(function* () {
    const port = yield* Config.Port("PORT").pipe(Config.withDefault(3000))
    const file = yield* DatabaseFile
    const ready = [
      `users and the audit are kept in ${file === ":memory:" ? "memory" : file}`,
      `open http://localhost:${port}, in two browsers; the administrator's page is http://localhost:${port}/admin`
    ]
    return Layer.provide(Layer.effectDiscard(Console.log(ready.join("\n"))), App).pipe(
      Layer.provide(NodeHttpServer.layer(createServer, { port }))
    )
  })
).pipe(
  Layer.provide([backend("sqlite"), Keys]),
  Layer.provide(NodeCrypto.layer),
  // A line for each entry, whatever it holds.
  Layer.provide(Logger.layer([Logger.consoleLogFmt]))
)

if (import.meta.main) {
  // The files hold hashes of passwords and what sessions hold: for this user's eyes.
  process.umask(0o077)
  launch(Server)
}
