/**
 * A strict reader of the `Cookie` header, for one name at a time.
 *
 * RFC 6265bis 4.2.1 on the server's side, and not a step more lenient, since every lenience is a way to plant a cookie
 * in place of the real one: only SP and HTAB are trimmed and only around a pair, the name is compared byte by byte, a
 * comma separates nothing, quotes and percent signs mean themselves, a pair without a name has none.
 *
 * @internal
 */

/** What is read at most: 16 KiB, 256 pairs. */
const maxLength = 16_384
const maxPairs = 256

const equals = 0x3d

const isBlank = (code: number): boolean => code === 0x20 || code === 0x09

/**
 * The values of all cookies of this name, in order, empty ones left out. Linear in the header's length; allocates
 * nothing for other cookies.
 *
 * @internal
 */
export const values = (header: string, name: string): ReadonlyArray<string> => read(header, name, maxLength, maxPairs)

/**
 * The same without a limit, for log-out: what stands behind a thousand other cookies is ended too.
 *
 * @internal
 */
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
    if (header.charCodeAt(value - 1) === equals && header.startsWith(name, first)) {
      let last = stop
      while (last > value && isBlank(header.charCodeAt(last - 1))) last--
      if (last > value) found.push(header.slice(value, last))
    }
    start = stop + 1
  }
  return found
}
