/**
 * The cookies of an HTTP client outside browsers (RFC 6265bis 5). They are kept by origin, within bounds, and no cookie
 * goes to another origin, whatever its `Domain` says.
 *
 * @internal
 */
import * as Duration from "effect/Duration"
import * as Cookies from "effect/http/Cookies"

/** What a client should be able to keep (RFC 6265bis 6.1): 50 cookies of 4096 bytes for a domain, and 3000 in all. */
const maxBytes = 4096
const maxPathBytes = 1024
const maxCookies = 50
const maxOrigins = 60
/** RFC 6265bis 5.5 limits a lifetime to 400 days. A very large `Max-Age` would make an invalid `Date`. */
const maxAge = Duration.days(400)

const loopback = /^(localhost|.+\.localhost|127(\.\d{1,3}){3}|\[::1\])$/

interface Address {
  readonly origin: string
  readonly secure: boolean
  /** The address for `Cookies`, with https where a `Secure` cookie may be sent. */
  readonly url: string
}

/** A loopback address is as secure as https, as in browsers. Other schemes have no origin of their own, but "null". */
const parse = (url: string): Address | undefined => {
  const parsed = URL.canParse(url) ? new URL(url) : undefined
  if (parsed === undefined || !/^https?:$/.test(parsed.protocol)) return undefined
  const { origin } = parsed
  if (loopback.test(parsed.hostname)) parsed.protocol = "https:"
  return { origin, secure: parsed.protocol === "https:", url: parsed.href }
}

const isAcceptable = ({ name, options = {}, valueEncoded }: Cookies.Cookie, from: Address): boolean => {
  const { domain, httpOnly, path = "", sameSite, secure } = options
  const is = (prefix: string) => name.toLowerCase().startsWith(prefix)
  // A header is Latin-1 text: a character is a byte.
  if (name.length + valueEncoded.length > maxBytes || path.length > maxPathBytes) return false
  if (secure === true && !from.secure) return false
  if (secure !== true && (is("__secure-") || is("__host-") || is("__http-") || sameSite === "none")) return false
  if (is("__host-") && (path !== "/" || domain !== undefined)) return false
  return httpOnly === true || !(is("__http-") || is("__host-http-"))
}

const capped = (cookie: Cookies.Cookie): Cookies.Cookie =>
  cookie.options?.maxAge === undefined
    ? cookie
    : {
        ...cookie,
        options: { ...cookie.options, maxAge: Duration.min(Duration.fromInputUnsafe(cookie.options.maxAge), maxAge) }
      }

export class CookieJar {
  /** In the order of their last use. */
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
    const [oldest] = this.#byOrigin.keys()
    if (oldest !== undefined && this.#byOrigin.size > maxOrigins) this.#byOrigin.delete(oldest)
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
