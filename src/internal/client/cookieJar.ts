/**
 * The cookies of an HTTP client that is no browser (RFC 6265bis 5), kept by origin: no cookie goes to another origin,
 * whatever its `Domain` says. The jar is bounded.
 *
 * @internal
 */
import * as Duration from "effect/Duration"
import * as Cookies from "effect/http/Cookies"

/** What a client should keep at least (RFC 6265bis 6.1): 50 cookies of 4096 bytes, and 3000 of all origins together. */
const maxBytes = 4096
const maxPathBytes = 1024
const maxCookies = 50
const maxOrigins = 60
/** RFC 6265bis 5.6.2. A longer `Max-Age` may also be more than a `Date` can hold. */
const maxAge = Duration.days(400)

const loopback = /^(localhost|.+\.localhost|127(\.\d{1,3}){3}|\[::1\])$/

interface Address {
  readonly origin: string
  readonly secure: boolean
  /** The address as `Cookies` is to see it: with https where a `Secure` cookie may go. */
  readonly url: string
}

/** As in browsers, a loopback address is as secure as https. */
const parse = (url: string): Address | undefined => {
  if (!URL.canParse(url)) return undefined
  const parsed = new URL(url)
  const { origin } = parsed
  // The origin of any other scheme is "null", which would be one jar for all of them.
  if (!/^https?:$/.test(parsed.protocol)) return undefined
  if (parsed.protocol === "http:" && loopback.test(parsed.hostname)) parsed.protocol = "https:"
  return { origin, secure: parsed.protocol === "https:", url: parsed.href }
}

const isAcceptable = ({ name, options = {}, valueEncoded }: Cookies.Cookie, from: Address): boolean => {
  const is = (prefix: string) => name.toLowerCase().startsWith(prefix)
  const needsSecure = is("__host-") || is("__secure-") || is("__http-") || options.sameSite === "none"
  // What a header holds is Latin-1: a character is a byte.
  if (name.length + valueEncoded.length > maxBytes || (options.path ?? "").length > maxPathBytes) return false
  if (options.secure === true ? !from.secure : needsSecure) return false
  if (is("__host-") && (options.path !== "/" || options.domain !== undefined)) return false
  return options.httpOnly === true || !(is("__http-") || is("__host-http-"))
}

const capped = (cookie: Cookies.Cookie): Cookies.Cookie =>
  cookie.options?.maxAge === undefined
    ? cookie
    : {
        ...cookie,
        options: { ...cookie.options, maxAge: Duration.min(Duration.fromInputUnsafe(cookie.options.maxAge), maxAge) }
      }

/** @internal */
export class CookieJar {
  /** By origin, the one used last at the end. */
  readonly #byOrigin = new Map<string, ReadonlyArray<Cookies.Cookie>>()

  #put(origin: string, cookies: ReadonlyArray<Cookies.Cookie>): void {
    this.#byOrigin.delete(origin)
    if (cookies.length > 0) this.#byOrigin.set(origin, cookies)
  }

  /** Keeps what a response from this address set, and drops what it deleted. */
  keep(url: string, cookies: Cookies.Cookies, now: number): void {
    const from = parse(url)
    if (from === undefined || Cookies.isEmpty(cookies)) return
    const set = Object.values(cookies.cookies).filter((cookie) => isAcceptable(cookie, from))
    const kept = Cookies.mergeIntoArray(
      this.#byOrigin.get(from.origin) ?? [],
      from.url,
      Cookies.fromIterable(set.map(capped)),
      now
    ).filter(({ options }) => options?.expires === undefined || options.expires.getTime() > now)
    this.#put(from.origin, kept.slice(-maxCookies))
    for (const [oldest] of this.#byOrigin) if (this.#byOrigin.size > maxOrigins) this.#byOrigin.delete(oldest)
  }

  /** The `Cookie` header of a request to this address, beside what it carries already. */
  header(url: string, now: number, given?: string): string | undefined {
    const to = parse(url)
    const kept = to && this.#byOrigin.get(to.origin)
    if (to === undefined || kept === undefined) return given
    this.#put(to.origin, kept)
    const own = Cookies.toRequestCookieHeader(kept, to.url, now)
    return own === undefined || given === undefined || given === "" ? (own ?? given) : `${given}; ${own}`
  }
}
