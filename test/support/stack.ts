/**
 * The stack under test: a definition's manager, alone or with a frontend, over parts of which a test gives those it is
 * about. No other test file builds these layers, but for the tests of the layers themselves.
 */
import { NodeCrypto } from "@effect/platform-node"
import type * as Digest from "effect/crypto/Digest"
import type * as Kdf from "effect/crypto/Kdf"
import type * as Mac from "effect/crypto/Mac"
import type * as SecureRandom from "effect/crypto/SecureRandom"
import * as ConfigProvider from "effect/ConfigProvider"
import * as Effect from "effect/Effect"
import * as Layer from "effect/Layer"
import * as Redacted from "effect/Redacted"
import type * as Session from "../../src/Session.ts"
import * as SessionMiddleware from "../../src/SessionMiddleware.ts"
import * as SessionManager from "../../src/SessionManager.ts"
import * as SessionBackend from "../../src/SessionBackend.ts"
import * as SessionBackendMemory from "../../src/SessionBackendMemory.ts"
import type { SessionConfigError } from "../../src/SessionError.ts"
import * as SessionFrontend from "../../src/SessionFrontend.ts"
import * as SessionKeys from "../../src/SessionKeys.ts"
import * as SessionVerifier from "../../src/SessionVerifier.ts"
import * as SessionTest from "../../src/testing/SessionTest.ts"
import { secretA } from "./userSession.ts"

export type Backend = SessionBackend.SessionBackend["Service"]
export type Crypto = Mac.Mac | Digest.Digest | SecureRandom.SecureRandom | Kdf.Kdf

/** Each part has a default: memory, every live session accepted, one secret, the crypto below, the library's times. */
export interface Parts<Self> extends Session.LayerOptions {
  readonly backend?: Layer.Layer<SessionBackend.SessionBackend> | undefined
  readonly verifier?: Layer.Layer<Session.VerifierOf<Self>> | undefined
  readonly keys?: Layer.Layer<SessionKeys.SessionKeys, SessionConfigError> | undefined
  readonly crypto?: Layer.Layer<Crypto> | undefined
}

export interface HttpParts<Self> extends Parts<Self>, Pick<SessionMiddleware.HttpOptions<never, []>, "clearSiteData"> {
  readonly frontend?: Layer.Layer<SessionFrontend.SessionFrontend, SessionConfigError> | undefined
}

/**
 * Node's crypto over random bytes that are the same in every run. Two stacks on one backend draw the same ids: where
 * both create sessions, give them `NodeCrypto.layer`.
 */
export const layerCrypto = Layer.merge(NodeCrypto.layer, SessionTest.layerSecureRandom)

export const layerKeys = (...secrets: readonly [string, ...ReadonlyArray<string>]) => {
  const [first, ...rest] = secrets
  return SessionKeys.layer([Redacted.make(first), ...rest.map((secret) => Redacted.make(secret))]).pipe(
    Layer.provide(NodeCrypto.layer)
  )
}

export const layerMemory = (options?: SessionBackendMemory.SessionBackendMemoryOptions) =>
  Layer.fresh(Layer.orDie(SessionBackendMemory.layerWith(options)))

/** The service of the memory backend, where a test makes a backend of its own out of it. */
export const memory = (options?: SessionBackendMemory.SessionBackendMemoryOptions): Backend =>
  Effect.runSync(
    SessionBackend.SessionBackend.pipe(
      Effect.provide(layerMemory(options)),
      // It looks for `NODE_ENV`, and reading a whole environment takes a millisecond: long for a test of 10,000 stores.
      Effect.provideService(ConfigProvider.ConfigProvider, ConfigProvider.fromUnknown({}))
    )
  )

/** All a manager is made of. */
export const parts = <Self, A, R extends ReadonlyArray<Session.Tagged>>(
  definition: Session.Definition<Self, A, R>,
  given: Parts<Self> = {}
) =>
  Layer.mergeAll(
    given.backend ?? layerMemory(),
    given.verifier ?? SessionVerifier.layerExists(definition),
    given.keys ?? layerKeys(secretA),
    given.crypto ?? layerCrypto
  )

/** The manager alone, of the parts in context: for tests that make thousands on the same ones. */
export const managerInContext = <Self, A, R extends ReadonlyArray<Session.Tagged>>(
  definition: Session.Definition<Self, A, R>,
  options: Session.LayerOptions = {}
) => SessionManager.layer(definition, options)

/** A definition's manager; its parts are at hand as well. */
export const manager = <Self, A, R extends ReadonlyArray<Session.Tagged>>(
  definition: Session.Definition<Self, A, R>,
  given: Parts<Self> & Told<NoInfer<A>, NoInfer<R>> = {}
) => SessionManager.layer(definition, given).pipe(Layer.provideMerge(parts(definition, given)))

/** The handler of a definition's events, and what spans say. */
export interface Told<A, R extends ReadonlyArray<Session.Tagged>> {
  readonly onEvent?: Session.ManagerOptions<A, R>["onEvent"]
  readonly spanAttributes?: Session.ManagerOptions<A, R>["spanAttributes"]
}

/** What the middlewares ask for: the manager, and a frontend, by default the cookie. The parts are at hand as well. */
export const http = <Self, A, R extends ReadonlyArray<Session.Tagged>>(
  definition: Session.Definition<Self, A, R>,
  given: HttpParts<Self> & Told<NoInfer<A>, NoInfer<R>> = {}
) =>
  SessionMiddleware.layer(definition, given).pipe(
    Layer.provideMerge([parts(definition, given), given.frontend ?? SessionFrontend.layerCookie()])
  )
