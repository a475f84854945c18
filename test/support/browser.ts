/** A browser's cookies: RFC 6265bis, what concerns a session cookie. */
import { Clock, Effect } from "effect"
import type { Answer, RequestOptions, Send } from "./client.ts"

interface StoredCookie {
  readonly name: string
  readonly value: string
  readonly host: string
  readonly hostOnly: boolean
  readonly path: string
  readonly secure: boolean
  readonly httpOnly: boolean
  readonly expiresAt: number
}

const maxLife = 400 * 86_400_000

const domainMatches = (host: string, domain: string): boolean => host === domain || host.endsWith(`.${domain}`)

const pathMatches = (path: string, cookiePath: string): boolean =>
  path === cookiePath || path.startsWith(cookiePath.endsWith("/") ? cookiePath : `${cookiePath}/`)

const isTrustworthy = (url: URL): boolean => url.protocol === "https:" || url.hostname === "localhost"

export class Jar {
  readonly #cookies = new Map<string, StoredCookie>()

  /** 5.6 and 5.7: keeps a cookie, lets it replace or delete its namesake, or ignores it. */
  store(url: URL, header: string, now: number): void {
    const [pair, ...attributes] = header.split(";").map((part) => part.trim())
    const at = pair!.indexOf("=")
    const name = pair!.slice(0, at)
    const value = pair!.slice(at + 1)
    const attribute = new Map(
      attributes.map((text) => {
        const [key, ...rest] = text.split("=")
        return [key!.toLowerCase(), rest.join("=")]
      })
    )
    const domain = attribute.get("domain")?.toLowerCase()
    const path = attribute.get("path")?.startsWith("/") === true ? attribute.get("path")! : "/"
    const secure = attribute.has("secure")
    const lower = name.toLowerCase()
    if (at < 1 || name.length + value.length > 4096) return
    if (secure && !isTrustworthy(url)) return
    if (domain !== undefined && !domainMatches(url.hostname, domain)) return
    if (lower.startsWith("__secure-") && !secure) return
    if (lower.startsWith("__http-") && !(secure && attribute.has("httponly"))) return
    if (lower.startsWith("__host-") && !(secure && domain === undefined && attribute.get("path") === "/")) return
    if (lower.startsWith("__host-http-") && !attribute.has("httponly")) return
    if (attribute.get("samesite")?.toLowerCase() === "none" && !secure) return
    const maxAge = attribute.get("max-age")
    const expires = attribute.get("expires")
    const expiresAt =
      maxAge !== undefined
        ? now + Math.min(Number(maxAge) * 1000, maxLife)
        : expires !== undefined
          ? Date.parse(expires)
          : Infinity
    const host = domain ?? url.hostname
    const key = `${name};${host};${path}`
    if (expiresAt <= now) this.#cookies.delete(key)
    else {
      this.#cookies.set(key, {
        name,
        value,
        host,
        hostOnly: domain === undefined,
        path,
        secure,
        httpOnly: attribute.has("httponly"),
        expiresAt
      })
    }
  }

  /** 5.8.3: the `Cookie` header of a request, longest paths first. */
  header(url: URL, now: number): string {
    return [...this.#cookies.values()]
      .filter(
        (cookie) =>
          cookie.expiresAt > now &&
          (cookie.hostOnly ? url.hostname === cookie.host : domainMatches(url.hostname, cookie.host)) &&
          pathMatches(url.pathname, cookie.path) &&
          (!cookie.secure || isTrustworthy(url))
      )
      .sort((a, b) => b.path.length - a.path.length)
      .map(({ name, value }) => `${name}=${value}`)
      .join("; ")
  }

  /** What a script on the page sees. */
  get scriptable(): ReadonlyArray<string> {
    return [...this.#cookies.values()].filter(({ httpOnly }) => !httpOnly).map(({ name }) => name)
  }

  /** The browser is closed: cookies without a date are forgotten. */
  close(): void {
    for (const [key, { expiresAt }] of this.#cookies) if (expiresAt === Infinity) this.#cookies.delete(key)
  }
}

export interface Browser {
  readonly jar: Jar
  readonly visit: (method: string, url: string, options?: RequestOptions) => Effect.Effect<Answer>
}

export const make = (send: Send, origin = "https://app.test"): Browser => {
  const jar = new Jar()
  return {
    jar,
    visit: Effect.fnUntraced(function* (method, path, options) {
      const url = new URL(path, origin)
      const answer = yield* send(method, url.href, {
        ...options,
        cookie: jar.header(url, yield* Clock.currentTimeMillis)
      })
      const now = yield* Clock.currentTimeMillis
      for (const header of answer.setCookie) jar.store(url, header, now)
      return answer
    })
  }
}
