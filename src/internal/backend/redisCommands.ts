/**
 * The commands of the Redis backend. Each has one key, so that it does not matter to which server of a Cluster a key
 * belongs.
 *
 * @internal
 */
import * as Clock from "effect/Clock"
import * as Digest from "effect/crypto/Digest"
import * as Effect from "effect/Effect"
import type { Redis, RedisError } from "effect/persistence/Redis"
import type { Operation, SessionBackendError } from "../../SessionBackend.ts"
import { codeOf, failure, isReplica, isTransient, takesNoWrites } from "./redisOutcome.ts"
import type { Script } from "./redisScripts.ts"

/** The time between two connections that are given up. */
const reconnectMillis = 1000

export type Command<A> = Effect.Effect<A, RedisError>

/**
 * Prepares a script: it is run by its hash, and where a server does not know it, by its text, by which that server then
 * knows it. So nothing is loaded beforehand, and no call waits for another's.
 */
export const prepare =
  (redis: Redis["Service"]) =>
  <A>({ lua }: Script<A>) =>
    Effect.gen(function* () {
      const digest = yield* Digest.Digest
      const hash = yield* digest.digestHex(Digest.sha1, new TextEncoder().encode(lua))
      return (key: string, ...args: ReadonlyArray<string>): Command<A> =>
        Effect.catchIf(
          redis.send<A>("EVALSHA", hash, "1", key, ...args),
          (error) => codeOf(error) === "NOSCRIPT",
          () => redis.send<A>("EVAL", lua, "1", key, ...args)
        )
    })

export type Commands = ReturnType<typeof make>

/** Sends a command, its arguments, by a script: `Scripts.relay`. */
export type Relay = (key: string, ...command: ReadonlyArray<string>) => Command<unknown>

export const make = (redis: Redis["Service"], relay: Relay) => {
  let leftAt = -Infinity

  /**
   * Gives up a connection to a replica: `QUIT` lets the server close it, and the client makes one to whatever its address
   * then leads to.
   */
  const leaveReplica = Effect.flatMap(Clock.currentTimeMillis, (now) => {
    if (leftAt <= now && now < leftAt + reconnectMillis) return Effect.void
    leftAt = now
    return Effect.asVoid(Effect.forkDetach(Effect.ignore(redis.send("QUIT"))))
  })

  const fail = (
    operation: Operation,
    error: RedisError,
    outcome?: SessionBackendError["outcome"]
  ): Effect.Effect<never, SessionBackendError> => {
    const failed = Effect.fail(failure(operation, error, outcome))
    return isReplica(error) ? Effect.andThen(leaveReplica, failed) : failed
  }

  const once = <A>(operation: Operation, command: Command<A>): Effect.Effect<A, SessionBackendError> =>
    Effect.catch(command, (error) => fail(operation, error))

  /** Sends a command, and once more after 50 ms if Redis answers "not now". */
  const attempt = <A>(operation: Operation, command: Command<A>): Effect.Effect<A, SessionBackendError> =>
    Effect.catch(command, (error) =>
      isTransient(error) ? once(operation, Effect.delay(command, "50 millis")) : fail(operation, error)
    )

  /** Sends a command that a replica refuses. Of a primary that refuses it too, since it takes no writes, asks `instead`. */
  const onPrimary = <A, B>(name: string, [key, ...args]: readonly [string, ...Array<string>], instead: Command<B>) =>
    Effect.catchIf(redis.send<A>(name, key, ...args), takesNoWrites, () =>
      // Whether it is a primary shows here.
      Effect.catchIf(relay(key, name, key, ...args) as Command<A>, takesNoWrites, (): Command<A | B> => instead)
    )

  return {
    fail,
    once,
    attempt,

    /**
     * Reads a record by `GETEX`, which without options is a `GET` that counts as a write: a replica refuses it, and so a
     * primary that has become one authenticates no request. A primary that takes no writes at present is asked by `GET`.
     * It may be cut off from the others, and so the answer that there is none is `undefined`, which is no proof.
     */
    get: (key: string): Command<string | null | undefined> =>
      onPrimary<string | null, string | undefined>(
        "GETEX",
        [key],
        Effect.map(redis.send<string | null>("GET", key), (text) => text ?? undefined)
      ),

    /**
     * Reads at most `count` entries of an index, the newest first, after the given one. A replica's index may lack
     * entries: that there are none is true if the server also takes a write, one that removes nothing. With `orRefuses` it
     * is taken for true of a primary that takes no writes: enough to show, not to say that all are gone.
     */
    entries: (
      index: string,
      after: string | undefined,
      count: number,
      orRefuses: boolean
    ): Command<ReadonlyArray<string>> => {
      const from = after === undefined ? "+" : `(${after}`
      const range = ["BYLEX", "REV", "LIMIT", "0", String(count)]
      const check = orRefuses ? onPrimary("ZREM", [index, ""], Effect.void) : redis.send("ZREM", index, "")
      return Effect.flatMap(redis.send<ReadonlyArray<string>>("ZRANGE", index, from, "-", ...range), (page) =>
        page.length > 0 ? Effect.succeed(page) : Effect.as(check, page)
      )
    },

    /**
     * Looks at some keys of the server, and answers those that begin so, with the cursor to go on from. A replica may lack
     * keys: that there are none is true if the server also takes a write, one that removes nothing, as in `entries`.
     */
    keys: (beginning: string, cursor: string, count: number): Command<readonly [string, ReadonlyArray<string>]> =>
      Effect.flatMap(
        redis.send<readonly [string, ReadonlyArray<string>]>(
          "SCAN",
          cursor,
          "MATCH",
          `${beginning}*`,
          "COUNT",
          String(count)
        ),
        (page) =>
          page[1].length > 0 ? Effect.succeed(page) : Effect.as(onPrimary("ZREM", [beginning, ""], Effect.void), page)
      ),

    drop: (index: string, entries: ReadonlyArray<string>): Command<void> =>
      entries.length === 0 ? Effect.void : Effect.asVoid(redis.send("ZREM", index, ...entries))
  }
}
