/** The middle value of the sorted list, or the mean of the two in the middle. */
export const median = (values: ReadonlyArray<number>): number => {
  const sorted = [...values].sort((a, b) => a - b)
  const middle = Math.floor(sorted.length / 2)
  return sorted.length % 2 === 1 ? sorted[middle]! : (sorted[middle - 1]! + sorted[middle]!) / 2
}

/** The value that `fraction` of a sorted list does not exceed. */
export const quantile = (sorted: ReadonlyArray<number>, fraction: number): number =>
  sorted[Math.max(0, Math.ceil(sorted.length * fraction) - 1)]!

/** A measured number: the median of the rounds, and the lowest and highest of them. */
export interface Figure {
  readonly median: number
  readonly low: number
  readonly high: number
}

const round = (value: number): number => Number(value.toPrecision(4))

export const figure = (values: ReadonlyArray<number>): Figure => ({
  median: round(median(values)),
  low: round(Math.min(...values)),
  high: round(Math.max(...values))
})
