/** A row of a table as text: the first column to the left, the others to the right, each as wide as it is told. */
export const rowOf =
  (widths: ReadonlyArray<number>) =>
  (cells: ReadonlyArray<string | number>): string =>
    cells.map((cell, i) => (i === 0 ? String(cell).padEnd(widths[i]!) : String(cell).padStart(widths[i]!))).join(" ")
