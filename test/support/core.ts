/**
 * What the tests of the core share: two definitions, their stack over a backend that can be watched and broken, and
 * capture of logs.
 */
import { NodeCrypto } from "@effect/platform-node"
import * as Cause from "effect/Cause"
import type * as Digest from "effect/crypto/Digest"
import type * as Kdf from "effect/crypto/Kdf"
import type * as Mac from "effect/crypto/Mac"
import type * as SecureRandom from "effect/crypto/SecureRandom"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import * as Layer from "effect/Layer"
import * as Logger from "effect/Logger"
import * as Option from "effect/Option"
import * as Redacted from "effect/Redacted"
import * as References from "effect/References"
import * as Schema from "effect/Schema"
import * as Session from "../../src/Session.ts"
import * as SessionBackend from "../../src/SessionBackend.ts"
import * as SessionBackendMemory from "../../src/SessionBackendMemory.ts"
import type { SessionConfigError } from "../../src/SessionError.ts"
import * as SessionKeys from "../../src/SessionKeys.ts"
import * as SessionToken from "../../src/SessionToken.ts"
import * as SessionVerifier from "../../src/SessionVerifier.ts"

/** Somebody logged in, and a set of words to add to. */
export const UserData = Schema.Struct({ username: Schema.String, words: Schema.Array(Schema.String) })
export class UserSession extends Session.Service<UserSession>()("test/UserSession", {
  data: UserData,
  principal: (data) => (data.username === "" ? undefined : data.username)
}) {}

export const ada = { username: "ada", words: [] }
export const nobody = { username: "", words: [] }

export const secretA = "tS0uT1hGqWc5m8ZrYb3xKJvPe7LdA2nF9iQyXoVkDz4="
export const secretB = "Zk4RwN8cJ0pXy7HgTq2VbLmE5sDf1aUiO6tYx9GnQ3M="

export const keysOf = (...secrets: readonly [string, ...ReadonlyArray<string>]) => {
  const [first, ...rest] = secrets
  return SessionKeys.layer([Redacted.make(first), ...rest.map((secret) => Redacted.make(secret))]).pipe(
    Layer.provide(NodeCrypto.layer)
  )
}

type Backend = SessionBackend.SessionBackend["Service"]
type Crypto = Mac.Mac | Digest.Digest | SecureRandom.SecureRandom | Kdf.Kdf

export interface StackOptions<VerifierId> {
  readonly times?: Session.LayerOptions
  readonly backend?: Layer.Layer<SessionBackend.SessionBackend>
  readonly verifier?: Layer.Layer<VerifierId>
  readonly keys?: Layer.Layer<SessionKeys.SessionKeys, SessionConfigError>
  readonly crypto?: Layer.Layer<Crypto>
}

/** A definition's manager over Node's crypto and the memory backend, all parts at hand. */
export const stackOf = <Self, A, R extends ReadonlyArray<Session.Tagged>>(
  definition: Session.Definition<Self, A, R>,
  options: StackOptions<Session.VerifierOf<Self>> = {}
) =>
  definition
    .layerManager(options.times)
    .pipe(
      Layer.provideMerge(
        Layer.mergeAll(
          options.backend ?? Layer.fresh(SessionBackendMemory.layer),
          options.verifier ?? SessionVerifier.layerExists(definition),
          options.keys ?? keysOf(secretA),
          options.crypto ?? NodeCrypto.layer
        )
      )
    )

/** The memory backend, with some operations replaced. */
export const backendWith = (
  change: (memory: Backend) => Partial<Backend>,
  options?: SessionBackendMemory.SessionBackendMemoryOptions
): Layer.Layer<SessionBackend.SessionBackend> =>
  Layer.effect(
    SessionBackend.SessionBackend,
    Effect.map(SessionBackend.SessionBackend, (memory) => ({ ...memory, ...change(memory) }))
  ).pipe(Layer.provide(Layer.orDie(SessionBackendMemory.layerWith(options))))

export interface Call {
  readonly operation: SessionBackend.Operation
  readonly args: ReadonlyArray<unknown>
}

const operations = [
  "create",
  "read",
  "update",
  "touch",
  "delete",
  "deleteByPrincipal",
  "listByPrincipal",
  "deleteExpired"
] as const satisfies ReadonlyArray<SessionBackend.Operation>

/** Runs `around` about every operation. */
export const around = (
  backend: Backend,
  wrap: <A>(
    operation: SessionBackend.Operation,
    run: Effect.Effect<A, SessionBackend.SessionBackendError>,
    args: ReadonlyArray<unknown>
  ) => Effect.Effect<A, SessionBackend.SessionBackendError>
): Backend => {
  const wrapped: Record<string, unknown> = {}
  for (const operation of operations) {
    // One wrapper for eight signatures: what goes in and comes out is passed on as it is.
    const original = backend[operation] as (
      ...args: ReadonlyArray<unknown>
    ) => Effect.Effect<unknown, SessionBackend.SessionBackendError>
    wrapped[operation] = (...args: ReadonlyArray<unknown>) =>
      wrap(
        operation,
        Effect.suspend(() => original(...args)),
        args
      )
  }
  return { ...backend, ...wrapped }
}

/** The memory backend, writing down every call. */
export const watched = (calls: Array<Call>, options?: SessionBackendMemory.SessionBackendMemoryOptions) =>
  backendWith(
    (memory) =>
      around(memory, (operation, run, args) =>
        Effect.suspend(() => {
          calls.push({ operation, args })
          return run
        })
      ),
    options
  )

export const countOf = (calls: ReadonlyArray<Call>, operation: SessionBackend.Operation) =>
  calls.filter((call) => call.operation === operation).length

/** Makes and checks a definition's tokens with the keys in context, as somebody who had stolen them could. */
export const tokensOf = (definition: { readonly key: string }) =>
  Effect.map(
    SessionKeys.SessionKeys.use((keys) => keys.signers(SessionToken.purpose(definition.key))),
    SessionToken.make
  )

/** The id of a session definition's record, as the backend holds it now. */
export const stored = (definition: { readonly key: string }, id: string) =>
  SessionBackend.SessionBackend.use((backend) => backend.read(definition.key, id))

export const recordOf = (definition: { readonly key: string }, id: string) =>
  Effect.flatMap(stored(definition, id), Effect.fromOption)

/** What an effect failed with, as one word: an error's tag and reason, `died`, `interrupted` or `ok`. */
export const outcome = <A, E, R>(effect: Effect.Effect<A, E, R>): Effect.Effect<string, never, R> =>
  Effect.map(Effect.exit(effect), wordOf)

export const wordOf = (exit: Exit.Exit<unknown, unknown>): string => {
  if (Exit.isSuccess(exit)) return "ok"
  const error = Option.getOrUndefined(Cause.findErrorOption(exit.cause))
  if (typeof error === "object" && error !== null && "_tag" in error) {
    const detail = "reason" in error ? error.reason : "outcome" in error ? error.outcome : undefined
    return detail === undefined ? String(error._tag) : `${String(error._tag)} ${String(detail)}`
  }
  return Cause.hasInterrupts(exit.cause) && !Cause.hasDies(exit.cause) ? "interrupted" : "died"
}

/** Gathers every log line, of every level, as the text of its message and its annotations. */
export const capturing = (lines: Array<string>) =>
  Layer.merge(
    Logger.layer([
      Logger.map(Logger.formatStructured, (entry) => {
        lines.push(JSON.stringify(entry))
      }),
      Logger.map(Logger.formatLogFmt, (line) => {
        lines.push(line)
      })
    ]),
    Layer.succeed(References.MinimumLogLevel, "Trace")
  )

export const silent = Logger.layer([])

export const token = (text: string) => Redacted.make(text)
