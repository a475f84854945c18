/**
 * Session definitions, and the session a handler holds.
 *
 * A definition is a class made with `Service`: an identifier, a schema for the data, and optionally who is logged in
 * and how its verifier refuses. The class is itself the service of the request's session. Its frontend, backend and
 * verifier belong to its identifier, so one application may have several definitions.
 *
 * **Example** (Defining a session)
 *
 * ```ts
 * import { Effect, Schema } from "effect"
 * import { Session } from "effect-sessions"
 *
 * class UserSession extends Session.Service<UserSession>()("app/UserSession", {
 *   data: Schema.Struct({ username: Schema.String }),
 *   principal: (data) => data.username
 * }) {}
 *
 * // In a handler: the request's session, read when it is first asked for.
 * const greeting = Effect.gen(function*() {
 *   const session = yield* UserSession
 *   const { data } = yield* session.get
 *   return `hello ${data.username}`
 * })
 * ```
 *
 * @stability unstable
 * @since 0.1.0
 */

import * as Context from "effect/Context"
import type * as Digest from "effect/crypto/Digest"
import type * as Mac from "effect/crypto/Mac"
import type * as SecureRandom from "effect/crypto/SecureRandom"
import type * as Effect from "effect/Effect"
import type { HttpServerRequest } from "effect/http/HttpServerRequest"
import type * as Option from "effect/Option"
import * as Schema from "effect/Schema"
import type { SessionManager, Verifier } from "./internal/session/manager.ts"
import type { ClientInfo, CreateOptions, Session, Tagged, Unauthenticated } from "./internal/session/models.ts"
import type { RequestSession } from "./internal/session/requestSession.ts"
import type { SessionBackend } from "./SessionBackend.ts"
import {
  SessionConflict,
  SessionCrossOrigin,
  SessionInvalid,
  SessionMissing,
  SessionRefused,
  SessionUnavailable
} from "./SessionError.ts"
import type { SessionStale } from "./SessionError.ts"
import type { SessionFrontend } from "./SessionFrontend.ts"
import type { SessionKeys } from "./SessionKeys.ts"

export type { ConfigOptions } from "./internal/session/configured.ts"
export * from "./internal/session/models.ts"
export type * from "./internal/session/events.ts"
export type * from "./internal/session/manager.ts"
export type * from "./internal/session/requestSession.ts"

/**
 * Identifies a definition's verified session in `R`.
 *
 * @stability unstable
 * @category utility types
 * @since 0.1.0
 */
export interface VerifiedOf<Self> {
  readonly "~effect-sessions/Session/Verified": Self
}

/**
 * Identifies a definition's verifier in `R`.
 *
 * @stability unstable
 * @category utility types
 * @since 0.1.0
 */
export interface VerifierOf<Self> {
  readonly "~effect-sessions/Session/Verifier": Self
}

/**
 * Identifies a definition's manager in `R`.
 *
 * @stability unstable
 * @category utility types
 * @since 0.1.0
 */
export interface ManagerOf<Self> {
  readonly "~effect-sessions/Session/Manager": Self
}

/**
 * Identifies a definition's frontend in `R`.
 *
 * @stability unstable
 * @category utility types
 * @since 0.1.0
 */
export interface FrontendOf<Self> {
  readonly "~effect-sessions/Session/Frontend": Self
}

/**
 * What `SessionMiddleware.layer` provides and the middlewares ask for: this definition's manager and its frontend.
 *
 * @stability unstable
 * @category utility types
 * @since 0.1.0
 */
export type Bound<Self> = ManagerOf<Self> | FrontendOf<Self>

/**
 * The services that every manager needs.
 *
 * @stability unstable
 * @category utility types
 * @since 0.1.0
 */
export type Core = SessionBackend | SessionKeys | Mac.Mac | Digest.Digest | SecureRandom.SecureRandom

/**
 * What a `Clear-Site-Data` header may name.
 *
 * @stability unstable
 * @category models
 * @since 0.1.0
 */
export type SiteData =
  | "cache"
  | "clientHints"
  | "cookies"
  | "executionContexts"
  | "prefetchCache"
  | "prerenderCache"
  | "storage"
  | "*"

/**
 * A frontend bound to a definition, with what `SessionMiddleware.layer` was told of its requests.
 *
 * @stability unstable
 * @category models
 * @since 0.1.0
 */
export interface BoundFrontend<A> extends AnyFrontend {
  /** What a list of devices shows of a request's client. */
  readonly client?: ((request: HttpServerRequest) => ClientInfo) | undefined
  /** The session of another library that a request carries, which becomes one of ours. */
  readonly adopt?:
    | ((request: HttpServerRequest) => Effect.Effect<Option.Option<Adopted<A>>, SessionUnavailable>)
    | undefined
  /** Is told of requests that are refused without the manager, where `onEvent` is. */
  readonly onRefused?: ((error: Unauthenticated | SessionStale | SessionCrossOrigin) => Effect.Effect<void>) | undefined
  /** What a log-out takes from the browser besides its cookie. */
  readonly clearSiteData?: ReadonlyArray<SiteData> | false | undefined
}

// An interface cannot extend an indexed type by itself.
type AnyFrontend = SessionFrontend["Service"]

/**
 * What the session of another library becomes.
 *
 * @stability unstable
 * @category models
 * @since 0.1.0
 */
export interface Adopted<A> {
  readonly data: A
  /**
   * The id of the old session. With it the session is made once: requests at once get the same one, and so does one that
   * comes again because its answer was lost; whatever has ended it, it is not made again. It names one old session alone, and
   * an empty one is a defect. Without it `adopt` must take the old session away as it reads it.
   */
  readonly from?: string | undefined
  /** Without `authenticatedAt` the user counts as one who has not proved who they are: no `fresh` lets them through. */
  readonly options?: CreateOptions | undefined
}

/**
 * A shape that data once had, and how they get the next one.
 *
 * @stability unstable
 * @category models
 * @since 0.1.0
 */
export interface OlderVersion {
  readonly schema: Schema.Decoder<unknown>
  /** Takes what `schema` decodes: `versions` and `to` see to that. */
  readonly up: (before: never) => unknown
}

/**
 * The shapes that a definition's data have had, made with `versions`.
 *
 * @stability unstable
 * @category models
 * @since 0.1.0
 */
export interface Versions<A> {
  /** The number of the newest version. */
  readonly version: number
  /** The schema of the newest version. */
  // As `data` of a definition.
  // oxlint-disable-next-line typescript/no-explicit-any
  readonly schema: Schema.Codec<A, any>
  /** Those before it, one number each, the oldest first. */
  readonly older: ReadonlyArray<OlderVersion>
  /**
   * Adds a version: its schema, and how the data of the version before are brought up to it. Where the schema has mutable
   * arrays, write the type that `up` answers.
   */
  // `const`: without it a literal in what `up` answers is inferred as any string, and a tuple as an array.
  readonly to: <S extends Schema.Codec<unknown, unknown>, const B extends S["Type"]>(
    next: S,
    up: (before: A) => B
  ) => Versions<S["Type"]>
}

const versionsOf = <A, I>(
  schema: Schema.Codec<A, I>,
  version: number,
  older: ReadonlyArray<OlderVersion>
): Versions<A> => ({
  version,
  schema,
  older,
  to: (next, up) => versionsOf(next, version + 1, [...older, { schema, up }])
})

/**
 * Data that change their shape while users are logged in: the first version's schema, and for each later one its schema
 * and a function that brings the data of the version before up to it. It is the `data` of a definition.
 *
 * **Details**
 *
 * - A record is decoded by the schema of the version under which it was written, and brought up on each read. The next
 *   change of its data writes it in the newest version; a read writes nothing.
 * - What a function answers is checked by the schema of its version, and must be data that can be stored. If it is not, if
 *   the function throws, or if the record is older than the first version, the session is refused as one whose data do
 *   not decode: `SessionInvalid` with the reason `"Data"`, and a log line that names the step.
 * - `version` is the first version's number, 1 by default: a whole number from 1. A definition that had `dataVersion: 4`
 *   and one schema goes on with `version: 4`.
 *
 * **Gotchas**
 *
 * - A server that does not know of a version yet reads its data only if its own schema decodes them, and answers its
 *   changes with `SessionConflict`. For a deploy in which both versions run, let the new schema keep the fields that
 *   the old one needs, and drop them in a later version; otherwise the old servers answer 401 to sessions that the new
 *   ones have changed.
 * - The functions must not change who the user is: a session's principal never changes, and one whose data say another
 *   cannot be changed.
 * - Change no schema of a version that is out. The first one is needed until the absolute timeout has passed since the last
 *   server that wrote it stopped; from then on the chain may begin with `versions(V2, { version: 2 })`.
 *
 * **Example** (Splitting a name in two)
 *
 * ```ts
 * import { Schema } from "effect"
 * import { Session } from "effect-sessions"
 *
 * const V1 = Schema.Struct({ id: Schema.String, name: Schema.String })
 * const V2 = Schema.Struct({ id: Schema.String, first: Schema.String, last: Schema.String })
 *
 * class UserSession extends Session.Service<UserSession>()("app/UserSession", {
 *   data: Session.versions(V1).to(V2, ({ id, name }) => {
 *     const [first = "", ...rest] = name.split(" ")
 *     return { id, first, last: rest.join(" ") }
 *   }),
 *   principal: (data) => data.id
 * }) {}
 * ```
 *
 * @stability unstable
 * @category constructors
 * @since 0.1.0
 */
export const versions = <A, I>(
  first: Schema.Codec<A, I>,
  options?: {
    /** @default 1 */
    readonly version?: number | undefined
  }
): Versions<A> => versionsOf(first, options?.version ?? 1, [])

/**
 * A session definition, made with `Service`: the service of the request's session, with the keys of the services that
 * belong to it.
 *
 * @stability unstable
 * @category models
 * @since 0.1.0
 */
export interface Definition<Self, A, R extends ReadonlyArray<Tagged>> extends Context.Service<
  Self,
  RequestSession<A, R>
> {
  // The library never names the encoded side of the schema, and `unknown` would not infer.
  // oxlint-disable-next-line typescript/no-explicit-any
  readonly data: Schema.Codec<A, any>
  readonly dataVersion: number
  /** The versions of data that have changed their shape; `data` and `dataVersion` are of the newest. */
  readonly versions: Versions<A> | undefined
  readonly refused: R
  readonly principal: ((data: A) => string | undefined) | undefined
  /** The session a guard has verified. Cannot fail; a snapshot of when the guard ran. */
  readonly Verified: Context.Service<VerifiedOf<Self>, Session<A>>
  readonly Verifier: Context.Service<VerifierOf<Self>, Verifier<A, R>>
  readonly Manager: Context.Service<ManagerOf<Self>, SessionManager<A, R>>
  readonly Frontend: Context.Service<FrontendOf<Self>, BoundFrontend<A>>
}

/**
 * The class that `Service` returns. Its key, the identifier, is the namespace of its records and the audience of its
 * tokens.
 *
 * @stability unstable
 * @category models
 * @since 0.1.0
 */
export interface ServiceClass<Self, Id extends string, A, R extends ReadonlyArray<Tagged>>
  extends
    Context.ServiceClass<Self, Id, RequestSession<A, R>>,
    Omit<Definition<Self, A, R>, keyof Context.Service<Self, RequestSession<A, R>>> {}

type Refused<X> =
  X extends ReadonlyArray<Tagged> ? X : X extends Tagged ? readonly [X] : readonly [typeof SessionRefused]

/**
 * What a guard of this session provides: the request's session, and the verified one.
 *
 * @stability unstable
 * @category utility types
 * @since 0.1.0
 */
export type Provided<S> =
  // Only `Self` is of use; the other parameters may be anything.
  S extends Definition<infer Self, infer _A, infer _R> ? Self | VerifiedOf<Self> : never

/** What the compiler shows where a definition is not told its own class. */
type MissingSelf = "Missing `Self` generic - use `class Self extends Session.Service<Self>()(...)`"

/**
 * Defines a session.
 *
 * **Details**
 *
 * - `data`: a schema without services, which encodes to plain JSON; it is decoded on every read. Under `Schema.Any` a
 *   `Date`, a `Map`, an instance of a class, a function, a bigint or `NaN` is a `SessionDataError`, and a property that is
 *   `undefined` is left out. A schema such as `Schema.Date` encodes its values.
 * - `principal`: the user who is logged in, from the data: 1 to 256 bytes. With it a guard refuses anonymous sessions;
 *   without it `list` and the `revoke` operations fail with `SessionMissing`.
 * - `refused`: the verifier's own error or errors, `Schema.TaggedError`s with an `httpApiStatus`; `SessionRefused`
 *   without.
 * - `dataVersion`: raise it when a change of the schema would make an older server, still running, write back data
 *   with fields lost: it then reads such sessions but fails to update them (`SessionConflict`). A whole number from 1,
 *   which is the default. `Session.versions` gives each shape of the data its own, for data that the newest schema alone
 *   does not decode.
 *
 * @stability unstable
 * @category constructors
 * @since 0.1.0
 */
export const Service =
  <Self = never>() =>
  <const Id extends string, A, I, const X extends Tagged | ReadonlyArray<Tagged> | undefined = undefined>(
    id: Id,
    options: {
      readonly refused?: X
      readonly principal?: ((data: A) => string | undefined) | undefined
    } & (
      | { readonly data: Schema.Codec<A, I>; readonly dataVersion?: number | undefined }
      | { readonly data: Versions<A>; readonly dataVersion?: undefined }
    )
  ): [Self] extends [never] ? MissingSelf : ServiceClass<Self, Id, A, Refused<X>> => {
    type R = Refused<X>
    const { data, dataVersion = 1, refused } = options
    const versions = Schema.isSchema(data) ? undefined : data
    class Class extends Context.Service<Self, RequestSession<A, R>>()(id) {
      static readonly data = Schema.isSchema(data) ? data : data.schema
      static readonly dataVersion = versions?.version ?? dataVersion
      static readonly versions = versions
      // The same distinction as `Refused` makes for types.
      static readonly refused = (refused === undefined
        ? [SessionRefused]
        : Array.isArray(refused)
          ? refused
          : [refused]) as ReadonlyArray<Tagged> as R
      static readonly principal = options.principal
      static readonly Verified = Context.Service<VerifiedOf<Self>, Session<A>>(`${id}/Verified`)
      static readonly Verifier = Context.Service<VerifierOf<Self>, Verifier<A, R>>(`${id}/Verifier`)
      static readonly Manager = Context.Service<ManagerOf<Self>, SessionManager<A, R>>(`${id}/Manager`)
      static readonly Frontend = Context.Service<FrontendOf<Self>, BoundFrontend<A>>(`${id}/Frontend`)
    }
    // Whether `Self` is there is known where it is called.
    return Class as ServiceClass<Self, Id, A, R> as never
  }

/**
 * The type of `errors`.
 *
 * @stability unstable
 * @category utility types
 * @since 0.1.0
 */
export type Errors<R extends ReadonlyArray<Tagged>> = readonly [
  typeof SessionMissing,
  typeof SessionInvalid,
  ...R,
  typeof SessionCrossOrigin,
  typeof SessionConflict,
  typeof SessionUnavailable
]

/**
 * All errors a guarded route can answer with, for the `error` of an `HttpApiMiddleware`.
 *
 * @stability unstable
 * @category accessors
 * @since 0.1.0
 */
export const errors = <Self, A, R extends ReadonlyArray<Tagged>>(session: Definition<Self, A, R>): Errors<R> => [
  SessionMissing,
  SessionInvalid,
  ...session.refused,
  SessionCrossOrigin,
  SessionConflict,
  SessionUnavailable
]
