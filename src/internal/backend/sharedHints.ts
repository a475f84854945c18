/**
 * `ended` of a store that carries messages between processes: one subscription of the store, shared by all who subscribe
 * to the backend. It is opened by the first and closed after the last.
 *
 * A subscription stands once a message of its own has come back, whatever the client says of it: a pooler may take a
 * `LISTEN` and lose it, a node of a Cluster may be frozen, or cut off from the others.
 *
 * @internal
 */
import * as Cause from "effect/Cause"
import * as Deferred from "effect/Deferred"
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Fiber from "effect/Fiber"
import * as Queue from "effect/Queue"
import * as Schedule from "effect/Schedule"
import type * as Scope from "effect/Scope"
import { type EndedHint, type SessionBackend, SessionBackendError } from "../../SessionBackend.ts"

/** How many hints wait for a subscriber that does not take them. The oldest are dropped. */
const capacity = 1024

/** How long a message of its own may take to come back, and how often it is sent meanwhile. */
const limit = Duration.seconds(3)
const spacing = Duration.millis(500)

/** After so long without a message a subscription is to show that it stands. One that shows it shows it for all others. */
const quiet = Duration.seconds(15)

/** How many may be under way, given up or not: a client that connects to a frozen server may not be interrupted. */
const most = 3

/** How long the layer waits for a subscription to be closed. */
const closeLimit = Duration.seconds(1)

export interface Source<Message, E> {
  /** Opens the subscription. */
  readonly open: Effect.Effect<Queue.Dequeue<Message, E>, E, Scope.Scope>
  /** Sends a message that is no hint, and answers whether it may send any. */
  readonly probe: Effect.Effect<boolean, E>
  /** The hints in a message: none if it is something else. */
  readonly parse: (message: Message) => ReadonlyArray<EndedHint>
  /** Why it failed. */
  readonly failure: (error: E) => Effect.Effect<SessionBackendError>
}

export interface SharedHints {
  readonly subscribe: NonNullable<SessionBackend["Service"]["ended"]>
  /** Gives the subscription up, if there is one: the queues of its subscribers fail. */
  readonly drop: Effect.Effect<void>
}

export const failed = (cause: unknown): SessionBackendError =>
  new SessionBackendError({ operation: "ended", outcome: "notApplied", cause })

interface Subscription {
  readonly subscribers: Set<Queue.Queue<EndedHint, SessionBackendError>>
  readonly stands: Deferred.Deferred<void, SessionBackendError>
  fiber: Fiber.Fiber<void> | undefined
}

export const make = <Message, E>(source: Source<Message, E>): Effect.Effect<SharedHints, never, Scope.Scope> =>
  Effect.gen(function* () {
    // The subscription belongs to the layer, not to who came first: neither its spans nor its transaction.
    const services = yield* Effect.context<never>()
    let current: Subscription | undefined
    /** How many fibers have not ended, those that were given up included. */
    let unfinished = 0

    const end = (subscription: Subscription, error: SessionBackendError): void => {
      if (current === subscription) current = undefined
      Deferred.doneUnsafe(subscription.stands, Effect.fail(error))
      for (const queue of subscription.subscribers) Queue.failCauseUnsafe(queue, Cause.fail(error))
      subscription.subscribers.clear()
      subscription.fiber?.interruptUnsafe()
    }

    const failing = Effect.catch((error: E) => Effect.flatMap(source.failure(error), Effect.fail))

    const run = (subscription: Subscription): Effect.Effect<never, SessionBackendError> =>
      Effect.scoped(
        Effect.gen(function* () {
          const messages = yield* failing(source.open)
          const some = failing(Queue.takeAll(messages))
          const sending = failing(
            Effect.repeat(source.probe, { schedule: Schedule.spaced(spacing), while: (is) => is })
          )
          // A client that may not send cannot know.
          const confirmed = Effect.timeoutOrElse(Effect.raceFirst(some, Effect.as(sending, [])), {
            duration: limit,
            orElse: () => Effect.fail(late)
          })
          yield* confirmed
          Deferred.doneUnsafe(subscription.stands, Effect.void)
          while (true) {
            const hints = (yield* Effect.timeoutOrElse(some, { duration: quiet, orElse: () => confirmed })).flatMap(
              source.parse
            )
            for (const queue of subscription.subscribers) Queue.offerAllUnsafe(queue, hints)
          }
        })
      )

    const start = (): Subscription => {
      const subscription: Subscription = {
        subscribers: new Set(),
        stands: Deferred.makeUnsafe(),
        fiber: undefined
      }
      current = subscription
      const trying = unfinished < most ? run(subscription) : Effect.fail(late)
      unfinished++
      subscription.fiber = Effect.runForkWith(services)(
        Effect.catchCause(trying, (cause) =>
          Effect.sync(() => {
            const error = Cause.squash(cause)
            end(subscription, error instanceof SessionBackendError ? error : failed(error))
          })
        )
      )
      subscription.fiber.addObserver(() => {
        unfinished--
      })
      return subscription
    }

    const leave = (subscription: Subscription, queue: Queue.Queue<EndedHint, SessionBackendError>): void => {
      Queue.shutdownUnsafe(queue)
      if (subscription.subscribers.delete(queue) && subscription.subscribers.size === 0) end(subscription, closed)
    }

    yield* Effect.addFinalizer(() =>
      Effect.suspend(() => {
        const fiber = current?.fiber
        if (current !== undefined) end(current, closed)
        return fiber === undefined ? Effect.void : Effect.timeoutOption(Fiber.await(fiber), closeLimit)
      })
    )

    const subscribe: SharedHints["subscribe"] = Effect.gen(function* () {
      const queue = yield* Queue.sliding<EndedHint, SessionBackendError>(capacity)
      const subscription = yield* Effect.acquireRelease(
        Effect.sync(() => {
          const shared = current ?? start()
          shared.subscribers.add(queue)
          return shared
        }),
        (shared) => Effect.sync(() => leave(shared, queue))
      )
      // A subscriber who has waited too long gives it up for all, so that the next begins anew.
      yield* Effect.timeoutOrElse(Deferred.await(subscription.stands), {
        duration: limit,
        orElse: () =>
          Effect.suspend(() => {
            end(subscription, late)
            return Effect.fail(late)
          })
      })
      return queue
    })

    return { subscribe, drop: Effect.sync(() => current !== undefined && end(current, dropped)) }
  })

const closed = failed({ _tag: "SubscriptionClosed" })
const late = failed({ _tag: "SubscriptionTimeout" })
const dropped = failed({ _tag: "SubscriptionDropped" })
