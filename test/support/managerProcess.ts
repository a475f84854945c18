/**
 * A manager in a process of its own, over the backend of the examples: `remoteManager.ts` starts it. Each line of its input
 * is a call, `{ call, operation, args }`, and each line of its output an answer, `{ call, word, value }`.
 *
 * It imports nothing of this repository's sources, so that it runs over an older version of the library as well.
 *
 * `SESSION_BACKEND` and what goes with it as in `examples/backend.ts`; `SESSION_SECRET`; `SESSION_NAME` is the
 * definition's identifier, `LAYER_OPTIONS` its options as JSON; `CLOCK_AHEAD` puts its clock forward, in milliseconds.
 */
import { NodeCrypto, NodeRuntime } from "@effect/platform-node"
import { Config, Effect, Layer } from "effect"
import { SessionKeys, SessionManager, SessionVerifier, type Session } from "effect-sessions"
import { createInterface } from "node:readline"
import { Backend } from "../../examples/backend.ts"
import { ahead } from "./aheadClock.ts"
import { implement, sessionOf } from "./managerOperations.ts"
import { answering, type Answer, type Call } from "./remoteManager.ts"

const UserSession = sessionOf(process.env["SESSION_NAME"] ?? "test/UserSession")

const Manager = Layer.unwrap(
  Effect.map(Config.String("LAYER_OPTIONS").pipe(Config.withDefault("{}")), (options) =>
    SessionManager.layer(UserSession, JSON.parse(options) as Session.LayerOptions)
  )
).pipe(
  Layer.provide([
    Backend,
    SessionVerifier.layerExists(UserSession),
    SessionKeys.layerConfig(Config.Redacted("SESSION_SECRET"))
  ]),
  Layer.provide(NodeCrypto.layer)
)

const write = (answer: Answer<unknown> & { readonly call: number }) =>
  process.stdout.write(`${JSON.stringify(answer)}\n`)

const serve = Effect.gen(function* () {
  const manager = answering(implement(yield* UserSession.Manager), yield* Effect.context())
  const lines = createInterface({ input: process.stdin })
  lines.on("line", (line) => {
    const { args, call, operation } = JSON.parse(line) as Call
    // The caller's types have matched the arguments with the operation.
    const answer = manager[operation] as (...args: ReadonlyArray<unknown>) => Promise<Answer<unknown>>
    void answer(...args).then((answer) => write({ call, ...answer }))
  })
  // A test that is killed cannot end this; its end of the pipe closes all the same.
  lines.on("close", () => process.exit())
  write({ call: 0, word: "ready" })
  return yield* Effect.never
})

NodeRuntime.runMain(ahead({ millis: Number(process.env["CLOCK_AHEAD"] ?? 0) })(Effect.provide(serve, Manager)))
