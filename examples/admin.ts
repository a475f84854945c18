/**
 * A command line over the sessions of basic.ts, for whoever runs it: over the same store, named by `SESSION_BACKEND` and the
 * variables of backend.ts. In memory each process has sessions of its own, so there is nothing to see.
 *
 *     SESSION_BACKEND=sqlite npm run example:admin -- sessions list
 *     SESSION_BACKEND=sqlite npm run example:admin -- sessions revoke --principal ada
 */
import { NodeCrypto, NodeRuntime, NodeServices } from "@effect/platform-node"
import { Cause, Context, Effect, Layer, Logger, Redacted, References } from "effect"
import { CliError, Command } from "effect/cli"
import { SecureRandom } from "effect/crypto"
import { Base64 } from "effect/encoding"
import { SessionBackend, SessionKeys, SessionManager, SessionVerifier } from "effect-sessions"
import * as SessionCli from "effect-sessions/SessionCli"
import { Backend } from "./backend.ts"
import { UserSession } from "./basic.ts"

// An administrator checks no token, and need not know the secret that signs them: any will do.
const Keys = Layer.unwrap(
  Effect.map(
    SecureRandom.SecureRandom.use((random) => random.randomBytes(32)),
    (bytes) => SessionKeys.layer(Redacted.make(Base64.encode(bytes)))
  )
)

// A store that cannot be opened is one line, too. Its error may name addresses and users, so it is not shown.
const userMessage = "the store of the sessions cannot be opened"

const Store = Layer.effect(
  SessionBackend.SessionBackend,
  Layer.build(Backend).pipe(
    Effect.timeout("5 seconds"),
    Effect.map((context) => Context.get(context, SessionBackend.SessionBackend)),
    Effect.catchCause((cause) => Effect.fail(new CliError.UserError({ cause: Cause.squash(cause), userMessage })))
  )
)

// The timeouts of basic.ts.
const Sessions = SessionManager.layer(UserSession, { idleTimeout: "30 minutes", absoluteTimeout: "12 hours" }).pipe(
  Layer.provide([Store, SessionVerifier.layerExists(UserSession)]),
  Layer.provide(Keys),
  Layer.provide(NodeCrypto.layer)
)

const app = Command.make("admin").pipe(
  Command.withSubcommands([SessionCli.command(UserSession)]),
  Command.provide(Sessions)
)

if (import.meta.main) {
  Command.run(app, { version: "1.0.0" }).pipe(
    // Answers alone go to standard output. A driver's own warnings are seen with `--log-level warn`.
    Effect.provideService(Logger.LogToStderr, true),
    Effect.provideService(References.MinimumLogLevel, "Error"),
    Effect.provide(NodeServices.layer),
    NodeRuntime.runMain
  )
}
