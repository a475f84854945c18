/**
 * The rules for a cookie's attributes and their combinations (RFC 6265bis 4.1, prefixes of layered cookies).
 *
 * @internal
 */

export interface CookieAttributes {
  readonly name: string
  readonly path: string
  readonly domain: string | undefined
  readonly secure: boolean
  readonly sameSite: "lax" | "strict" | "none"
  readonly partitioned: boolean
}

/** RFC 9110 token. */
const token = /^[!#$%&'*+\-.^_`|~0-9A-Za-z]+$/
const domainName = /^(?=.{1,253}$)([a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?)(\.[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?)*$/i

/** The 4096 bytes of a cookie's name and value (RFC 6265bis 5.6), less those of a token. */
const maxName = 4096 - 122

export const isToken = (name: string): boolean => token.test(name)

export const problemsOf = (cookie: CookieAttributes): ReadonlyArray<string> => {
  const problems: Array<string> = []
  // A name that breaks this rule may also break a log line.
  const name = JSON.stringify(cookie.name.slice(0, 64))
  if (!isToken(cookie.name)) problems.push(`cookie name ${name} must be one or more of the characters of an HTTP token`)
  if (cookie.name.length > maxName) problems.push(`cookie name ${name}… is too long: name and token have 4096 bytes`)
  const lower = cookie.name.toLowerCase()
  const prefix = ["__host-http-", "__host-", "__http-", "__secure-"].find((prefix) => lower.startsWith(prefix))
  if (prefix !== undefined && !cookie.secure) {
    problems.push(`cookie ${name}: the prefix demands secure; without it choose a plain name`)
  }
  if (prefix?.startsWith("__host-")) {
    if (cookie.path !== "/") problems.push(`cookie ${name}: the prefix demands path "/"; with another use __Secure-`)
    if (cookie.domain !== undefined)
      problems.push(`cookie ${name}: the prefix allows no domain; with one use __Secure-`)
  }
  if (!cookie.path.startsWith("/") || !/^[\x20-\x3a\x3c-\x7e]*$/.test(cookie.path) || cookie.path.length > 1024) {
    problems.push(`cookie ${name}: path must begin with "/" and hold at most 1024 printable characters, no semicolon`)
  }
  if (cookie.domain !== undefined && !domainName.test(cookie.domain)) {
    problems.push(`cookie ${name}: domain must be a host name such as "example.com"`)
  }
  if (!["lax", "strict", "none"].includes(cookie.sameSite)) {
    problems.push(`cookie ${name}: sameSite must be "lax", "strict" or "none"`)
  }
  for (const attribute of ["secure", "partitioned"] as const) {
    if (typeof cookie[attribute] !== "boolean") problems.push(`cookie ${name}: ${attribute} must be true or false`)
  }
  if (cookie.sameSite === "none" && !cookie.secure) problems.push(`cookie ${name}: sameSite "none" demands secure`)
  if (cookie.partitioned && !cookie.secure) problems.push(`cookie ${name}: partitioned demands secure`)
  return problems
}
