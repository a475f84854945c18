/**
 * A deadline that holds even where the effect cannot be interrupted.
 *
 * @internal
 */
import * as Clock from "effect/Clock"
import * as Context from "effect/Context"
import * as Effect from "effect/Effect"
import type * as Exit from "effect/Exit"
import type * as Fiber from "effect/Fiber"
import * as Scheduler from "effect/Scheduler"

interface Waiting {
  /** By the clock's monotonic time, in milliseconds: a wall clock that is set does not move a deadline. */
  due: number
  readonly expire: () => void
}

/**
 * Everything that waits by one clock and scheduler. One fiber sleeps up to the nearest deadline on behalf of all, as long as anything
 * waits: to start a sleep of its own for each call, and to interrupt it, costs more than most calls themselves.
 */
class Deadlines {
  readonly #clock: Clock.Clock
  readonly #fork: <A, E>(effect: Effect.Effect<A, E>) => Fiber.Fiber<A, E>
  readonly #waiting = new Set<Waiting>()
  #sleeper: Fiber.Fiber<unknown, unknown> | undefined = undefined
  #wakes = Number.POSITIVE_INFINITY

  constructor(clock: Clock.Clock, scheduler: Scheduler.Scheduler) {
    this.#clock = clock
    // No more than it takes to sleep: the sleeper outlives the request that starts it.
    this.#fork = Effect.runForkWith(Context.make(Clock.Clock, clock).pipe(Context.add(Scheduler.Scheduler, scheduler)))
  }

  add(waiting: Waiting, millis: number): void {
    waiting.due = this.#now() + millis
    this.#waiting.add(waiting)
    if (waiting.due >= this.#wakes) return
    this.#stop()
    const sleeper = this.#fork(this.#sleep(Number.NEGATIVE_INFINITY))
    // Should it end for a reason of its own, the next to wait starts another.
    sleeper.addObserver(() => {
      if (this.#sleeper === sleeper) this.#stop()
    })
  }

  remove(waiting: Waiting): void {
    this.#waiting.delete(waiting)
    if (this.#waiting.size === 0) this.#stop()
  }

  #now(): number {
    return Number(this.#clock.monotonicTimeNanosUnsafe()) / 1_000_000
  }

  #stop(): void {
    const sleeper = this.#sleeper
    this.#sleeper = undefined
    this.#wakes = Number.POSITIVE_INFINITY
    sleeper?.interruptUnsafe()
  }

  /** `reached` is what was slept for: it has come, should the clock be a little behind. */
  #sleep(reached: number): Effect.Effect<void> {
    return Effect.withFiber((self) => {
      const now = Math.max(this.#now(), reached)
      const expired: Array<Waiting> = []
      this.#sleeper = self
      this.#wakes = Number.POSITIVE_INFINITY
      for (const waiting of this.#waiting) {
        if (waiting.due <= now) expired.push(waiting)
        else if (waiting.due < this.#wakes) this.#wakes = waiting.due
      }
      for (const waiting of expired) {
        if (this.#waiting.delete(waiting)) expire(waiting)
      }
      // Whoever expired may have gone on to wait again, and so have put another sleeper in this one's place.
      if (this.#sleeper !== self || this.#waiting.size === 0) return Effect.void
      const wakes = this.#wakes
      return Effect.flatMap(Effect.sleep(Math.max(0, wakes - this.#now())), () => this.#sleep(wakes))
    })
  }
}

/** Goes on with whoever waited. What throws in there is theirs, and is thrown where it keeps nobody else waiting. */
const expire = (waiting: Waiting): void => {
  try {
    waiting.expire()
  } catch (defect) {
    queueMicrotask(() => {
      throw defect
    })
  }
}

const byClock = new WeakMap<Clock.Clock, WeakMap<Scheduler.Scheduler, Deadlines>>()

const deadlinesOf = (fiber: Fiber.Fiber<unknown, unknown>): Deadlines => {
  const clock = fiber.getRef(Clock.Clock)
  const scheduler = fiber.getRef(Scheduler.Scheduler)
  let byScheduler = byClock.get(clock)
  if (byScheduler === undefined) byClock.set(clock, (byScheduler = new WeakMap()))
  let deadlines = byScheduler.get(scheduler)
  if (deadlines === undefined) byScheduler.set(scheduler, (deadlines = new Deadlines(clock, scheduler)))
  return deadlines
}

/** An effect that runs on behalf of a caller. */
class Call<A, E> implements Waiting {
  due = 0
  readonly #running: Fiber.Fiber<A, E>
  readonly #resume: (exit: Exit.Exit<A, E>) => void
  readonly #late: () => Exit.Exit<A, E>

  constructor(running: Fiber.Fiber<A, E>, resume: (exit: Exit.Exit<A, E>) => void, late: () => Exit.Exit<A, E>) {
    this.#running = running
    this.#resume = resume
    this.#late = late
  }

  expire(): void {
    // In this order: what can be interrupted ends at once, and would be heard first.
    this.#resume(this.#late())
    this.#running.interruptUnsafe()
  }
}

/**
 * Runs an effect for at most so many milliseconds, then answers `late` at once and interrupts what still runs without
 * waiting for it: a driver that hangs in an uninterruptible region holds nobody up. The caller may be uninterruptible
 * itself; the deadline holds all the same.
 *
 * @internal
 */
export const bounded = <A, E>(
  effect: Effect.Effect<A, E>,
  millis: number,
  late: () => Exit.Exit<A, E>
): Effect.Effect<A, E> =>
  Effect.withFiber((parent) =>
    Effect.callback<A, E>((resume) => {
      const running = Effect.runForkWith(parent.context)(effect)
      const early = running.pollUnsafe()
      if (early !== undefined) return resume(early)
      const deadlines = deadlinesOf(parent)
      const call = new Call(running, resume, late)
      deadlines.add(call, millis)
      running.addObserver((exit) => {
        deadlines.remove(call)
        resume(exit)
      })
      return Effect.sync(() => {
        deadlines.remove(call)
        running.interruptUnsafe()
      })
    })
  )
