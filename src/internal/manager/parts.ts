/**
 * What the parts of a manager share: its services, as they need them, and its settings.
 *
 * @internal
 */
import { SecureRandom } from "effect/crypto/SecureRandom"
import * as Effect from "effect/Effect"
import type * as Redacted from "effect/Redacted"
import * as Option from "effect/Option"
import * as Result from "effect/Result"
import type { Core, Definition, EndedWhy, ManagerOptions, Tagged } from "../../Session.ts"
import { SessionBackend } from "../../SessionBackend.ts"
import type { SessionRecord } from "../../SessionBackend.ts"
import type { SessionUnavailable } from "../../SessionError.ts"
import { SessionKeys } from "../../SessionKeys.ts"
import * as Registry from "../registry.ts"
import * as Span from "../session/span.ts"
import * as Token from "../token/token.ts"
import * as TokenCrypto from "../token/tokenCrypto.ts"
import * as Adoption from "./adoption.ts"
import * as Deadlines from "./deadlines.ts"
import type * as Events from "./events.ts"
import * as Extension from "./extension.ts"
import * as Fence from "./fence.ts"
import { LiveSession } from "./liveSession.ts"
import * as SessionData from "./sessionData.ts"
import * as Storage from "./storage.ts"

/** How many sessions of a principal are looked at, at most. */
export const maxListed = 1000
export const pageSize = 250

/** A store may take no longer names, and those of fences and claims are a little longer. */
const maxIdentifier = 500

export interface Settings {
  readonly times: Deadlines.Times
  readonly maxPerPrincipal: number | false
  /** What the current span says of an accepted session. */
  readonly spanAttributes: ReadonlyArray<Span.Name>
}

/** The settings of a layer, what is wrong with them, and those that all managers of a definition share. */
export const settingsOf = <Self, A, R extends ReadonlyArray<Tagged>, RX>(
  definition: Definition<Self, A, R>,
  options: ManagerOptions<NoInfer<A>, NoInfer<R>, RX>
): {
  readonly settings: Settings
  readonly problems: ReadonlyArray<string>
  readonly shared: Readonly<Record<string, Registry.Setting>>
} => {
  const { problems, times } = Deadlines.timesOf(options)
  const { maxPerPrincipal = 100, spanAttributes = [] } = options
  const isLimit =
    maxPerPrincipal === false ||
    (Number.isSafeInteger(maxPerPrincipal) && maxPerPrincipal >= 1 && maxPerPrincipal <= maxListed)
  const fits = new TextEncoder().encode(definition.key).length <= maxIdentifier
  const identifier = fits ? [] : [`the identifier must have ${maxIdentifier} bytes at most, in Session.Service()("…")`]
  const limit = isLimit ? [] : [`maxPerPrincipal must be a whole number from 1 to ${maxListed}, or false for no limit`]
  return {
    settings: { times, maxPerPrincipal, spanAttributes },
    problems: [
      ...problems,
      ...limit,
      ...Span.problemsOf(spanAttributes),
      ...identifier,
      ...SessionData.problemsOf(definition)
    ],
    shared: {
      ...Deadlines.sharedOf(times),
      maxPerPrincipal: [maxPerPrincipal, String(maxPerPrincipal)],
      spanAttributes: [spanAttributes.toSorted(), JSON.stringify(spanAttributes)],
      onEvent: Registry.functionSetting(options.onEvent)
    }
  }
}

interface EndOptions {
  /** Ends it only if it is theirs. */
  readonly principal?: string | undefined
  /** The session, where it is known. */
  readonly known?: Events.Ended | undefined
}

export interface Parts<A> extends Settings {
  readonly namespace: string
  readonly dataVersion: number
  readonly storage: Storage.Storage
  /** Of a manager that has a handler. */
  readonly events: Events.Events<Events.OwnEvent<A>> | undefined
  /** Deletes a session's record and says why it has ended. Answers whether this call deleted it. */
  readonly end: (id: string, why: EndedWhy, options?: EndOptions) => Effect.Effect<boolean, SessionUnavailable>
  readonly fence: Fence.Fence
  readonly adoption: Adoption.Adoption
  readonly deadlines: Deadlines.Deadlines
  readonly data: SessionData.SessionData<A>
  readonly tokens: Token.Tokens
  readonly sha256: TokenCrypto.TextFunction
  readonly random: SecureRandom["Service"]
  readonly snapshot: (record: SessionRecord, data: A, token: Redacted.Redacted<string>, now: number) => LiveSession<A>
  /** The data as stored, for a function that may change them in place: `session.data` is in the application's hands. */
  readonly copyOf: (session: LiveSession<A>) => A
  /** Whether a record is a session that stands. */
  readonly isLive: (record: SessionRecord, now: number) => boolean
}

const ending =
  <A>(storage: Storage.Storage, events: Events.Events<Events.OwnEvent<A>> | undefined): Parts<A>["end"] =>
  (id, why, { known, principal } = {}) => {
    const owner = principal === undefined ? undefined : { principal }
    const deleting = storage.delete(id, owner)
    if (events === undefined) return Effect.map(deleting, (deleted) => deleted === "deleted")
    return Effect.uninterruptible(
      Effect.gen(function* () {
        const failures: Array<Events.OwnEvent<A>> = []
        const onFailed: Storage.OnFailed = (operation, outcome) =>
          Effect.sync(() => failures.push({ _tag: "Failed", operation, outcome }))
        // Once it is deleted, the store does not know whose it was.
        const session =
          known ?? (owner ? { id, principal } : Option.getOrUndefined(yield* found(storage, id, onFailed)))
        // No handler holds up the deletion.
        const deleted = yield* Effect.onExit(deleting, () => Effect.forEach(failures, events.tell, { discard: true }))
        const isToTell = deleted === "deleted" || (deleted === "perhaps" && session !== undefined)
        if (isToTell) yield* events.ended([session ?? { id, principal: undefined }], why)
        return deleted === "deleted"
      })
    )
  }

/** The session to be ended, if the store can say. */
const found = (storage: Storage.Storage, id: string, onFailed: Storage.OnFailed) =>
  Effect.orElseSucceed(
    Effect.suspend(() => storage.read(id, onFailed)),
    () => Option.none<SessionRecord>()
  )

export const make = Effect.fnUntraced(function* <Self, A, R extends ReadonlyArray<Tagged>>(
  definition: Definition<Self, A, R>,
  settings: Settings,
  events: Events.Events<Events.OwnEvent<A>> | undefined
): Effect.fn.Return<Parts<A>, never, Core> {
  const namespace = definition.key
  const keys = yield* SessionKeys
  const backend = yield* SessionBackend
  const random = yield* SecureRandom
  const sha256 = yield* TokenCrypto.sha256
  const timeout = settings.times.backend
  const deadlines = Deadlines.make(settings.times)
  const data = SessionData.make(definition)
  const onFailed: Storage.OnFailed | undefined =
    events && ((operation, outcome) => events.tell({ _tag: "Failed", operation, outcome }))
  const storage = Storage.make(backend, namespace, timeout, onFailed)
  const tokens = Token.make(yield* keys.signers(Token.purpose(namespace)))
  return {
    ...settings,
    namespace,
    dataVersion: definition.dataVersion,
    storage,
    events,
    end: ending(storage, events),
    fence: Fence.make({
      storage: Storage.make(backend, Fence.namespaceOf(namespace), timeout, onFailed),
      namespace,
      timeout,
      sha256
    }),
    adoption: Adoption.make({
      storage: Storage.make(backend, Adoption.namespaceOf(namespace), timeout, onFailed),
      namespace,
      kid: tokens.kid,
      timeout,
      sha256,
      random
    }),
    deadlines,
    data,
    tokens,
    sha256,
    random,
    snapshot: (record, data, token, now) => new LiveSession(record, data, deadlines.shown(record, now), token),
    copyOf: (session) => Result.getOrElse(data.decode(LiveSession.record(session)), () => session.data),
    isLive: (record, now) => now < deadlines.expiryOf(record, now) && Extension.sealOf(record) === undefined
  }
})
