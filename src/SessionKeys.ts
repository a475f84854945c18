/**
 * The key ring: the secrets from which the keys that sign tokens are derived.
 *
 * **When to use**
 *
 * Use `layerConfig` in an application, with the secret in its environment, and `layer` where you already hold it.
 *
 * **Details**
 *
 * The first secret signs, all verify. For each session definition a key of its own is derived (HKDF-SHA-256), so a
 * token of one definition is not accepted by another. To retire a secret without logging users out: deploy `[old, new]`
 * everywhere, then `[new, old]`, then, once the absolute timeout has passed, `[new]`.
 *
 * Make a secret with `openssl rand -base64 32`; `openssl rand -hex 16` is enough. It has at least 32 bytes (ASVS 11.2.3),
 * and is used as text, without decoding. Words, placeholders, repetitions, sequences, UUIDs and the published key of the
 * test kit are refused.
 *
 * @stability unstable
 * @since 0.1.0
 */

import type * as Config from "effect/Config"
import * as Context from "effect/Context"
import type * as Kdf from "effect/crypto/Kdf"
import type * as Mac from "effect/crypto/Mac"
import * as Effect from "effect/Effect"
import type * as Layer from "effect/Layer"
import * as Redacted from "effect/Redacted"
import * as SchemaIssue from "effect/SchemaIssue"
import * as Registry from "./internal/registry.ts"
import * as KeyRing from "./internal/token/keyRing.ts"
import { weakness } from "./internal/token/secretStrength.ts"
import type { Signers } from "./internal/token/token.ts"
import { SessionConfigError } from "./SessionError.ts"

/**
 * The key ring. It holds its secrets in closures, where no log or inspection sees them.
 *
 * @stability unstable
 * @category services
 * @since 0.1.0
 */
export class SessionKeys extends Context.Service<
  SessionKeys,
  {
    /** The ring's keys for a purpose, the one that signs first. */
    readonly signers: (purpose: string) => Effect.Effect<Signers, never, Mac.Mac>
  }
>()("effect-sessions/SessionKeys") {}

/** More than any rotation needs. */
const maxSecrets = 8

const howToMakeOne = "make one with: openssl rand -base64 32"

const issuesOf = SchemaIssue.makeFormatterStandardSchemaV1()

/** The variables that are missing or unreadable, and what else a schema says of them. Never a value. */
const notConfigured = (issue: SchemaIssue.Issue): string => {
  const { issues } = issuesOf(issue)
  // A list is read from variables of its own, one an item.
  const variables = new Set(issues.map(({ path }) => (path ?? []).join("_")))
  const rules = new Set(issues.map(({ message }) => message))
  // What it says of a variable that is not set.
  rules.delete("Expected string")
  const rule = rules.size === 0 ? "" : ` (${[...rules].join(", ").replaceAll(/\s*\n\s*/g, " ")})`
  return `the session secret is not configured: set ${[...variables].join(", ")}${rule}; ${howToMakeOne}`
}

const problemsOf = (secrets: ReadonlyArray<string>): ReadonlyArray<string> => {
  const problems: Array<string> = []
  const name = (i: number) =>
    secrets.length === 1 ? "the session secret" : `session secret ${i + 1} of ${secrets.length}`
  if (secrets.length === 0) problems.push(`no session secret is given; ${howToMakeOne}`)
  if (secrets.length > maxSecrets) {
    problems.push(`${secrets.length} session secrets are given; at most ${maxSecrets} may be`)
  }
  secrets.forEach((secret, i) => {
    const weak = weakness(secret)
    if (weak !== undefined) problems.push(`${name(i)} ${weak}; ${howToMakeOne}`)
    if (secrets.indexOf(secret) < i) problems.push(`${name(i)} repeats an earlier one`)
  })
  return problems
}

const failed = (problems: ReadonlyArray<string>): Effect.Effect<never, SessionConfigError> =>
  Effect.fail(new SessionConfigError({ layers: ["SessionKeys"], problems }))

/**
 * Makes a key ring from one secret or several. Fails with a `SessionConfigError` that lists every secret that is too short,
 * too weak, published or given twice.
 *
 * @stability experimental
 * @category constructors
 * @since 0.1.0
 */
export const make = (
  secrets: Redacted.Redacted | ReadonlyArray<Redacted.Redacted>
): Effect.Effect<SessionKeys["Service"], SessionConfigError, Kdf.Kdf> =>
  Effect.suspend(() => {
    const texts = (Redacted.isRedacted(secrets) ? [secrets] : secrets).map(Redacted.value)
    const problems = problemsOf(texts)
    if (problems.length > 0) return failed(problems)
    return Effect.map(KeyRing.make(texts), (signers) => SessionKeys.of({ signers }))
  })

/**
 * Layer of the key ring from one secret or several: `make`.
 *
 * @stability unstable
 * @category layers
 * @since 0.1.0
 */
export const layer = (
  secrets: Redacted.Redacted | readonly [Redacted.Redacted, ...ReadonlyArray<Redacted.Redacted>]
): Layer.Layer<SessionKeys, SessionConfigError, Kdf.Kdf> => Registry.effect(SessionKeys, make(secrets))

/**
 * Layer of the key ring from configuration: one secret or several. Fails with a `SessionConfigError` where a secret is
 * missing or weak; none is generated instead.
 *
 * **Example** (Reading the secret from the environment)
 *
 * ```ts
 * import { Config } from "effect"
 * import { SessionKeys } from "effect-sessions"
 *
 * const Keys = SessionKeys.layerConfig(Config.Redacted("SESSION_SECRET"))
 * ```
 *
 * @stability unstable
 * @category layers
 * @since 0.1.0
 */
export const layerConfig = (
  secrets: Config.Config<Redacted.Redacted | ReadonlyArray<Redacted.Redacted>>
): Layer.Layer<SessionKeys, SessionConfigError | Config.ConfigError, Kdf.Kdf> =>
  Registry.effect(
    SessionKeys,
    Effect.matchEffect(secrets, {
      // A schema error names the variable and never its value; other failures are the provider's own.
      onFailure: (error): Effect.Effect<never, SessionConfigError | Config.ConfigError> =>
        error.cause._tag === "SchemaError" ? failed([notConfigured(error.cause.issue)]) : Effect.fail(error),
      onSuccess: make
    })
  )
