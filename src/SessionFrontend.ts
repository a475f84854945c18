/**
 * The frontend: where tokens are read from a request, and how one is put on, or taken off, a response. Use
 * `layerCookie` for browsers, `layerHeader` or `layerBearer` for other clients, and `layerFirst` for several.
 *
 * @stability unstable
 * @since 0.1.0
 */

import * as Arr from "effect/Array"
import * as Config from "effect/Config"
import * as Context from "effect/Context"
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import * as Cookies from "effect/http/Cookies"
import type { HttpServerRequest } from "effect/http/HttpServerRequest"
import * as HttpServerResponse from "effect/http/HttpServerResponse"
import * as HttpApiSecurity from "effect/http-api/HttpApiSecurity"
import * as Layer from "effect/Layer"
import * as Option from "effect/Option"
import type * as Redacted from "effect/Redacted"
import { errorOf, failure } from "./internal/exit.ts"
import { carriedBy } from "./internal/frontend/carried.ts"
import { isToken, problemsOf } from "./internal/frontend/cookieAttributes.ts"
import * as CookieHeader from "./internal/frontend/cookieHeader.ts"
import { originProblem } from "./internal/frontend/origins.ts"
import { requestHeader } from "./internal/frontend/requestHeader.ts"
import * as Registry from "./internal/registry.ts"
import { redact, textOf } from "./internal/token/redacted.ts"
import { SessionConfigError, SessionInvalid, SessionMissing } from "./SessionError.ts"

/**
 * How a token travels.
 *
 * @stability unstable
 * @category models
 * @since 0.1.0
 */
export type Transport = "cookie" | "header"

/**
 * A token as a request carries it: not yet checked.
 *
 * @stability unstable
 * @category models
 * @since 0.1.0
 */
export interface Credential {
  readonly token: Redacted.Redacted<string>
  readonly via: Transport
  /** Whether `attach` can give the client another token in its place. @default true */
  readonly isReplaceable?: boolean | undefined
}

/**
 * A token to put on a response.
 *
 * @stability unstable
 * @category models
 * @since 0.1.0
 */
export interface Issued {
  readonly token: Redacted.Redacted<string>
  /** The time until the absolute deadline; `None` for a cookie that ends with the browser. */
  readonly maxAge: Option.Option<Duration.Duration>
  /** How the request's own token came, if it carried one: the new token goes the same way. */
  readonly via: Option.Option<Transport>
}

/**
 * The frontend of one session definition.
 *
 * @stability unstable
 * @category services
 * @since 0.1.0
 */
export class SessionFrontend extends Context.Service<
  SessionFrontend,
  {
    /** The places tokens are read from, as security schemes. */
    readonly security: ReadonlyArray<HttpApiSecurity.HttpApiSecurity>
    /** Every token the request carries in this frontend's places, in order, at most four. */
    readonly extract: (
      request: HttpServerRequest
    ) => Effect.Effect<readonly [Credential, ...ReadonlyArray<Credential>], SessionMissing | SessionInvalid>
    /** Puts a token on a response. Total: it neither fails nor throws. */
    readonly attach: (
      response: HttpServerResponse.HttpServerResponse,
      issued: Issued
    ) => HttpServerResponse.HttpServerResponse
    /** Tells the client to forget the token it sent. Total. */
    readonly detach: (
      response: HttpServerResponse.HttpServerResponse,
      via: Transport
    ) => HttpServerResponse.HttpServerResponse
    /** Every token the request carries, for log-out. It has no limit. Without it the tokens of `extract` are taken. */
    readonly carried?: ((request: HttpServerRequest) => Effect.Effect<ReadonlyArray<Credential>>) | undefined
    /**
     * For the cross-origin check: whether the cookie travels over https alone (the default), and which origins besides
     * the app's own may send unsafe requests (by default none).
     */
    readonly origins?: { readonly secure: boolean; readonly trusted: ReadonlyArray<string> } | undefined
  }
>()("effect-sessions/SessionFrontend") {}

/** An honest client carries one, and perhaps those of older configurations. */
const maxTokens = 4

const missing = failure(new SessionMissing())
const tooMany = failure(new SessionInvalid({ reason: "Ambiguous" }))

const credential = (text: string, via: Transport): Credential => ({ token: redact(text), via })

const extracted = (
  found: ReadonlyArray<Credential>
): Exit.Exit<readonly [Credential, ...ReadonlyArray<Credential>], SessionMissing | SessionInvalid> => {
  if (!Arr.isReadonlyArrayNonEmpty(found)) return missing
  return found.length > maxTokens ? tooMany : Exit.succeed(found)
}

/**
 * The session cookie. It is always `HttpOnly`.
 *
 * @stability unstable
 * @category options
 * @since 0.1.0
 */
export interface CookieOptions {
  /**
   * @default "__Host-session"; "__Secure-session" with a domain or a path; "session" without secure
   */
  readonly name?: string | undefined
  /** @default "/" */
  readonly path?: string | undefined
  /** Shares the cookie with every host below this one. Left out by default. */
  readonly domain?: string | undefined
  /**
   * Not derived from the request, which is plain http behind a proxy. Set it to `false` only to develop over plain http.
   *
   * @default true (ASVS 3.3.1)
   */
  readonly secure?: boolean | undefined
  /** @default "lax": links from elsewhere find the user logged in; unsafe methods are checked by origin */
  readonly sameSite?: "lax" | "strict" | "none" | undefined
  /** @default false */
  readonly partitioned?: boolean | undefined
  /**
   * Origins beside the app's own whose pages may send unsafe requests with this cookie: `"https://app.example.com"`, or
   * that of an app shell or an extension, `"capacitor://localhost"` or `"chrome-extension://<id>"`.
   *
   * @default none
   */
  readonly trustedOrigins?: ReadonlyArray<string> | undefined
}

/**
 * Makes the cookie frontend, as `layerCookie` does.
 *
 * @stability experimental
 * @category constructors
 * @since 0.1.0
 */
export const makeCookie = Effect.fnUntraced(function* (
  options: CookieOptions = {}
): Effect.fn.Return<SessionFrontend["Service"], SessionConfigError> {
  const { domain, partitioned = false, path = "/", sameSite = "lax", secure = true, trustedOrigins = [] } = options
  const defaultName = domain !== undefined || path !== "/" ? "__Secure-session" : "__Host-session"
  const name = options.name ?? (secure ? defaultName : "session")
  const problems = [
    ...problemsOf({ name, path, domain, secure, sameSite, partitioned }),
    ...trustedOrigins.flatMap(originProblem)
  ]
  if (problems.length > 0) {
    return yield* new SessionConfigError({ layers: ["SessionFrontend.layerCookie"], problems })
  }

  const base = {
    path,
    httpOnly: true,
    secure,
    sameSite,
    ...(domain === undefined ? undefined : { domain }),
    ...(partitioned ? { partitioned } : undefined)
  }
  /** The same for all, so made once. */
  const expired = Cookies.expireCookieUnsafe(Cookies.empty, name, base)
  const credentials = (values: ReadonlyArray<string>) => values.map((value) => credential(value, "cookie"))
  return SessionFrontend.of({
    security: [HttpApiSecurity.apiKey({ in: "cookie", key: name })],
    extract: (request) =>
      Effect.suspend(() => {
        const header = requestHeader(request, "cookie")
        return header === undefined ? missing : extracted(credentials(CookieHeader.values(header, name)))
      }),
    carried: (request) =>
      Effect.sync(() => credentials(CookieHeader.allValues(requestHeader(request, "cookie") ?? "", name))),
    attach: (response, { maxAge, token, via }) => {
      if (Option.isSome(via) && via.value !== "cookie") return response
      // A whole second at least: browsers read `Max-Age=0` as deletion.
      const attributes = Option.isNone(maxAge)
        ? base
        : { ...base, maxAge: Duration.seconds(Math.max(1, Math.floor(Duration.toSeconds(maxAge.value)))) }
      return HttpServerResponse.setCookieUnsafe(response, name, textOf(token), attributes)
    },
    detach: (response, via) => (via === "cookie" ? HttpServerResponse.mergeCookies(response, expired) : response),
    origins: { secure, trusted: trustedOrigins }
  })
})

/**
 * Layer of the cookie frontend: `__Host-session; Path=/; Secure; HttpOnly; SameSite=Lax` by default. Fails with a
 * `SessionConfigError` on attributes that contradict each other.
 *
 * **Gotchas**
 *
 * A service on another port of the same host, or with `domain` on any host below, can read this cookie or set another
 * of its name (RFC 6265bis 8.6). Two cookies of two live sessions are refused as `Ambiguous`.
 *
 * @stability unstable
 * @category layers
 * @since 0.1.0
 */
export const layerCookie = (options: CookieOptions = {}): Layer.Layer<SessionFrontend, SessionConfigError> =>
  Registry.effect(SessionFrontend, makeCookie(options))

/**
 * Layer of the cookie frontend with options from configuration: `layerCookie`.
 *
 * @stability unstable
 * @category layers
 * @since 0.1.0
 */
export const layerCookieConfig = (
  options: Config.Wrap<CookieOptions>
): Layer.Layer<SessionFrontend, SessionConfigError | Config.ConfigError> =>
  Registry.effect(SessionFrontend, Effect.flatMap(Config.unwrap(options), makeCookie))

/** Headers with a meaning of their own, which a token must not take. */
const reserved = new Set(["authorization", "cookie", "set-cookie", "host", "origin", "content-type", "content-length"])

/**
 * Options of a header frontend.
 *
 * @stability unstable
 * @category options
 * @since 0.1.0
 */
export interface HeaderOptions {
  /** The header's name, in any case: an HTTP token without a meaning of its own, `"x-session"`. */
  readonly name: string
}

/**
 * Makes a header frontend, as `layerHeader` does.
 *
 * @stability experimental
 * @category constructors
 * @since 0.1.0
 */
export const makeHeader = (options: HeaderOptions): Effect.Effect<SessionFrontend["Service"], SessionConfigError> =>
  Effect.suspend(() => {
    const name = options.name.toLowerCase()
    if (!isToken(name) || reserved.has(name)) {
      const problem = `header name ${JSON.stringify(options.name.slice(0, 64))} must be an HTTP token with no meaning of its own; for Authorization use layerBearer`
      return new SessionConfigError({ layers: ["SessionFrontend.layerHeader"], problems: [problem] })
    }
    return Effect.succeed(
      SessionFrontend.of({
        security: [HttpApiSecurity.apiKey({ in: "header", key: options.name })],
        extract: (request) =>
          Effect.suspend(() => {
            const value = requestHeader(request, name)
            return value === undefined || value === "" ? missing : Exit.succeed([credential(value, "header")])
          }),
        attach: (response, { token, via }) =>
          Option.isSome(via) && via.value !== "header"
            ? response
            : HttpServerResponse.setHeader(response, name, textOf(token)),
        detach: (response) => HttpServerResponse.removeHeader(response, name)
      })
    )
  })

/**
 * Layer of a frontend that reads the token from a header of its own, and puts a new token in the same header of the
 * response. Fails with a `SessionConfigError` on a name that is none, or has a meaning of its own.
 *
 * **Gotchas**
 *
 * Effect prints the values of headers, except `authorization`, `cookie`, `set-cookie` and `x-api-key`, unless their
 * names are added to `Headers.CurrentRedactedNames`, as docs/operating.md shows. The log warns where the tracer records
 * this one.
 *
 * @stability unstable
 * @category layers
 * @since 0.1.0
 */
export const layerHeader = (options: HeaderOptions): Layer.Layer<SessionFrontend, SessionConfigError> =>
  Registry.effect(SessionFrontend, makeHeader(options))

/**
 * Layer of a header frontend with options from configuration: `layerHeader`.
 *
 * @stability experimental
 * @category layers
 * @since 0.1.0
 */
export const layerHeaderConfig = (
  options: Config.Wrap<HeaderOptions>
): Layer.Layer<SessionFrontend, SessionConfigError | Config.ConfigError> =>
  Registry.effect(SessionFrontend, Effect.flatMap(Config.unwrap(options), makeHeader))

/** RFC 6750 2.1: the scheme in any case, one space, then the token and nothing else. */
const bearer = /^bearer ([^\s,]+)$/i

/**
 * Makes the bearer frontend, as `layerBearer` does.
 *
 * @stability experimental
 * @category constructors
 * @since 0.1.0
 */
export const makeBearer = (): SessionFrontend["Service"] => ({
  security: [HttpApiSecurity.bearer],
  extract: (request) =>
    Effect.suspend(() => {
      const value = requestHeader(request, "authorization")
      // Another scheme is for another party, such as a proxy.
      if (value === undefined || !/^bearer +[^ ]/i.test(value)) return missing
      // A value that is not one token is passed on unchanged, and refused as `Malformed`.
      const found = credential(bearer.exec(value)?.[1] ?? value, "header")
      return Exit.succeed([{ ...found, isReplaceable: false }])
    }),
  attach: (response) => response,
  detach: (response) => response
})

/**
 * Layer of a frontend that reads the token from `Authorization: Bearer <token>`. It puts nothing on a response: the
 * handler sends `session.token` to the client, in a body for example.
 *
 * @stability unstable
 * @category layers
 * @since 0.1.0
 */
export const layerBearer = (): Layer.Layer<SessionFrontend> => Layer.sync(SessionFrontend, makeBearer)

/**
 * Makes one frontend of several, asked in order, as `layerFirst` does of layers.
 *
 * @stability experimental
 * @category constructors
 * @since 0.1.0
 */
export const makeFirst = (
  members: Arr.NonEmptyReadonlyArray<SessionFrontend["Service"]>
): SessionFrontend["Service"] => {
  const origins = members.flatMap((member) => (member.origins === undefined ? [] : [member.origins]))
  const cookiesOf = ({ security }: SessionFrontend["Service"]) =>
    security.flatMap((scheme) => (scheme._tag === "ApiKey" && scheme.in === "cookie" ? [scheme.key] : []))
  /** The cookies of other names than this member's. A client that gets another token must not go on sending those. */
  const withoutOthers = (response: HttpServerResponse.HttpServerResponse, member: SessionFrontend["Service"]) => {
    const own = cookiesOf(member)
    if (own.length === 0) return response
    return members
      .filter((other) => cookiesOf(other).length > 0 && cookiesOf(other).every((name) => !own.includes(name)))
      .reduce((response, other) => other.detach(response, "cookie"), response)
  }
  return {
    security: members.flatMap((member) => member.security),
    extract: Effect.fnUntraced(function* (request) {
      const found: Array<Credential> = []
      for (const member of members) {
        const exit = yield* Effect.exit(member.extract(request))
        if (Exit.isSuccess(exit)) found.push(...exit.value)
        else if (!Exit.hasFails(exit) || errorOf(exit.cause)?._tag === "SessionInvalid") {
          return yield* exit
        }
      }
      return yield* extracted(found)
    }),
    carried: (request) =>
      Effect.map(
        Effect.forEach(members, (member) => carriedBy(member, request)),
        (found) => found.flat()
      ),
    attach: (response, issued) => {
      for (const member of members) {
        const attached = member.attach(response, issued)
        if (attached !== response) return withoutOthers(attached, member)
      }
      return response
    },
    detach: (response, via) => members.reduce((response, member) => member.detach(response, via), response),
    ...(origins.length === 0
      ? undefined
      : {
          origins: {
            secure: origins.every(({ secure }) => secure),
            trusted: origins.flatMap(({ trusted }) => trusted)
          }
        })
  }
}

// A frontend layer may need and fail with anything, which `layerFirst` passes on.
// oxlint-disable-next-line typescript/no-explicit-any
type AnyFrontend = Layer.Layer<SessionFrontend, any, any>

/**
 * Layer of several frontends in one, asked in order.
 *
 * **Details**
 *
 * - If the token in a header is invalid, a valid cookie does not replace it. Otherwise invalid tokens beside the valid one
 *   are ignored; two valid tokens of different sessions are `Ambiguous`.
 * - A token that came in a header is never answered with a cookie, nor the other way round. A new session of a request
 *   without a token goes to the first frontend that puts something on a response.
 * - Of several cookies the first one is set, and those of other names are taken off with it: so a cookie gets another name.
 *
 * @stability unstable
 * @category layers
 * @since 0.1.0
 */
export const layerFirst = <const Ls extends readonly [AnyFrontend, ...ReadonlyArray<AnyFrontend>]>(
  frontends: Ls
): Layer.Layer<SessionFrontend, SessionConfigError | Layer.Error<Ls[number]>, Layer.Services<Ls[number]>> =>
  Layer.effect(
    SessionFrontend,
    Effect.gen(function* () {
      const memoMap = yield* Layer.CurrentMemoMap
      const scope = yield* Effect.scope
      // All members share one key, so each is built on its own, with what the application has built already.
      const members = yield* Effect.forEach(frontends, (frontend: Ls[number]) =>
        Effect.map(Layer.buildWithMemoMap(frontend, memoMap, scope), (built) => Context.get(built, SessionFrontend))
      )
      return makeFirst(members)
    })
    // The memo map and the scope are the layer's own, provided wherever a layer is built.
  ) as Layer.Layer<SessionFrontend, SessionConfigError | Layer.Error<Ls[number]>, Layer.Services<Ls[number]>>
