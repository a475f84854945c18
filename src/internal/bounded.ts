/**
 * A deadline that holds even where the effect cannot be interrupted.
 *
 * @internal
 */
import * as Clock from "effect/Clock"
import * as Context from "effect/Context"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import type * as Fiber from "effect/Fiber"
import * as Scheduler from "effect/Scheduler"
import { guardedly } from "./guardedly.ts"

/** A link of the ring of those who wait. Alone, it is its own neighbour. */
class Link {
  #before: Link = this
  #after: Link = this

  get after(): Link {
    return this.#after
  }

  get isAlone(): boolean {
    return this.#after === this
  }

  /** Puts another before this one. */
  put(link: Link): void {
    link.#after = this
    link.#before = this.#before
    this.#before.#after = link
    this.#before = link
  }

  /**
   * Cuts both ways: what has left must not keep alive what came after it. A `Set` does, through the tables it has
   * outgrown: once one of those is old, everything that waits from then on outlives its request, and is the collector's work.
   */
  leave(): void {
    this.#before.#after = this.#after
    this.#after.#before = this.#before
    this.#before = this.#after = this
  }
}

abstract class Waiting extends Link {
  /** By the timer's own time, in milliseconds. */
  due = 0
  abstract expire(): void
}

/** What deadlines are measured by: a monotonic time, so that a wall clock that is set does not move one. */
interface Timer {
  readonly now: () => number
  /** Calls `wake` once, after so many milliseconds, or `lose` if it never will. Answers how to call it off. */
  readonly start: (millis: number, wake: () => void, lose: () => void) => () => void
  /** Whether one that nobody needs any more may run on: it holds no process back, and nobody can tell. */
  readonly mayRunOn: boolean
}

const liveClock = /* @__PURE__ */ Context.get(/* @__PURE__ */ Context.empty(), Clock.Clock)

const millisOf = (clock: Clock.Clock): number => Number(clock.monotonicTimeNanosUnsafe()) / 1_000_000

/** Measures and sleeps as the live clock does, but a process may end in the midst of it. */
const liveTimer: Timer = {
  now: () => millisOf(liveClock),
  start: (millis, wake) => {
    const handle: { readonly unref?: () => void } | number = setTimeout(wake, millis)
    // Without `unref`, in browsers, nothing waits for a timer either.
    if (typeof handle === "object") handle.unref?.()
    return () => clearTimeout(handle as ReturnType<typeof setTimeout>)
  },
  mayRunOn: true
}

/** By any other clock, a test's say: a fiber that sleeps. */
const timerOf = (clock: Clock.Clock, scheduler: Scheduler.Scheduler): Timer => {
  // No more than it takes to sleep: it outlives the request that starts it.
  const fork = Effect.runForkWith(Context.make(Clock.Clock, clock).pipe(Context.add(Scheduler.Scheduler, scheduler)))
  return {
    now: () => millisOf(clock),
    start: (millis, wake, lose) => {
      const sleeper = fork(Effect.map(Effect.sleep(millis), wake))
      sleeper.addObserver((exit) => {
        if (Exit.isFailure(exit)) lose()
      })
      return () => sleeper.interruptUnsafe()
    },
    mayRunOn: false
  }
}

/** Longer than this, and `setTimeout` does not wait at all. */
const longest = 2 ** 31 - 1

/**
 * Everything that waits by one timer. It is started for the nearest deadline on behalf of all: to start one for each
 * call, and to call it off, costs more than most calls themselves.
 */
class Deadlines {
  readonly #timer: Timer
  readonly #ring = new Link()
  /** How to call off the timer that runs, and when it is over. */
  #running: { readonly wakes: number; stop: () => void } | undefined = undefined

  constructor(timer: Timer) {
    this.#timer = timer
  }

  add(waiting: Waiting, millis: number): void {
    const now = this.#timer.now()
    waiting.due = now + millis
    this.#ring.put(waiting)
    this.#start(now, waiting.due)
  }

  remove(waiting: Waiting): void {
    waiting.leave()
    if (this.#ring.isAlone && !this.#timer.mayRunOn) this.#stop()
  }

  /** Sees to it that the timer is over at `due` at the latest. */
  #start(now: number, due: number): void {
    if (this.#running !== undefined && this.#running.wakes <= due) return
    this.#stop()
    const millis = Math.max(0, Math.min(due - now, longest))
    const running = (this.#running = { wakes: now + millis, stop: () => {} })
    const ended = (then: () => void) => () => {
      if (this.#running !== running) return
      this.#running = undefined
      then()
    }
    running.stop = this.#timer.start(
      millis,
      ended(() => this.#wake(running.wakes)),
      // For a reason of its own. The next to wait starts another.
      ended(() => {})
    )
  }

  #stop(): void {
    const running = this.#running
    this.#running = undefined
    running?.stop()
  }

  /** `reached` is what was waited for: it has come, should the timer be a little early. */
  #wake(reached: number): void {
    const now = Math.max(this.#timer.now(), reached)
    const expired: Array<Waiting> = []
    let nearest = Number.POSITIVE_INFINITY
    for (let link = this.#ring.after; link instanceof Waiting; link = link.after) {
      if (link.due <= now) expired.push(link)
      else if (link.due < nearest) nearest = link.due
    }
    for (const waiting of expired) {
      // One before it may have called it off. Then nobody hears it.
      waiting.leave()
      guardedly(() => waiting.expire())
    }
    if (!this.#ring.isAlone) this.#start(now, nearest)
  }
}

const live = /* @__PURE__ */ new Deadlines(liveTimer)
const byClock = new WeakMap<Clock.Clock, WeakMap<Scheduler.Scheduler, Deadlines>>()

const deadlinesOf = (fiber: Fiber.Fiber<unknown, unknown>): Deadlines => {
  const clock = fiber.getRef(Clock.Clock)
  if (clock === liveClock) return live
  const scheduler = fiber.getRef(Scheduler.Scheduler)
  let byScheduler = byClock.get(clock)
  if (byScheduler === undefined) byClock.set(clock, (byScheduler = new WeakMap()))
  let deadlines = byScheduler.get(scheduler)
  if (deadlines === undefined) byScheduler.set(scheduler, (deadlines = new Deadlines(timerOf(clock, scheduler))))
  return deadlines
}

/** An effect that runs on behalf of a caller. */
class Call<A, E> extends Waiting {
  readonly #running: Fiber.Fiber<A, E>
  readonly #resume: (exit: Exit.Exit<A, E>) => void
  readonly #late: () => Exit.Exit<A, E>

  constructor(running: Fiber.Fiber<A, E>, resume: (exit: Exit.Exit<A, E>) => void, late: () => Exit.Exit<A, E>) {
    super()
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

/** One who asked, and is answered by a function. */
class Asked<A, E> extends Waiting {
  readonly #resume: (effect: Effect.Effect<A, E>) => void
  readonly #late: () => Effect.Effect<A, E>

  constructor(resume: (effect: Effect.Effect<A, E>) => void, late: () => Effect.Effect<A, E>) {
    super()
    this.#resume = resume
    this.#late = late
  }

  expire(): void {
    this.#resume(this.#late())
  }
}

/**
 * The same for what is no effect, but answers to a function: it goes on by itself, and whatever it answers when it is
 * late, or when the caller has gone, is not heard.
 *
 * @internal
 */
export const boundedAnswer = <A, E>(
  ask: (answer: (effect: Effect.Effect<A, E>) => void) => void,
  millis: number,
  late: () => Effect.Effect<A, E>
): Effect.Effect<A, E> =>
  Effect.withFiber((parent) =>
    Effect.callback<A, E>((resume) => {
      const deadlines = deadlinesOf(parent)
      const asked = new Asked(resume, late)
      deadlines.add(asked, millis)
      ask((effect) => {
        deadlines.remove(asked)
        resume(effect)
      })
      return Effect.sync(() => deadlines.remove(asked))
    })
  )
