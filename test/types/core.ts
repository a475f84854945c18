// The exact types of what users write against. Compiled by `tsc -p .`, never run.
import * as Context from "effect/Context"
import type * as Digest from "effect/crypto/Digest"
import type * as Mac from "effect/crypto/Mac"
import type * as SecureRandom from "effect/crypto/SecureRandom"
import type * as DateTime from "effect/DateTime"
import * as Effect from "effect/Effect"
import * as Layer from "effect/Layer"
import * as Option from "effect/Option"
import type * as Redacted from "effect/Redacted"
import * as Schema from "effect/Schema"
import {
  Session,
  SessionAdmin,
  SessionBackendMemory,
  SessionFrontend,
  SessionManager,
  SessionMiddleware,
  SessionVerifier
} from "effect-sessions"
import { SessionTest } from "effect-sessions/testing"
// @ts-expect-error the main entry has no test kit
export type { SessionTest as NotInMain } from "effect-sessions"
import type { SessionBackend, SessionError, SessionKeys } from "effect-sessions"

/** Whether two types are the same type, told apart where one is merely assignable to the other, and from `any`. */
type Equal<X, Y> = (<T>() => T extends X ? 1 : 2) extends <T>() => T extends Y ? 1 : 2 ? true : false
const same = <X, Y>(proof: Equal<X, Y>): void => void proof

// `Equal` can tell.
// @ts-expect-error a union is not one of its members
same<string, string | number>(true)
// @ts-expect-error any is not unknown
same<any, unknown>(true)

interface Data {
  readonly username: string
}
class Suspended extends Schema.TaggedError<Suspended>()(
  "Suspended",
  { until: Schema.String },
  { httpApiStatus: 403 }
) {}
class Locked extends Schema.TaggedError<Locked>()("Locked", {}, { httpApiStatus: 403 }) {}
const data = Schema.Struct({ username: Schema.String })
class Plain extends Session.Service<Plain>()("types/Plain", { data }) {}
class One extends Session.Service<One>()("types/One", { data, refused: Suspended, principal: (d) => d.username }) {}
class Two extends Session.Service<Two>()("types/Two", { data, refused: [Suspended, Locked] }) {}

type E<X> = X extends Effect.Effect<any, infer E, any> ? E : never
type A<X> = X extends Effect.Effect<infer A, any, any> ? A : never
type R<X> = X extends Effect.Effect<any, any, infer R> ? R : never

type Missing = SessionError.SessionMissing
type Invalid = SessionError.SessionInvalid
type Refused = SessionError.SessionRefused
type Stale = SessionError.SessionStale
type Conflict = SessionError.SessionConflict
type Unavailable = SessionError.SessionUnavailable
type Loaded = Missing | Invalid | Unavailable
type Changed = Loaded | Conflict

// -----------------------------------------------------------------------------
// The request's session
// -----------------------------------------------------------------------------

type Request<S extends Context.Key<any, any>> = S extends Context.Key<any, infer Shape> ? Shape : never
type P = Request<typeof Plain>
type O = Request<typeof One>
type T = Request<typeof Two>

same<P, Session.RequestSession<Data, readonly [typeof SessionError.SessionRefused]>>(true)
same<O, Session.RequestSession<Data, readonly [typeof Suspended]>>(true)
same<T, Session.RequestSession<Data, readonly [typeof Suspended, typeof Locked]>>(true)
same<
  keyof P,
  | "get"
  | "option"
  | "create"
  | "reauthenticate"
  | "fresh"
  | "describe"
  | "update"
  | "modify"
  | "replace"
  | "rotate"
  | "destroy"
  | "list"
  | "revoke"
  | "revokeOthers"
  | "revokeAll"
  | "ended"
>(true)

same<P["ended"], Effect.Effect<Session.Unauthenticated | Refused>>(true)
same<P["get"], Effect.Effect<Session.Session<Data>, Loaded | Refused>>(true)
same<O["get"], Effect.Effect<Session.Session<Data>, Loaded | Suspended>>(true)
same<T["get"], Effect.Effect<Session.Session<Data>, Loaded | Suspended | Locked>>(true)
same<P["option"], Effect.Effect<Option.Option<Session.Session<Data>>, Unavailable>>(true)
same<
  P["create"],
  {
    (
      data: (before: Option.Option<Data>) => Data,
      options?: Session.CreateOptions
    ): Effect.Effect<Session.Session<Data>, Invalid | Conflict | Unavailable>
    (data: Data, options?: Session.CreateOptions): Effect.Effect<Session.Session<Data>, Invalid | Unavailable>
  }
>(true)
same<
  P["reauthenticate"],
  (options?: {
    readonly methods?: ReadonlyArray<string> | undefined
  }) => Effect.Effect<Session.Session<Data>, Changed | Refused>
>(true)
same<P["fresh"], (options: Session.Fresh) => Effect.Effect<Session.Session<Data>, Loaded | Refused | Stale>>(true)
same<Effect.Error<ReturnType<O["fresh"]>>, Loaded | Suspended | Stale>(true)
same<P["describe"], (client: Session.ClientInfo) => Effect.Effect<Session.Session<Data>, Changed | Refused>>(true)

// What a session shows besides its data, and what may be said of a new one.
same<
  Exclude<keyof Session.SessionInfo<Data>, "id" | "data" | "principal" | "version">,
  | "createdAt"
  | "authenticatedAt"
  | "factors"
  | "lastSeenAt"
  | "idleTimeout"
  | "absoluteExpiresAt"
  | "expiresAt"
  | "persistent"
  | "client"
>(true)
same<Session.SessionInfo<Data>["factors"], ReadonlyArray<Session.Factor>>(true)
same<Session.Factor["at"], DateTime.Utc>(true)
same<
  keyof Session.CreateOptions,
  "idleTimeout" | "absoluteTimeout" | "cookie" | "methods" | "authenticatedAt" | "client" | "began"
>(true)
same<Session.CreateOptions["began"], DateTime.Utc | bigint | undefined>(true)
same<
  Parameters<typeof SessionTest.layerVerified<Plain, Data, typeof Plain.refused>>[2],
  Partial<Omit<Session.SessionInfo<Data>, "data">> | undefined
>(true)

// What a call with data cannot fail with is not in its type; a function may meet data of a newer version.
declare const handle: P
declare const visitor: Data
same<Effect.Error<ReturnType<typeof withData>>, Invalid | Unavailable>(true)
const withData = () => handle.create(visitor)
same<Effect.Error<ReturnType<typeof withFunction>>, Invalid | Conflict | Unavailable>(true)
const withFunction = () => handle.create((before) => Option.getOrElse(before, () => visitor), { methods: ["pwd"] })
// @ts-expect-error: a log-in cannot be made from a promise.
const withPromise = () => handle.create(async () => visitor)
void withPromise
// @ts-expect-error: what is not asked for within a time is not fresh.
const withoutTime = () => handle.fresh({ methods: ["otp"] })
void withoutTime

same<P["update"], (f: (data: Data) => Data) => Effect.Effect<Session.Session<Data>, Changed | Refused>>(true)
same<O["update"], (f: (data: Data) => Data) => Effect.Effect<Session.Session<Data>, Changed | Suspended>>(true)
same<P["modify"], <B>(f: (data: Data) => readonly [B, Data]) => Effect.Effect<B, Changed | Refused>>(true)
same<P["replace"], (data: Data) => Effect.Effect<Session.Session<Data>, Changed | Refused>>(true)
same<P["rotate"], Effect.Effect<Session.Session<Data>, Changed | Refused>>(true)
same<P["destroy"], Effect.Effect<void, Unavailable>>(true)
same<
  P["list"],
  Effect.Effect<ReadonlyArray<Session.SessionInfo<Data | undefined> & { readonly current: boolean }>, Loaded | Refused>
>(true)
same<P["revoke"], (id: Session.SessionId) => Effect.Effect<boolean, Loaded | Refused>>(true)
same<P["revokeOthers"], Effect.Effect<number, Changed | Refused>>(true)
same<P["revokeAll"], Effect.Effect<number, Loaded | Refused>>(true)
same<E<T["revokeAll"]>, Loaded | Suspended | Locked>(true)

// -----------------------------------------------------------------------------
// The manager
// -----------------------------------------------------------------------------

type M = (typeof Plain.Manager)["Service"]
type MO = (typeof One.Manager)["Service"]
type Token = Redacted.Redacted<string>
type Source = Token | Session.Session<Data>

same<M, SessionManager.SessionManager<Data, readonly [typeof SessionError.SessionRefused]>>(true)
same<
  keyof M,
  | "create"
  | "createFrom"
  | "reauthenticate"
  | "resolve"
  | "get"
  | "describe"
  | "modify"
  | "modifyAll"
  | "replace"
  | "rotate"
  | "destroy"
  | "adopt"
  | "disown"
  | "list"
  | "revoke"
  | "revokeAny"
  | "revokeAll"
  | "ended"
  | "scan"
>(true)
same<
  M["create"],
  (
    data: Data,
    options?: Session.CreateOptions & { readonly replaces?: ReadonlyArray<Token> | undefined }
  ) => Effect.Effect<Session.Session<Data>, Invalid | Unavailable>
>(true)
same<
  M["adopt"],
  (
    from: string,
    data: Data,
    options?: Session.CreateOptions
  ) => Effect.Effect<Session.Session<Data>, Invalid | Refused | Unavailable>
>(true)
same<
  M["disown"],
  (from: string, options?: { readonly except?: Session.SessionId | undefined }) => Effect.Effect<boolean, Unavailable>
>(true)
same<
  M["createFrom"],
  (
    before: Source,
    f: (before: Option.Option<Data>) => Data,
    options?: Session.CreateOptions
  ) => Effect.Effect<Session.Session<Data>, Invalid | Conflict | Unavailable>
>(true)
type LookOptions = {
  readonly touch?: boolean | undefined
  readonly rotate?: boolean | undefined
  readonly arrived?: bigint | undefined
}
same<
  M["resolve"],
  (token: Token, options?: LookOptions) => Effect.Effect<Session.Session<Data>, Invalid | Refused | Unavailable>
>(true)
same<
  MO["resolve"],
  (token: Token, options?: LookOptions) => Effect.Effect<Session.Session<Data>, Invalid | Suspended | Unavailable>
>(true)
same<
  M["get"],
  (id: Session.SessionId) => Effect.Effect<Option.Option<Session.SessionInfo<Data | undefined>>, Unavailable>
>(true)
same<
  M["describe"],
  (
    session: Source,
    client: Session.ClientInfo
  ) => Effect.Effect<Session.Session<Data>, Invalid | Refused | Conflict | Unavailable>
>(true)
same<M["modifyAll"], (principal: string, f: (data: Data) => Data) => Effect.Effect<number, Conflict | Unavailable>>(
  true
)
same<
  M["modify"],
  <B>(
    token: Source,
    f: (data: Data) => readonly [B, Data]
  ) => Effect.Effect<readonly [B, Session.Session<Data>], Invalid | Refused | Conflict | Unavailable>
>(true)
same<
  M["replace"],
  (
    session: Session.Session<Data>,
    data: Data
  ) => Effect.Effect<Session.Session<Data>, Invalid | Refused | Conflict | Unavailable>
>(true)
same<M["rotate"], (token: Source) => Effect.Effect<Session.Session<Data>, Invalid | Refused | Conflict | Unavailable>>(
  true
)
same<
  M["destroy"],
  (
    token: Token,
    options?: { readonly why?: "logout" | "replaced" | "undone" | undefined }
  ) => Effect.Effect<boolean, Unavailable>
>(true)
same<
  M["list"],
  (principal: string) => Effect.Effect<ReadonlyArray<Session.SessionInfo<Data | undefined>>, Unavailable>
>(true)
same<
  M["revoke"],
  (id: Session.SessionId, owner: { readonly principal: string }) => Effect.Effect<boolean, Unavailable>
>(true)
same<M["revokeAny"], (id: Session.SessionId) => Effect.Effect<boolean, Unavailable>>(true)
same<
  M["revokeAll"],
  (
    principal: string,
    options?: {
      readonly except?: Session.SessionId | undefined
      readonly before?: DateTime.Utc | bigint | undefined
    }
  ) => Effect.Effect<number, Unavailable>
>(true)

// -----------------------------------------------------------------------------
// Layers, and what is missing from them
// -----------------------------------------------------------------------------

type Core =
  | SessionBackend.SessionBackend
  | SessionKeys.SessionKeys
  | Mac.Mac
  | Digest.Digest
  | SecureRandom.SecureRandom
const http = SessionMiddleware.layer(One)
const manager = SessionManager.layer(One, { idleTimeout: "1 hour" })
type Http = typeof http
type Manager = typeof manager

same<Layer.Success<Http>, Session.ManagerOf<One> | Session.FrontendOf<One>>(true)
same<Layer.Success<Http>, Session.Bound<One>>(true)
same<Layer.Error<Http>, SessionError.SessionConfigError>(true)
same<Layer.Services<Http>, SessionFrontend.SessionFrontend | Session.VerifierOf<One> | Core>(true)
same<Layer.Success<Manager>, Session.ManagerOf<One>>(true)
same<Layer.Error<Manager>, SessionError.SessionConfigError>(true)
same<Layer.Services<Manager>, Session.VerifierOf<One> | Core>(true)

const left = <Needed>(layer: Layer.Layer<any, any, Needed>): { readonly needed: Needed } => layer as never
const whole = [
  SessionFrontend.layerCookie(),
  SessionBackendMemory.layer,
  SessionVerifier.layerExists(One),
  SessionTest.layerKeys,
  SessionTest.layerCrypto
] as const
const withAll = left(
  SessionMiddleware.layer(One).pipe(Layer.provide([whole[0], whole[1], whole[2], whole[3], whole[4]]))
)
same<(typeof withAll)["needed"], never>(true)
const withoutFrontend = left(SessionMiddleware.layer(One).pipe(Layer.provide([whole[1], whole[2], whole[3], whole[4]])))
same<(typeof withoutFrontend)["needed"], SessionFrontend.SessionFrontend>(true)
const withoutBackend = left(SessionMiddleware.layer(One).pipe(Layer.provide([whole[0], whole[2], whole[3], whole[4]])))
same<(typeof withoutBackend)["needed"], SessionBackend.SessionBackend>(true)
const withoutVerifier = left(SessionMiddleware.layer(One).pipe(Layer.provide([whole[0], whole[1], whole[3], whole[4]])))
same<(typeof withoutVerifier)["needed"], Session.VerifierOf<One>>(true)
const withAnothers = left(
  SessionMiddleware.layer(One).pipe(
    Layer.provide([whole[0], whole[1], SessionVerifier.layerExists(Plain), whole[3], whole[4]])
  )
)
same<(typeof withAnothers)["needed"], Session.VerifierOf<One>>(true)
const withoutKeys = left(SessionMiddleware.layer(One).pipe(Layer.provide([whole[0], whole[1], whole[2], whole[4]])))
same<(typeof withoutKeys)["needed"], SessionKeys.SessionKeys>(true)

// -----------------------------------------------------------------------------
// Events
// -----------------------------------------------------------------------------

type OneEvent = Session.SessionEvent<Data, readonly [typeof Suspended]>
class Audit extends Context.Service<Audit, { readonly write: (event: OneEvent) => Effect.Effect<void> }>()(
  "types/Audit"
) {}

// What the handler needs stands in `R`, until the application provides it.
const audited = SessionMiddleware.layer(One, {
  client: (request) => ({ userAgent: request.headers["user-agent"] }),
  onEvent: (event) => Effect.flatMap(Audit, (audit) => audit.write(event))
}).pipe(Layer.provide([SessionFrontend.layerCookie(), SessionVerifier.layerExists(One)]))
same<typeof audited, Layer.Layer<Session.Bound<One>, SessionError.SessionConfigError, Session.Core | Audit>>(true)
const auditedManager = SessionManager.layer(One, { onEvent: () => Effect.asVoid(Audit) })
same<Layer.Services<typeof auditedManager>, Session.VerifierOf<One> | Core | Audit>(true)
export const auditedMake = SessionManager.make(One, { onEvent: () => Effect.asVoid(Audit) })
same<Extract<R<typeof auditedMake>, Audit>, Audit>(true)
SessionManager.layer(One, { onEvent: () => Effect.void })
// @ts-expect-error it has no failure: it must handle its own
SessionManager.layer(One, { onEvent: () => Effect.fail("down") })
// @ts-expect-error it answers an effect
SessionManager.layer(One, { onEvent: () => undefined })
SessionTest.layer(One, { onEvent: ({ _tag }) => Effect.log(_tag) })
// @ts-expect-error nobody provides it there
SessionTest.layer(One, { onEvent: () => Effect.asVoid(Audit) })

export const narrowed = (event: OneEvent): string => {
  switch (event._tag) {
    case "Created":
    case "Rotated":
    case "Changed":
      same<typeof event.session, Session.SessionInfo<Data>>(true)
      // @ts-expect-error no event has a token
      return String(event.session.token)
    case "Ended":
      same<typeof event.why, "logout" | "revoked" | "replaced" | "limit" | "reused" | "expired" | "undone">(true)
      same<typeof event.id, Session.SessionId>(true)
      same<typeof event.principal, Option.Option<string>>(true)
      return event.why
    case "Refused":
      same<typeof event.error, Missing | Invalid | Suspended | Stale | SessionError.SessionCrossOrigin>(true)
      return event.error._tag
    case "Failed":
      same<typeof event.operation, SessionBackend.Operation>(true)
      same<typeof event.outcome, "notApplied" | "unknown">(true)
      return event.operation
  }
}

// A log-out says why, of three.
export const logsOut = (sessions: Session.SessionManager<Data, readonly []>, token: Redacted.Redacted<string>) => [
  sessions.destroy(token),
  sessions.destroy(token, { why: "replaced" }),
  // @ts-expect-error nobody can say that a session has expired
  sessions.destroy(token, { why: "expired" })
]

export const runs = One.Manager.use((sessions) => sessions.list("ada")).pipe(
  Effect.provide(SessionManager.layer(One).pipe(Layer.provide([whole[1], whole[2], whole[3], whole[4]]))),
  Effect.runPromise
)
export const lacksVerifier = One.Manager.use((sessions) => sessions.list("ada")).pipe(
  Effect.provide(SessionManager.layer(One).pipe(Layer.provide([whole[1], whole[3], whole[4]]))),
  // @ts-expect-error without a verifier it does not run
  Effect.runPromise
)

// -----------------------------------------------------------------------------
// Definitions
// -----------------------------------------------------------------------------

const errorsOfPlain = Session.errors(Plain)
same<
  typeof errorsOfPlain,
  readonly [
    typeof SessionError.SessionMissing,
    typeof SessionError.SessionInvalid,
    typeof SessionError.SessionRefused,
    typeof SessionError.SessionCrossOrigin,
    typeof SessionError.SessionConflict,
    typeof SessionError.SessionUnavailable
  ]
>(true)
const errorsOfTwo = Session.errors(Two)
same<
  typeof errorsOfTwo,
  readonly [
    typeof SessionError.SessionMissing,
    typeof SessionError.SessionInvalid,
    typeof Suspended,
    typeof Locked,
    typeof SessionError.SessionCrossOrigin,
    typeof SessionError.SessionConflict,
    typeof SessionError.SessionUnavailable
  ]
>(true)
same<Session.Provided<typeof One>, One | Session.VerifiedOf<One>>(true)
same<Session.Provided<typeof Two>, Two | Session.VerifiedOf<Two>>(true)
same<A<typeof One.Verified>, Session.Session<Data>>(true)
same<E<typeof One.Verified>, never>(true)
same<R<typeof One.Verified>, Session.VerifiedOf<One>>(true)
same<R<typeof One>, One>(true)

// Data that have changed their shape are those of the newest version.
const Full = Schema.Struct({ first: Schema.String, role: Schema.Literals(["user", "admin"]) })
type Full = typeof Full.Type
const one = Session.versions(data, { version: 4 })
const two = one.to(Full, ({ username }) => ({ first: username, role: "user" }))
export const byAnnotation = one.to(
  Schema.Struct({ words: Schema.mutable(Schema.Array(Schema.String)) }),
  ({ username }): { readonly words: Array<string> } => ({ words: [username] })
)
same<typeof one, Session.Versions<{ readonly username: string }>>(true)
same<typeof two, Session.Versions<Full>>(true)
class Changing extends Session.Service<Changing>()("types/Changing", {
  data: two,
  principal: (data) => {
    same<typeof data, Full>(true)
    return data.first
  },
  refused: Suspended
}) {}
same<Request<typeof Changing>, Session.RequestSession<Full, readonly [typeof Suspended]>>(true)
same<(typeof Changing)["data"]["Type"], Full>(true)
// @ts-expect-error a step that answers another shape
one.to(Full, ({ username }) => ({ first: username }))
// @ts-expect-error a step that answers another word
one.to(Full, ({ username }) => ({ first: username, role: "root" }))
// @ts-expect-error a step that takes another shape
one.to(Full, (before: { readonly name: string }) => ({ first: before.name, role: "user" as const }))
// @ts-expect-error a step from the version before the last
two.to(data, ({ username }) => ({ username }))
// @ts-expect-error a step that waits for something
one.to(Full, ({ username }) => Effect.succeed({ first: username, role: "user" as const }))
// @ts-expect-error the version is that of the newest schema
Session.Service<Plain>()("types/Both", { data: two, dataVersion: 5 })
declare const needy: Schema.Codec<{ readonly username: string }, string, Plain>
// @ts-expect-error a schema with services
Session.versions(needy)
// @ts-expect-error a schema with services
one.to(needy, (before) => before)
// @ts-expect-error data of the first version
export const oldData = Changing.use((session) => session.create({ username: "ada" }))

// Two definitions of one shape are not one another.
// @ts-expect-error the manager of another session
export const mixed: Session.ManagerOf<One> = {} as Session.ManagerOf<Two>
// @ts-expect-error an id is made by the library, or by its schema
export const anId: Session.SessionId = "abc"
// @ts-expect-error what a list holds has no token
export const noToken = (info: Session.SessionInfo<Data>): Token => info.token
// @ts-expect-error data of another shape
export const wrongData = Plain.use((session) => session.create({ name: "ada" }))

// -----------------------------------------------------------------------------
// Verifiers refuse with their definition's errors alone
// -----------------------------------------------------------------------------

const needing = SessionVerifier.layer(
  One,
  Effect.map(Plain.Manager, () => (session) => Effect.fail(new Suspended({ until: session.data.username })))
)
same<typeof needing, Layer.Layer<Session.VerifierOf<One>, never, Session.ManagerOf<Plain>>>(true)
const failing = SessionVerifier.layer(One, Effect.fail("no" as const))
same<typeof failing, Layer.Layer<Session.VerifierOf<One>, "no", never>>(true)
const predicate = SessionVerifier.layerPredicate(
  Two,
  () => Effect.succeed(true),
  () => new Locked()
)
same<typeof predicate, Layer.Layer<Session.VerifierOf<Two>>>(true)
// @ts-expect-error another definition's error
SessionVerifier.layer(One, () => Effect.fail(new Locked()))
const yes = () => Effect.succeed(true)
const word = () => Effect.succeed("yes")
const suspended = () => new Suspended({ until: "" })
// @ts-expect-error the default error, in a definition that has one of its own
SessionVerifier.layerPredicate(One, yes, () => ({}) as Refused)
// @ts-expect-error an answer other than a boolean
SessionVerifier.layerPredicate(One, word, suspended)

// -----------------------------------------------------------------------------
// Administration asks the manager of the definition, and needs nothing else
// -----------------------------------------------------------------------------

const admin = SessionAdmin.make(One)
same<typeof admin, Effect.Effect<SessionAdmin.SessionAdmin<Data>, never, Session.ManagerOf<One>>>(true)
same<E<A<typeof admin>["count"] extends (...args: any) => infer X ? X : never>, Unavailable>(true)
const shown = Effect.flatMap(admin, ({ get }) => get({} as Session.SessionId))
same<A<typeof shown>, Option.Option<Session.SessionInfo<Data | undefined>>>(true)
