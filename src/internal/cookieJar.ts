/**
 * What a client that is no browser keeps of the cookies it is given: by origin, so that nothing goes to another one,
 * whatever `Domain` says.
 *
 * @internal
 */
import * as Cookies from "effect/http/Cookies"

const loopback = /^(localhost|.+\.localhost|127(\.\d{1,3}){3}|\[::1\])$/

/**
 * The origin, and the address as cookies see it: this very machine is as good as https, as it is to browsers, and a
 * `Secure` cookie goes there.
 */
const parse = (url: string): { readonly origin: string; readonly seen: string } | undefined => {
  if (!URL.canParse(url)) return undefined
  const parsed = new URL(url)
  const { origin } = parsed
  if (parsed.protocol === "http:" && loopback.test(parsed.hostname)) parsed.protocol = "https:"
  return { origin, seen: parsed.href }
}

/** @internal */
export class CookieJar {
  readonly #byOrigin = new Map<string, ReadonlyArray<Cookies.Cookie>>()

  /** Keeps what a response from this address set, and drops what it deleted. */
  keep(url: string, cookies: Cookies.Cookies, now: number): void {
    const from = parse(url)
    if (from === undefined || Cookies.isEmpty(cookies)) return
    this.#byOrigin.set(
      from.origin,
      Cookies.mergeIntoArray(this.#byOrigin.get(from.origin) ?? [], from.seen, cookies, now)
    )
  }

  /** The `Cookie` header of a request to this address, beside what it carries already. */
  header(url: string, now: number, given?: string): string | undefined {
    const to = parse(url)
    const kept = to === undefined ? undefined : this.#byOrigin.get(to.origin)
    const own = kept === undefined ? undefined : Cookies.toRequestCookieHeader(kept, to!.seen, now)
    return own === undefined || given === undefined || given === "" ? (own ?? given) : `${given}; ${own}`
  }
}
