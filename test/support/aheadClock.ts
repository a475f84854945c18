/** The clock at hand, put forward. It imports nothing of this repository. */
import * as Clock from "effect/Clock"
import * as Effect from "effect/Effect"
import * as Layer from "effect/Layer"

const aheadOf = (clock: Clock.Clock, by: { readonly millis: number }): Clock.Clock => {
  const millis = () => clock.currentTimeMillisUnsafe() + by.millis
  const nanos = () => clock.currentTimeNanosUnsafe() + BigInt(by.millis) * 1_000_000n
  return {
    currentTimeMillisUnsafe: millis,
    currentTimeMillis: Effect.sync(millis),
    currentTimeNanosUnsafe: nanos,
    currentTimeNanos: Effect.sync(nanos),
    monotonicTimeNanosUnsafe: () => clock.monotonicTimeNanosUnsafe(),
    monotonicTimeNanos: clock.monotonicTimeNanos,
    sleep: (duration) => clock.sleep(duration)
  }
}

/** Runs an effect so far in the future, which may change while it runs. */
export const ahead =
  (by: { readonly millis: number }) =>
  <A, E, R>(effect: Effect.Effect<A, E, R>): Effect.Effect<A, E, R> =>
    Clock.clockWith((clock) => Effect.provideService(effect, Clock.Clock, aheadOf(clock, by)))

/** The same for all that is built with it. */
export const layerAhead = (by: { readonly millis: number }): Layer.Layer<never> =>
  Layer.effect(
    Clock.Clock,
    Clock.clockWith((clock) => Effect.succeed(aheadOf(clock, by)))
  )
