/**
 * A strict reader of the `Cookie` header, for one name at a time (RFC 6265bis 4.2.1). A lenient one would let another
 * cookie pass for the real one, so only SP and HTAB are trimmed, and only around a pair; the name is compared byte by
 * byte; commas, quotes and percent signs are ordinary characters.
 *
 * @internal
 */

const maxLength = 16_384
const maxPairs = 256

const isBlank = (code: number): boolean => code === 0x20 || code === 0x09

/** The values of all cookies of this name, in order, without empty ones. */
export const values = (header: string, name: string): ReadonlyArray<string> => read(header, name, maxLength, maxPairs)

/** The same without a limit, for log-out. */
export const allValues = (header: string, name: string): ReadonlyArray<string> =>
  read(header, name, header.length, header.length)

const read = (header: string, name: string, maxLength: number, maxPairs: number): ReadonlyArray<string> => {
  const found: Array<string> = []
  const end = Math.min(header.length, maxLength)
  let start = 0
  for (let pairs = 0; start < end && pairs < maxPairs; pairs++) {
    let stop = header.indexOf(";", start)
    if (stop === -1) stop = header.length
    // A pair that reaches over the limit is not read in part.
    if (stop > end) break
    let first = start
    while (first < stop && isBlank(header.charCodeAt(first))) first++
    const value = first + name.length + 1
    if (header[value - 1] === "=" && header.startsWith(name, first)) {
      let last = stop
      while (last > value && isBlank(header.charCodeAt(last - 1))) last--
      if (last > value) found.push(header.slice(value, last))
    }
    start = stop + 1
  }
  return found
}
