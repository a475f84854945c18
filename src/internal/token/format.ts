/**
 * How a token is written:
 *
 * ```text
 * v1.<kid>.<id>.<secret>.<mac>
 *    8     22   43       43     characters of base64url
 * ```
 *
 * @internal
 */

/** The public id of a session: 128 bits. */
export const idPattern = /^[\w-]{22}$/

export const tokenPattern = /^v1\.[\w-]{8}\.[\w-]{22}\.[\w-]{43}\.[\w-]{43}$/

/** The start and the end of each part of a token, as arguments of `slice`. */
export const places = {
  kid: [3, 11],
  id: [12, 34],
  secret: [35, 78],
  mac: [79, 122]
} as const

export const tokenLength = 122
