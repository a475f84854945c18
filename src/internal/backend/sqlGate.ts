/**
 * A gate before the connection pool of a SQL client: it admits as many statements as the pool has connections, and adapts
 * to how many connections the database grants.
 *
 * A pool whose connects fail while thousands wait for it blocks the process for seconds (`docs/upstream/effect-pool.md`).
 * Behind the gate only callers for whom there could be a connection wait for the pool.
 *
 * - First come, first served, as long as the first has not waited for 100 ms. Then the last who came is the next: where more
 *   come than are served, all that the first still have of their deadlines would pass before an answer arrives, every
 *   statement would be interrupted half-way, and no caller be served. Each fourth turn is the first one's all the same: where
 *   all can be served, those who waited while the database stood still for a moment must not wait until their deadline.
 * - A failed connect sent nothing, so its statement waits for its next turn, ahead of all others, as long as other
 *   statements are under way: they hold, or may still get, the connections there are. No more are admitted than those.
 * - With none under way there is no connection at all. All who wait are refused, so are all who come in the next 100 ms,
 *   and then one tries.
 * - When 100 ms have passed since the last failed connect, and each 100 ms after that, a statement that had a connection
 *   lets more in, twice as many each time.
 *
 * The state is judged when a statement comes and when it ends, so the gate has no timer. A caller who waits does so behind a
 * statement under way, whose end lets the next one in.
 *
 * @internal
 */
import * as Cause from "effect/Cause"
import * as Clock from "effect/Clock"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import type * as Fiber from "effect/Fiber"
import { hasProperty } from "effect/Predicate"
import type { SqlError } from "effect/sql/SqlError"

/** Runs one statement. It must be one: it runs again when a connect has failed. */
export type Gate = <A>(statement: Effect.Effect<A, SqlError>) => Effect.Effect<A, SqlError>

/** Between two tries of a connection that the database did not grant, in milliseconds. */
const pause = 100

/** How long the first may have waited for the next turn to be its, in milliseconds. */
const patience = 100

/** Where the first has waited for longer, one of so many turns is its. */
const turnsPerFirst = 4

/** How many who waited are refused before other work goes on: each costs a response, and perhaps a line in the log. */
const refusedAtOnce = 32

/** As many as `PgClient` opens if it is not told. */
const defaultConnections = 10

/**
 * How many connections a client has, and how many statements it runs on each at the same time, as far as it says:
 * `PgClient` has its configuration.
 */
const poolOf = (client: unknown) => {
  const config = hasProperty(client, "config") ? client.config : undefined
  const { maxConnections, multiplex, multiplexConcurrency } = (config ?? {}) as Record<string, unknown>
  const connections = typeof maxConnections === "number" ? maxConnections : defaultConnections
  // A connection that statements share has 32 at a time, if it is not told.
  const each = multiplex !== true ? 1 : typeof multiplexConcurrency === "number" ? multiplexConcurrency : 32
  return { connections, each }
}

/** How many statements a client runs at the same time. */
export const capacityOf = (client: unknown): number => {
  const { connections, each } = poolOf(client)
  return Math.max(1, connections * each)
}

/**
 * How many of `capacity` statements are left to a client when one of its connections is held for something else. 0 if it
 * has no other.
 */
export const capacityBeside = (client: unknown, capacity: number): number => {
  const { connections, each } = poolOf(client)
  return each === 1 ? Math.min(capacity, connections) - 1 : Math.min(capacity, (connections - 1) * each)
}

/** A place in a queue, or the queue itself: a ring, whose first is `next` and whose last is `previous`. */
interface Place {
  previous: Place
  next: Place
  state: "waiting" | "admitted" | "refused"
  /** When it was taken; `undefined` if it comes before all others. */
  readonly since: number | undefined
  resume: (answer: Effect.Effect<void, SqlError>) => void
}

const makePlace = (since?: number): Place => {
  const place: Omit<Place, "previous" | "next"> = { state: "waiting", since, resume: () => {} }
  // A ring of one; the two links are set before any caller sees it.
  const ring = place as Place
  ring.previous = ring
  ring.next = ring
  return ring
}

const insertBefore = (place: Place, next: Place): void => {
  place.next = next
  place.previous = next.previous
  next.previous.next = place
  next.previous = place
}

const remove = (place: Place): void => {
  place.previous.next = place.next
  place.next.previous = place.previous
  place.next = place
  place.previous = place
}

const isEmpty = (queue: Place): boolean => queue.next === queue

const isFailedConnect = (exit: Exit.Exit<unknown, SqlError>): exit is Exit.Failure<never, SqlError> =>
  Exit.isFailure(exit) &&
  exit.cause.reasons.some((reason) => Cause.isFailReason(reason) && reason.error.reason.operation === "connect")

/** Whether a statement got as far as the database. Of one that was interrupted that is not known. */
const hadConnection = (exit: Exit.Exit<unknown, SqlError>): boolean =>
  Exit.isSuccess(exit) || exit.cause.reasons.every(Cause.isFailReason)

const nowOf = (fiber: Fiber.Fiber<unknown, unknown>): number =>
  // Not the time of day, which can be set back.
  Number(fiber.getRef(Clock.Clock).monotonicTimeNanosUnsafe() / 1_000n) / 1_000

/** `most` may be less than `capacity` for a time: while a connection is held for something else. */
export const make = (capacity: number, most: () => number = () => capacity): Gate => {
  /** How many may be under way: at least one, at most `capacity`, and for now `most`. */
  let limit = capacity
  const isOpen = (): boolean => underWay < limit && underWay < most()
  /** How many are. */
  let underWay = 0
  /** By how many `limit` grows next, and since when it could not. */
  let step = 1
  let steppedAt = 0
  /** Since when there was no connection at all, and what said so, the last time. */
  let down: { readonly since: number; readonly why: Exit.Failure<never, SqlError> } | undefined
  let queue = makePlace()
  /** How many turns there were in which the first had waited for long. */
  let lateTurns = 0

  const admit = (fiber: Fiber.Fiber<unknown, unknown>): void => {
    if (!isOpen() || isEmpty(queue)) return
    const late = nowOf(fiber) - patience
    while (isOpen() && !isEmpty(queue)) {
      const first = queue.next
      const isLate = first.since !== undefined && first.since < late
      const place = isLate && ++lateTurns % turnsPerFirst !== 0 ? queue.previous : first
      remove(place)
      underWay++
      place.state = "admitted"
      // Not now: a statement that ends at once would let the next one in, and so on, deeper and deeper.
      fiber.currentDispatcher.scheduleTask(() => place.resume(Effect.void), 0)
    }
  }

  const refuse = (places: Place, why: Exit.Failure<never, SqlError>, fiber: Fiber.Fiber<unknown, unknown>): void => {
    for (let i = 0; i < refusedAtOnce && !isEmpty(places); i++) {
      const place = places.next
      remove(place)
      place.state = "refused"
      place.resume(why)
    }
    if (!isEmpty(places)) fiber.currentDispatcher.scheduleTask(() => refuse(places, why, fiber), 0)
  }

  /** Counts a statement as ended. Answers whether it is to wait for another turn. */
  const leave = (exit: Exit.Exit<unknown, SqlError>, fiber: Fiber.Fiber<unknown, unknown>): boolean => {
    underWay--
    if (isFailedConnect(exit)) {
      const now = nowOf(fiber)
      step = 1
      steppedAt = now
      limit = Math.max(1, underWay)
      if (underWay > 0) return true
      down = { since: now, why: exit }
      const places = queue
      queue = makePlace()
      // In a turn of its own, as others are admitted.
      fiber.currentDispatcher.scheduleTask(() => refuse(places, exit, fiber), 0)
      return false
    }
    if (limit < capacity && hadConnection(exit)) {
      const now = nowOf(fiber)
      if (now - steppedAt >= pause) {
        limit = Math.min(capacity, limit + step)
        step *= 2
        steppedAt = now
      }
    }
    admit(fiber)
    return false
  }

  /** Waits at `place` to be admitted. A caller who is interrupted meanwhile leaves it to the others. */
  const wait = (place: Place, restore: Restore): Effect.Effect<void, SqlError> =>
    Effect.onError(
      restore(
        Effect.callback<void, SqlError>((resume) => {
          place.resume = resume
        })
      ),
      () =>
        Effect.withFiber((fiber) => {
          if (place.state === "waiting") remove(place)
          if (place.state === "admitted") {
            underWay--
            admit(fiber)
          }
          return Effect.void
        })
    )

  const enter = (restore: Restore, fiber: Fiber.Fiber<unknown, unknown>): Effect.Effect<void, SqlError> => {
    if (down !== undefined && nowOf(fiber) - down.since < pause) return down.why
    if (isOpen() && isEmpty(queue)) {
      underWay++
      return Effect.void
    }
    const place = makePlace(nowOf(fiber))
    insertBefore(place, queue)
    return wait(place, restore)
  }

  return (statement) =>
    Effect.uninterruptibleMask((restore) =>
      Effect.withFiber((fiber) => {
        const run: typeof statement = Effect.flatMap(Effect.exit(restore(statement)), (exit) => {
          if (!leave(exit, fiber)) return exit
          const place = makePlace()
          insertBefore(place, queue.next)
          return Effect.flatMap(wait(place, restore), () => run)
        })
        return Effect.flatMap(enter(restore, fiber), () => run)
      })
    )
}

type Restore = <A, E, R>(effect: Effect.Effect<A, E, R>) => Effect.Effect<A, E, R>
