/**
 * The frontend: where tokens are read from a request, and how one is put on, or taken off, a response.
 *
 * It knows HTTP and nothing of sessions. A cookie by default; a header or a bearer token for clients that are no
 * browsers; `layerFirst` for several of them in one application.
 *
 * @since 0.1.0
 */
import * as Config from "effect/Config"
import * as Context from "effect/Context"
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import type { HttpServerRequest } from "effect/http/HttpServerRequest"
import * as HttpServerResponse from "effect/http/HttpServerResponse"
import * as HttpApiSecurity from "effect/http-api/HttpApiSecurity"
import * as Layer from "effect/Layer"
import * as Option from "effect/Option"
import * as Redacted from "effect/Redacted"
import type * as Scope from "effect/Scope"
import { failure } from "./internal/exit.ts"
import { carriedBy } from "./internal/frontend/carried.ts"
import { isToken, problemsOf } from "./internal/frontend/cookieAttributes.ts"
import * as CookieHeader from "./internal/frontend/cookieHeader.ts"
import { originProblem } from "./internal/frontend/origins.ts"
import { requestHeader } from "./internal/frontend/requestHeader.ts"
import * as Registry from "./internal/registry.ts"
import { redact } from "./internal/token/format.ts"
import { SessionInvalid, SessionMissing } from "./SessionError.ts"
import type { SessionConfigError } from "./SessionError.ts"

/**
 * How a token travels.
 *
 * @category models
 * @since 0.1.0
 */
export type Transport = "cookie" | "header"

/**
 * A token as a request carries it: not yet checked.
 *
 * @category models
 * @since 0.1.0
 */
export interface Credential {
  readonly token: Redacted.Redacted<string>
  readonly via: Transport
}

/**
 * A token to put on a response.
 *
 * @category models
 * @since 0.1.0
 */
export interface Issued {
  readonly token: Redacted.Redacted<string>
  /** What is left to the absolute deadline, or nothing for a cookie that ends with the browser. */
  readonly maxAge: Option.Option<Duration.Duration>
  /** How the request's own token came, if it carried one: the answer goes the same way. */
  readonly via: Option.Option<Transport>
}

/**
 * The frontend of one session definition.
 *
 * @category services
 * @since 0.1.0
 */
export class SessionFrontend extends Context.Service<
  SessionFrontend,
  {
    /** The places tokens are read from, as an API description names them. */
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
    /**
     * Every token the request carries, even if there are too many for `extract`: log-out ends all their sessions.
     * Without it, those `extract` answers.
     */
    readonly carried?: ((request: HttpServerRequest) => Effect.Effect<ReadonlyArray<Credential>>) | undefined
    /**
     * What the cross-origin check goes by: whether the cookie travels over https alone, and which origins besides the
     * app's own may send unsafe requests. Without it: https, and no other.
     */
    readonly origins?: { readonly secure: boolean; readonly trusted: ReadonlyArray<string> } | undefined
  }
>()("effect-sessions/SessionFrontend") {}

/** More than any client that means well carries: one, and what an older configuration left behind. */
const maxTokens = 4

const missing = failure(new SessionMissing())
const tooMany = failure(new SessionInvalid({ reason: "Ambiguous" }))

const credential = (text: string, via: Transport): Credential => ({ token: redact(text), via })

const credentials = (
  tokens: ReadonlyArray<string>,
  via: Transport
): Exit.Exit<readonly [Credential, ...ReadonlyArray<Credential>], SessionMissing | SessionInvalid> => {
  if (tokens.length === 1) return Exit.succeed([credential(tokens[0]!, via)])
  const [first, ...rest] = tokens.map((text) => credential(text, via))
  if (first === undefined) return missing
  return tokens.length > maxTokens ? tooMany : Exit.succeed([first, ...rest])
}

// -----------------------------------------------------------------------------
// Cookie
// -----------------------------------------------------------------------------

/**
 * The session cookie. It is always `HttpOnly`.
 *
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
  /** Shares the cookie with every host below this one, and so with whoever controls any of them. Left out by default. */
  readonly domain?: string | undefined
  /**
   * Never follows from the request: a proxy in front speaks https for the application. Set it to `false` only to
   * develop over plain http.
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
   * that of an app shell or an extension, `"capacitor://localhost"` or `"chrome-extension://<id>"`. Compared as they are.
   */
  readonly trustedOrigins?: ReadonlyArray<string> | undefined
}

const makeCookie = Effect.fnUntraced(function* (options: CookieOptions) {
  const secure = options.secure ?? true
  const path = options.path ?? "/"
  const attributes = {
    name:
      options.name ??
      (!secure ? "session" : options.domain !== undefined || path !== "/" ? "__Secure-session" : "__Host-session"),
    path,
    domain: options.domain,
    secure,
    sameSite: options.sameSite ?? "lax",
    partitioned: options.partitioned ?? false
  }
  const trusted = options.trustedOrigins ?? []
  const problems = [...problemsOf(attributes), ...trusted.flatMap(originProblem)]
  yield* (yield* Registry.Registry).check("SessionFrontend.layerCookie", problems)

  const { name } = attributes
  const base = {
    path,
    httpOnly: true,
    secure,
    sameSite: attributes.sameSite,
    ...(attributes.domain === undefined ? undefined : { domain: attributes.domain }),
    ...(attributes.partitioned ? { partitioned: true } : undefined)
  }
  return SessionFrontend.of({
    security: [HttpApiSecurity.apiKey({ in: "cookie", key: name })],
    extract: (request) =>
      Effect.suspend(() => {
        const header = requestHeader(request, "cookie")
        return header === undefined ? missing : credentials(CookieHeader.values(header, name), "cookie")
      }),
    carried: (request) =>
      Effect.sync(() =>
        CookieHeader.allValues(requestHeader(request, "cookie") ?? "", name).map((text) => credential(text, "cookie"))
      ),
    attach: (response, { maxAge, token, via }) => {
      if (Option.isSome(via) && via.value !== "cookie") return response
      return HttpServerResponse.setCookieUnsafe(
        response,
        name,
        Redacted.value(token),
        // A whole second at least: browsers read `Max-Age=0` as deletion.
        Option.isNone(maxAge)
          ? base
          : { ...base, maxAge: Duration.seconds(Math.max(1, Math.floor(Duration.toSeconds(maxAge.value)))) }
      )
    },
    detach: (response, via) =>
      via === "cookie" ? HttpServerResponse.expireCookieUnsafe(response, name, base) : response,
    origins: { secure, trusted }
  })
})

/**
 * Layer of the cookie frontend: `__Host-session; Path=/; Secure; HttpOnly; SameSite=Lax` unless told otherwise.
 *
 * Fails with a `SessionConfigError` on attributes that contradict each other.
 *
 * **Gotchas**
 *
 * Cookies know no port and `Domain` no neighbour one can trust: another service on the same host, or with `domain` on
 * any host below, can read this cookie or put one beside it (RFC 6265bis 8.6). Two cookies of two live sessions are
 * refused as `Ambiguous`.
 *
 * @category layers
 * @since 0.1.0
 */
export const layerCookie = (options: CookieOptions = {}): Layer.Layer<SessionFrontend, SessionConfigError> =>
  Layer.effect(SessionFrontend, makeCookie(options)).pipe(Layer.provide(Registry.layer))

/**
 * Layer of the cookie frontend with options from configuration.
 *
 * @category layers
 * @since 0.1.0
 */
export const layerCookieConfig = (
  options: Config.Wrap<CookieOptions>
): Layer.Layer<SessionFrontend, SessionConfigError | Config.ConfigError> =>
  Layer.effect(SessionFrontend, Effect.flatMap(Config.unwrap(options), makeCookie)).pipe(Layer.provide(Registry.layer))

// -----------------------------------------------------------------------------
// Headers
// -----------------------------------------------------------------------------

/** Headers with a meaning of their own, which a token must not take. */
const reserved = new Set(["authorization", "cookie", "set-cookie", "host", "origin", "content-type", "content-length"])

/**
 * Layer of a frontend that reads the token from a header of its own, and echoes a new token in the same header of the
 * response.
 *
 * **Gotchas**
 *
 * Effect hides the values of `authorization`, `cookie`, `set-cookie` and `x-api-key` wherever it prints headers. A
 * header with another name is hidden once it is added to `Headers.CurrentRedactedNames`.
 *
 * @category layers
 * @since 0.1.0
 */
export const layerHeader = (options: { readonly name: string }): Layer.Layer<SessionFrontend, SessionConfigError> => {
  const name = options.name.toLowerCase()
  const problem = `header name ${JSON.stringify(options.name.slice(0, 64))} must be an HTTP token with no meaning of its own; for Authorization use layerBearer`
  return Layer.effect(
    SessionFrontend,
    Effect.gen(function* () {
      const problems = isToken(name) && !reserved.has(name) ? [] : [problem]
      yield* (yield* Registry.Registry).check("SessionFrontend.layerHeader", problems)
      return SessionFrontend.of({
        security: [HttpApiSecurity.apiKey({ in: "header", key: options.name })],
        extract: (request) =>
          Effect.suspend(() => {
            const value = requestHeader(request, name)
            return value === undefined || value === "" ? missing : credentials([value], "header")
          }),
        attach: (response, { token, via }) =>
          Option.isSome(via) && via.value !== "header"
            ? response
            : HttpServerResponse.setHeader(response, name, Redacted.value(token)),
        detach: (response) => HttpServerResponse.removeHeader(response, name)
      })
    })
  ).pipe(Layer.provide(Registry.layer))
}

/** RFC 6750 2.1: the scheme in any case, one space, then the token and nothing else. */
const bearer = /^bearer ([^\s,]+)$/i

/**
 * Layer of a frontend that reads the token from `Authorization: Bearer <token>`. It puts nothing on a response: the
 * handler hands out `session.token` in its own way.
 *
 * @category layers
 * @since 0.1.0
 */
export const layerBearer = (): Layer.Layer<SessionFrontend> =>
  Layer.succeed(SessionFrontend, {
    security: [HttpApiSecurity.bearer],
    extract: (request) =>
      Effect.suspend(() => {
        const value = requestHeader(request, "authorization")
        // Another scheme is read by another party, such as a proxy.
        if (value === undefined || !/^bearer +[^ ]/i.test(value)) return missing
        // What is not one token is passed on as it is, and refused as `Malformed`.
        return credentials([bearer.exec(value)?.[1] ?? value], "header")
      }),
    attach: (response) => response,
    detach: (response) => response
  })

// -----------------------------------------------------------------------------
// Several
// -----------------------------------------------------------------------------

// A frontend layer may need and fail with anything, which `layerFirst` passes on.
// oxlint-disable-next-line typescript/no-explicit-any
type AnyFrontend = Layer.Layer<SessionFrontend, any, any>

/**
 * Layer of several frontends in one, looked through in order.
 *
 * **Details**
 *
 * A token in a header that does not stand is never made good by a cookie. Of several tokens one distinct session may
 * stand: garbage beside it is ignored, a second one is `Ambiguous`. What came in a header is never answered with a
 * cookie, nor the other way; a new session of a request without a token goes to the first frontend that puts something
 * on a response.
 *
 * @category layers
 * @since 0.1.0
 */
export const layerFirst = <const Ls extends readonly [AnyFrontend, ...ReadonlyArray<AnyFrontend>]>(
  frontends: Ls
): Layer.Layer<SessionFrontend, SessionConfigError | Layer.Error<Ls[number]>, Layer.Services<Ls[number]>> =>
  Layer.effect(
    SessionFrontend,
    Effect.gen(function* () {
      const context = yield* Effect.context<Layer.CurrentMemoMap | Scope.Scope>()
      const memoMap = Context.get(context, Layer.CurrentMemoMap)
      const scope = yield* Effect.scope
      // All members share one key, so each is built on its own, with what the application has built already.
      const members = yield* Effect.forEach(frontends, (frontend: Ls[number]) =>
        Effect.map(Layer.buildWithMemoMap(frontend, memoMap, scope), (built) => Context.get(built, SessionFrontend))
      )
      return combine(members)
    })
    // The memo map and the scope are the layer's own, provided wherever a layer is built.
  ) as Layer.Layer<SessionFrontend, SessionConfigError | Layer.Error<Ls[number]>, Layer.Services<Ls[number]>>

const combine = (members: ReadonlyArray<SessionFrontend["Service"]>): SessionFrontend["Service"] => {
  const origins = members.flatMap((member) => (member.origins === undefined ? [] : [member.origins]))
  return {
    security: members.flatMap((member) => member.security),
    extract: Effect.fnUntraced(function* (request) {
      const found: Array<Credential> = []
      for (const member of members) {
        const exit = yield* Effect.exit(member.extract(request))
        if (Exit.isSuccess(exit)) found.push(...exit.value)
        else if (!Exit.hasFails(exit) || Option.getOrUndefined(Exit.findErrorOption(exit))?._tag === "SessionInvalid") {
          return yield* exit
        }
      }
      const [first, ...rest] = found
      if (first === undefined) return yield* missing
      return found.length > maxTokens ? yield* tooMany : ([first, ...rest] as const)
    }),
    carried: (request) =>
      Effect.map(
        Effect.forEach(members, (member) => carriedBy(member, request)),
        (found) => found.flat()
      ),
    attach: (response, issued) => {
      for (const member of members) {
        const attached = member.attach(response, issued)
        if (attached !== response) return attached
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
