/**
 * A table for people: as wide as its cells, and on a terminal no wider than that. Columns that matter less are left out
 * first, then texts are cut.
 *
 * @internal
 */
import { cut, pad, widthOf } from "./text.ts"

export interface Column<A> {
  readonly title: string
  readonly cell: (row: A) => string
  /** A column with a rank is left out where there is no room, the highest rank first. */
  readonly rank?: number
  /** A text that may be cut, to so many columns at least. */
  readonly least?: number
}

const gap = 2

const sum = (numbers: ReadonlyArray<number>): number => numbers.reduce((sum, number) => sum + number, 0)

interface Place<A> {
  readonly column: Column<A>
  readonly width: number
}

/** The columns for which there is room, each with its width. */
const layOut = <A>(
  columns: ReadonlyArray<Column<A>>,
  rows: ReadonlyArray<A>,
  room: number
): ReadonlyArray<Place<A>> => {
  const whole = columns.map((column) => ({
    column,
    width: Math.max(widthOf(column.title), ...rows.map((row) => widthOf(column.cell(row))))
  }))
  const needed = (places: ReadonlyArray<Place<A>>): number =>
    gap * (places.length - 1) + sum(places.map(({ column: { least }, width }) => Math.min(least ?? width, width)))
  let places: ReadonlyArray<Place<A>> = whole
  for (const { column } of whole.toSorted((a, b) => (b.column.rank ?? 0) - (a.column.rank ?? 0))) {
    if (needed(places) <= room || column.rank === undefined) break
    places = places.filter((place) => place.column !== column)
  }
  // What is left goes to those that may be cut, from left to right.
  let spare = room - needed(places)
  return places.map(({ column, width }) => {
    if (column.least === undefined || width <= column.least) return { column, width }
    const more = Math.max(0, Math.min(width - column.least, spare))
    spare -= more
    return { column, width: column.least + more }
  })
}

/** Makes the lines of rows, which come a few at a time: the first of them decide how wide the columns are. */
export const make = <A>(
  columns: ReadonlyArray<Column<A>>,
  room: number
): ((rows: ReadonlyArray<A>) => ReadonlyArray<string>) => {
  let places: ReadonlyArray<Place<A>> | undefined
  return (rows) => {
    const line = (cellOf: (column: Column<A>) => string): string =>
      places!
        .map(({ column, width }) => pad(room === Infinity ? cellOf(column) : cut(cellOf(column), width), width))
        .join(" ".repeat(gap))
        .trimEnd()
    const head: Array<string> = []
    if (places === undefined) {
      places = layOut(columns, rows, room)
      head.push(line(({ title }) => title))
    }
    return [...head, ...rows.map((row) => line(({ cell }) => cell(row)))]
  }
}
