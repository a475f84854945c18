/**
 * `ended` over `LISTEN` and `NOTIFY` of Postgres, where the client can listen: a `PgClient` of `@effect/sql-pg`. Elsewhere
 * within the process.
 *
 * What has ended is notified in a transaction of its own, after the one that ended it. Inside that one, the lock that
 * Postgres takes for a notification would be held while the commit is written to the disk, so that no two deletions could
 * be written together. The transaction of a notification alone waits for no disk.
 *
 * @internal
 */
import * as Arr from "effect/Array"
import * as Clock from "effect/Clock"
import * as Effect from "effect/Effect"
import * as Fiber from "effect/Fiber"
import * as Option from "effect/Option"
import { hasProperty } from "effect/Predicate"
import * as Queue from "effect/Queue"
import * as Schema from "effect/Schema"
import type * as Scope from "effect/Scope"
import * as Semaphore from "effect/Semaphore"
import type * as SqlClient from "effect/sql/SqlClient"
import { ConnectionError, SqlError } from "effect/sql/SqlError"
import type { EndedHint, SessionBackendError } from "../../SessionBackend.ts"
import * as SharedHints from "./sharedHints.ts"

interface Notification {
  readonly payload: string
}

/** `PgClient.listen`: it holds a connection of the pool until the scope ends. */
export type Listen = (channel: string) => Effect.Effect<Queue.Dequeue<Notification, SqlError>, SqlError, Scope.Scope>

export const listenOf = (client: unknown): Listen | undefined =>
  hasProperty(client, "listen") && typeof client.listen === "function"
    ? // The one client with a function of this name: there is nothing else to know it by without its package.
      (client.listen as Listen)
    : undefined

/** At most 54 bytes long, of the 63 it may be. */
export const channelOf = (table: string): string => `${table}_ended`

/** How many ids one notification has. Postgres refuses a payload of 8,000 bytes. */
const idsPerPayload = 100
const payloadLimit = 8000

/** How many hints wait to be notified. What is over that is lost. */
const capacity = 10_000

/** The pause between two notifications: where many sessions end, they cost next to nothing. */
const spacing = "10 millis"

/** How long a statement may take beside the connection that listens, and how long, in ms, that rests if it takes longer. */
const otherLimit = "1 second"
const rest = 60_000

const noOther = Effect.fail(
  new SqlError({
    reason: new ConnectionError({
      cause: new Error("no connection answers beside the one that listens"),
      message: "SessionBackendSql: statements and LISTEN need a connection each",
      operation: "listen"
    })
  })
)

/** How long one notification may take, and how long the layer waits for those under way. */
const limit = "5 seconds"
const closeLimit = "1 second"

const decode = Schema.decodeUnknownOption(
  Schema.fromJsonString(Schema.Tuple([Schema.String, Schema.Array(Schema.String)]))
)

/** What a notification says: a namespace and ids. Any user of the database may send one on the channel: anything else is no hint. */
const hintsOf = ({ payload }: Notification): ReadonlyArray<EndedHint> =>
  Option.match(decode(payload), {
    onNone: () => [],
    onSome: ([namespace, ids]) => ids.map((id) => ({ namespace, id }))
  })

/** The payloads for hints, few for many. What is too long for one is left out. */
const payloadsOf = (hints: ReadonlyArray<EndedHint>): ReadonlyArray<string> => {
  const encoder = new TextEncoder()
  return [...Map.groupBy(hints, ({ namespace }) => namespace)]
    .flatMap(([namespace, own]) =>
      Arr.chunksOf(own, idsPerPayload).map((some) => JSON.stringify([namespace, some.map(({ id }) => id)]))
    )
    .filter((payload) => encoder.encode(payload).length < payloadLimit)
}

export interface SqlHints {
  readonly ended: SharedHints.SharedHints["subscribe"] | undefined
  /** Whether the subscription holds a connection. */
  readonly isListening: () => boolean
  /** Gives that connection back, if there is one. */
  readonly drop: Effect.Effect<void>
  /** Notifies of what has ended, once the caller has gone on. */
  readonly tell: (hints: ReadonlyArray<EndedHint>) => Effect.Effect<void>
}

/** For a store that tells nothing. */
export const none: SqlHints = {
  ended: undefined,
  isListening: () => false,
  drop: Effect.void,
  tell: () => Effect.void
}

/** How many hints wait for a subscriber that does not take them. The oldest are dropped. */
const localCapacity = 1024

/** For a store without messages, within this process: what is ended here is told here. */
export const makeLocal = (): SqlHints => {
  const subscribers = new Set<Queue.Queue<EndedHint, SessionBackendError>>()
  return {
    ...none,
    ended: Effect.acquireRelease(
      Effect.tap(Queue.sliding<EndedHint, SessionBackendError>(localCapacity), (queue) =>
        Effect.sync(() => subscribers.add(queue))
      ),
      (queue) =>
        Effect.suspend(() => {
          subscribers.delete(queue)
          return Queue.shutdown(queue)
        })
    ),
    tell: (hints) =>
      Effect.sync(() => {
        for (const queue of subscribers) Queue.offerAllUnsafe(queue, hints)
      })
  }
}

export const make = ({
  channel,
  listen,
  run,
  sql
}: {
  readonly sql: SqlClient.SqlClient
  readonly channel: string
  /** `undefined` where no connection can be spared: it then tells, and does not listen. */
  readonly listen: Listen | undefined
  /** Runs a statement as those of sessions are. */
  readonly run: <A>(statement: Effect.Effect<A, SqlError>) => Effect.Effect<A, SqlError>
}): Effect.Effect<SqlHints, never, Scope.Scope> =>
  Effect.gen(function* () {
    const notify = (payload: string) => run(sql`SELECT pg_notify(${channel}, ${payload})`)

    let isListening = false
    // One whose connection is dead may take long to be given up. It is not to take one connection after the other.
    const held = Semaphore.makeUnsafe(1)
    const hold = Effect.acquireRelease(
      Effect.map(held.take(1), () => {
        isListening = true
      }),
      () =>
        Effect.suspend(() => {
          isListening = false
          return held.release(1)
        }),
      { interruptible: true }
    )

    let restsUntil = -Infinity
    /** Listens, unless that leaves no connection to the statements: then it tries again in a minute at the earliest. */
    const open = (listen: Listen) =>
      Effect.gen(function* () {
        if ((yield* Clock.currentTimeMillis) < restsUntil) return yield* noOther
        yield* hold
        const notifications = yield* listen(channel)
        yield* Effect.timeoutOrElse(notify(""), {
          duration: otherLimit,
          orElse: () =>
            Effect.flatMap(Clock.currentTimeMillis, (now) => {
              restsUntil = now + rest
              return noOther
            })
        })
        return notifications
      })

    const shared =
      listen === undefined
        ? yield* Effect.as(
            Effect.logWarning(
              "session backend: the client has one connection, and statements need it, so that it does not listen: " +
                "sessions that other processes end are noticed late"
            ),
            undefined
          )
        : yield* SharedHints.make({
            open: open(listen),
            // No pair.
            probe: Effect.as(notify(""), true),
            parse: hintsOf,
            failure: (error) => Effect.succeed(SharedHints.failed(error))
          })

    // What notifies belongs to the layer, not to a request: neither its spans nor its transaction.
    const services = yield* Effect.context<never>()
    let waiting: Array<EndedHint> = []
    let sender: Fiber.Fiber<void> | undefined

    /** One at a time, the first at once, and each of all that came meanwhile. */
    const send = Effect.gen(function* () {
      while (waiting.length > 0) {
        const hints = waiting
        waiting = []
        yield* Effect.forEach(payloadsOf(hints), notify, { discard: true }).pipe(
          Effect.timeout(limit),
          Effect.ignoreCause,
          Effect.andThen(Effect.sleep(spacing))
        )
      }
      sender = undefined
    })

    const tell: SqlHints["tell"] = (hints) =>
      hints.length === 0
        ? Effect.void
        : Effect.sync(() => {
            if (waiting.length < capacity) waiting.push(...hints)
            sender ??= Effect.runForkWith(services)(send)
          })

    yield* Effect.addFinalizer(() =>
      sender === undefined ? Effect.void : Effect.timeoutOption(Fiber.await(sender), closeLimit)
    )

    return { ended: shared?.subscribe, isListening: () => isListening, drop: shared?.drop ?? Effect.void, tell }
  })
