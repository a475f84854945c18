/** Numbers that look random and are the same in every run: xorshift32. */
export interface Dice {
  /** A whole number from 0 up to, and without, `n`. */
  readonly below: (n: number) => number
  readonly pick: <A>(from: ReadonlyArray<A>) => A
}

export const make = (seed: number): Dice => {
  let state = seed | 0 || 1
  const below = (n: number): number => {
    state ^= state << 13
    state ^= state >>> 17
    state ^= state << 5
    return (state >>> 0) % n
  }
  return { below, pick: (from) => from[below(from.length)]! }
}
