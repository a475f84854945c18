/**
 * Sessions of another library that have become ours, each once. The first request that carries the old session claims it:
 * the claim names the session that is made of it, so that requests at once, and one whose answer was lost, get the same.
 * The claim outlives that session, which is so not made again by an old cookie that is sent after a log-out.
 *
 * A claim is a record like any other, in a namespace of its own. It changes by compare-and-set alone: a log-out that comes
 * while the session is being made takes the claim from the request that makes it, which then takes the session back.
 *
 * @internal
 */
import * as Clock from "effect/Clock"
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Option from "effect/Option"
import type { SecureRandom } from "effect/crypto/SecureRandom"
import type { SessionRecord } from "../../SessionBackend.ts"
import type { SessionUnavailable } from "../../SessionError.ts"
import * as Token from "../token/token.ts"
import { undo } from "./deadline.ts"
import { noHash } from "./fence.ts"
import type { Storage } from "./storage.ts"

export const namespaceOf = (namespace: string): string => `${namespace}/adopted`

/** No browser sends the old cookie longer (RFC 6265bis 5.5), in milliseconds. */
const lasts = Duration.toMillis(Duration.days(400))

/** What a claim says, as it is stored. */
interface Said {
  /** Of the session that is made of the old one. */
  readonly id: string
  /** Names the key that the session's secret is derived by. */
  readonly kid: string
  /** Whether the session is being made; is there, or was; or could not be made, so that the next request may try. */
  readonly state: "making" | "made" | "free"
}

/** How often a claim is looked at that others take and free meanwhile. */
const maxAttempts = 10

export interface Claim extends Said {
  readonly version: number
  /** When the making of its session began. */
  readonly at: number
  /** Whether this call has claimed it. */
  readonly isNew: boolean
}

const textOf = ({ id, kid, state }: Said): string => JSON.stringify({ id, kid, state })

// Only claims are written here.
const saidBy = (record: SessionRecord): Said => JSON.parse(record.data) as Said

const claimOf = (record: SessionRecord): Claim => ({
  ...saidBy(record),
  version: record.version,
  at: record.lastSeenAt,
  isNew: false
})

export type Adoption = ReturnType<typeof make>

export const make = (options: {
  /** In the claims' namespace. */
  readonly storage: Storage
  readonly namespace: string
  /** Names the key that derives the secrets of new claims. */
  readonly kid: string
  readonly timeout: number
  readonly sha256: (text: string) => Effect.Effect<string>
  readonly random: SecureRandom["Service"]
}) => {
  const { kid, random, sha256, storage } = options
  const namespace = namespaceOf(options.namespace)
  const keyOf = (from: string) => Effect.mapEager(sha256(from), (hash) => hash.slice(0, 22))
  const freshId = Effect.map(Token.randomClaims(random), ({ id }) => id)

  /** Says something else, if nothing else has been said since. Answers the claim as it is then. */
  const say = Effect.fnUntraced(function* (
    from: string,
    claim: Claim,
    said: Partial<Said & Pick<Claim, "at">>
  ): Effect.fn.Return<Option.Option<Claim>, SessionUnavailable> {
    const key = yield* keyOf(from)
    const { version } = claim
    const next = { ...claim, ...said, version: version + 1 }
    const patch = { data: textOf(next), lastSeenAt: next.at, idleExpiresAt: next.at + lasts }
    const { _tag } = yield* storage.update(key, version, patch, options.timeout)
    return _tag === "updated" ? Option.some(next) : Option.none()
  })

  /** Takes a claim back of which nothing was made. Where that fails, nothing ever is. */
  const release = (from: string, id: string): Effect.Effect<void> =>
    undo(
      Effect.uninterruptible(
        Effect.flatMap(Effect.flatMap(keyOf(from), storage.read), (found) =>
          Option.isSome(found) && saidBy(found.value).id === id
            ? say(from, claimOf(found.value), { state: "free" })
            : Effect.void
        )
      )
    )

  return {
    freshId,
    say,
    release,
    /** Claims the old session, or answers who has. */
    claim: Effect.fnUntraced(function* (
      from: string,
      /** `made` if nothing is to be made of it. */
      state: "making" | "made"
    ): Effect.fn.Return<Claim, SessionUnavailable> {
      const key = yield* keyOf(from)
      const said: Said = { id: yield* freshId, kid, state }
      const now = yield* Clock.currentTimeMillis
      const end = now + lasts
      const record: SessionRecord = {
        namespace,
        id: key,
        secretHash: noHash,
        version: 1,
        principal: undefined,
        data: textOf(said),
        dataVersion: 1,
        extension: "",
        createdAt: now,
        authenticatedAt: now,
        lastSeenAt: now,
        idleTimeout: lasts,
        idleExpiresAt: end,
        absoluteExpiresAt: end,
        persistent: false
      }
      const orRelease = <B>(write: Effect.Effect<B, SessionUnavailable>) =>
        Effect.tapError(write, ({ outcome }) => (outcome === "unknown" ? release(from, said.id) : Effect.void))
      for (let attempt = 0; attempt < maxAttempts; attempt++) {
        if ((yield* orRelease(storage.create(record))) === "created") return { ...claimOf(record), isNew: true }
        const found = Option.map(yield* storage.read(key), claimOf)
        if (Option.isNone(found)) continue
        if (found.value.state !== "free") return found.value
        const taken = yield* orRelease(say(from, found.value, { ...said, at: now }))
        if (Option.isSome(taken)) return { ...taken.value, isNew: true }
      }
      return yield* storage.failed("create", "notApplied", { _tag: "ClaimKeepsChanging" })
    })
  }
}
