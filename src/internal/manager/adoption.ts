/**
 * Sessions of another library that have become ours, each once. The first request that carries the old session claims it:
 * the claim names the session that is made of it, so that requests at once, and one whose answer was lost, get the same.
 * The claim outlives that session, which is so not made again by an old cookie that is sent after a log-out.
 *
 * A claim is a record like any other, in a namespace of its own, with the session's id as its data, and whether that has
 * been made.
 *
 * @internal
 */
import * as Clock from "effect/Clock"
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Option from "effect/Option"
import type * as SecureRandom from "effect/crypto/SecureRandom"
import type { SessionRecord } from "../../SessionBackend.ts"
import type { SessionUnavailable } from "../../SessionError.ts"
import * as Token from "../token/token.ts"
import { undo } from "./deadline.ts"
import { noHash } from "./fence.ts"
import type { Storage } from "./storage.ts"

export const namespaceOf = (namespace: string): string => `${namespace}/adopted`

/** No browser sends the old cookie longer (RFC 6265bis 5.5), in milliseconds. */
const lasts = Duration.toMillis(Duration.days(400))

export interface Claim {
  /** Of the session that is made of the old one. */
  readonly id: string
  readonly at: number
  /** Whether this call has claimed it. */
  readonly isNew: boolean
  /** Whether the session is there, or was: if not, it is being made. */
  readonly isMade: boolean
}

/** What a claim says, as it is stored. */
type Said = Pick<Claim, "id" | "isMade">

const textOf = ({ id, isMade }: Said): string => JSON.stringify({ id, isMade })

// Only claims are written here.
const saidBy = (record: SessionRecord): Said => JSON.parse(record.data) as Said

export type Adoption = ReturnType<typeof make>

export const make = (options: {
  /** In the claims' namespace. */
  readonly storage: Storage
  readonly namespace: string
  readonly timeout: number
  readonly sha256: (text: string) => Effect.Effect<string>
  readonly randomly: <B>(effect: Effect.Effect<B, never, SecureRandom.SecureRandom>) => Effect.Effect<B>
}) => {
  const { randomly, sha256, storage } = options
  const namespace = namespaceOf(options.namespace)
  const keyOf = (from: string) => Effect.mapEager(sha256(from), (hash) => hash.slice(0, 22))

  /** Takes a claim back of which nothing was made. */
  const release = (from: string, id: string): Effect.Effect<void> =>
    undo(
      Effect.flatMap(keyOf(from), (key) =>
        Effect.flatMap(storage.read(key), (found) =>
          Option.isSome(found) && saidBy(found.value).id === id ? storage.delete(key) : Effect.void
        )
      )
    )

  return {
    release,
    /** Says that the session has been made: who asks for it from now on does not wait. */
    made: (from: string, { at, id }: Claim): Effect.Effect<void> =>
      Effect.ignore(
        Effect.flatMap(keyOf(from), (key) =>
          storage.update(
            key,
            1,
            { data: textOf({ id, isMade: true }), lastSeenAt: at, idleExpiresAt: at + lasts },
            options.timeout
          )
        )
      ),
    /** Claims the old session, or answers who has. `None` if that claim was taken back just now. */
    claim: Effect.fnUntraced(function* (
      from: string,
      /** Whether nothing is to be made of it. */
      isMade: boolean
    ): Effect.fn.Return<Option.Option<Claim>, SessionUnavailable> {
      const key = yield* keyOf(from)
      const { id } = yield* randomly(Token.randomClaims)
      const now = yield* Clock.currentTimeMillis
      const end = now + lasts
      const record: SessionRecord = {
        namespace,
        id: key,
        secretHash: noHash,
        version: 1,
        principal: undefined,
        data: textOf({ id, isMade }),
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
      const created = yield* Effect.tapError(storage.create(record), ({ outcome }) =>
        outcome === "unknown" ? release(from, id) : Effect.void
      )
      if (created === "created") return Option.some({ id, at: now, isMade, isNew: true })
      return Option.map(yield* storage.read(key), (record) => ({
        ...saidBy(record),
        at: record.createdAt,
        isNew: false
      }))
    })
  }
}
