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

/** A timer that runs. */
interface Running {
  readonly stop: () => void
  /** Tells it whether anybody waits for it. One that cannot be told is stopped instead. */
  readonly hold?: (held: boolean) => void
}

/** What deadlines are measured by: a monotonic time, so that a wall clock that is set does not move one. */
interface Timer {
  readonly now: () => number
  /** Calls `wake` once, after so many milliseconds, or `lose` if it never will. It is held at first. */
  readonly start: (millis: number, wake: () => void, lose: () => void) => Running
}

const liveClock = /* @__PURE__ */ Context.get(/* @__PURE__ */ Context.empty(), Clock.Clock)

const millisOf = (clock: Clock.Clock): number => Number(clock.monotonicTimeNanosUnsafe()) / 1_000_000

/**
 * Measures and sleeps as the live clock does, but runs on when nobody waits, and holds no process back then: to start and
 * stop a timer with each call costs most where there are few.
 */
const liveTimer: Timer = {
  now: () => millisOf(liveClock),
  start: (millis, wake) => {
    const handle: { readonly ref?: () => void; readonly unref?: () => void } | number = setTimeout(wake, millis)
    return {
      stop: () => clearTimeout(handle as ReturnType<typeof setTimeout>),
      // In browsers a timer is a number, and holds nothing back.
      hold: (held) => {
        if (typeof handle !== "object") return
        if (held) handle.ref?.()
        else handle.unref?.()
      }
    }
  }
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
      return { stop: () => sleeper.interruptUnsafe() }
    }
  }
}

interface Started {
  /** When it is over. */
  readonly wakes: number
  timer: Running | undefined
}

/** Longer than this, and `setTimeout` does not wait at all. */
const longest = 2 ** 31 - 1
/** A timer so many milliseconds past its time may not come any more. If it is only late, another does no harm. */
const lost = 10

/**
 * Everything that waits by one timer. It is started for the nearest deadline on behalf of all: to start one for each
 * call, and to call it off, costs more than most calls themselves.
 */
class Deadlines {
  readonly #timer: Timer
  readonly #ring = new Link()
  #running: Started | undefined = undefined

  constructor(timer: Timer) {
    this.#timer = timer
  }

  add(waiting: Waiting, millis: number): void {
    const now = this.#timer.now()
    if (this.#ring.isAlone) this.#running?.timer?.hold?.(true)
    waiting.due = now + millis
    this.#ring.put(waiting)
    this.#start(now, waiting.due)
  }

  remove(waiting: Waiting): void {
    waiting.leave()
    if (!this.#ring.isAlone) return
    const hold = this.#running?.timer?.hold
    if (hold === undefined) this.#stop()
    else hold(false)
  }

  /** Sees to it that the timer is over at `due` at the latest. */
  #start(now: number, due: number): void {
    let wakes = due
    if (this.#running !== undefined) {
      // Fake timers take theirs along when they go. Nobody knows then who should have been told.
      if (this.#running.wakes < now - lost) wakes = now
      else if (this.#running.wakes <= due) return
      this.#stop()
    }
    const millis = Math.max(0, Math.min(wakes - now, longest))
    const running: Started = { wakes: now + millis, timer: undefined }
    this.#running = running
    const ended = (then: () => void) => () => {
      if (this.#running !== running) return
      this.#running = undefined
      then()
    }
    running.timer = this.#timer.start(
      millis,
      ended(() => this.#wake(running.wakes)),
      // For a reason of its own. The next to wait starts another.
      ended(() => {})
    )
  }

  #stop(): void {
    const running = this.#running
    this.#running = undefined
    running?.timer?.stop()
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
  /** Tells those who were asked that nobody listens any more. */
  giveUp: () => void = () => {}

  constructor(resume: (effect: Effect.Effect<A, E>) => void, late: () => Effect.Effect<A, E>) {
    super()
    this.#resume = resume
    this.#late = late
  }

  expire(): void {
    this.giveUp()
    this.#resume(this.#late())
  }
}

/**
 * The same for what is no effect, but answers to a function. `ask` answers with how to tell it that nobody listens any
 * more, as when it is late, or when the caller has gone; whatever it answers after that is not heard.
 *
 * @internal
 */
export const boundedAnswer = <A, E>(
  ask: (answer: (effect: Effect.Effect<A, E>) => void) => () => void,
  millis: number,
  late: () => Effect.Effect<A, E>
): Effect.Effect<A, E> =>
  Effect.withFiber((parent) =>
    Effect.callback<A, E>((resume) => {
      const deadlines = deadlinesOf(parent)
      const asked = new Asked(resume, late)
      deadlines.add(asked, millis)
      asked.giveUp = ask((effect) => {
        deadlines.remove(asked)
        resume(effect)
      })
      return Effect.sync(() => {
        deadlines.remove(asked)
        asked.giveUp()
      })
    })
  )
