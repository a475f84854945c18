/** The two sessions: a customer's, which begins as a visitor's, and an administrator's, with a cookie of its own. */
import { Config, Effect, Layer, Option, Schema } from "effect"
import type { HttpServerRequest } from "effect/http"
import { Session, SessionFrontend, SessionMiddleware, SessionVerifier } from "effect-sessions"
import { Audit } from "./audit.ts"
import { Users } from "./users.ts"

const User = Schema.Struct({ id: Schema.String, name: Schema.String })

export const UserData = Schema.Struct({
  /** None for a visitor: there is a session, and no guard lets it through. */
  user: Schema.optionalKey(User),
  cart: Schema.Array(Schema.String),
  /** Shown on the next page, once. */
  flash: Schema.optionalKey(Schema.String)
})
export type UserData = typeof UserData.Type

export class UserSession extends Session.Service<UserSession>()("shop/UserSession", {
  data: UserData,
  principal: (data) => data.user?.id
}) {}

export class AdminSession extends Session.Service<AdminSession>()("shop/AdminSession", {
  data: User,
  principal: (data) => data.id
}) {}

/** The layer's timeouts are the longest a session may have. Let them be those of "remember me"... */
const longest = { idleTimeout: "30 days", absoluteTimeout: "30 days" } as const

/** ... and give the others shorter ones. A browser that restores its tabs restores such cookies too: these are what counts. */
export const lasting = (remember: boolean) =>
  remember ? {} : ({ idleTimeout: "1 hour", absoluteTimeout: "12 hours", cookie: "browser" } as const)

const browsers = [/\b(Edg)\//, /\b(Firefox)\//, /\b(Chrom)(?:e|ium)\//, /\b(Safari)\//] as const
const systems = [/(Android)/, /(iPhone|iPad)/, /(Windows)/, /(Mac OS X)/, /(Linux)/] as const
const names: Readonly<Record<string, string>> = { Edg: "Edge", Chrom: "Chrome", "Mac OS X": "macOS" }

/** What a user is to recognise their device by. It is what the client says of itself: shown, and compared with nothing. */
export const labelOf = (userAgent = ""): string => {
  const find = (patterns: ReadonlyArray<RegExp>) => {
    const found = patterns.map((pattern) => pattern.exec(userAgent)?.[1]).find((name) => name !== undefined)
    return found && (names[found] ?? found)
  }
  return `${find(browsers) ?? "A browser"} on ${find(systems) ?? "an unknown system"}`
}

/** Behind a proxy the address is the proxy's: `HttpMiddleware.xForwardedHeaders` reads what that adds. */
const client = ({ headers, remoteAddress }: HttpServerRequest.HttpServerRequest) => ({
  label: labelOf(headers["user-agent"]),
  userAgent: headers["user-agent"],
  address: Option.getOrUndefined(remoteAddress)?.replace(/^::ffff:/, "")
})

/** This example speaks plain http on localhost. Behind https set it to true: the cookie is then `__Host-session`. */
const secure = Config.Boolean("SESSION_COOKIE_SECURE").pipe(Config.withDefault(false))

const UserSessionLive = SessionMiddleware.layer(UserSession, {
  ...longest,
  maxPerPrincipal: 5,
  client,
  onEvent: (event) => Audit.use((audit) => audit.session(event, (data) => data.user?.name))
}).pipe(
  Layer.provide([
    SessionFrontend.layerCookieConfig({ secure }),
    // A session of an account that is gone is refused, wherever that was deleted.
    SessionVerifier.layer(
      UserSession,
      Effect.map(
        Users,
        (users) =>
          ({ data }) =>
            users.verify(data.user?.id)
      )
    )
  ])
)

const AdminSessionLive = SessionMiddleware.layer(AdminSession, {
  idleTimeout: "15 minutes",
  absoluteTimeout: "8 hours",
  client,
  onEvent: (event) => Audit.use((audit) => audit.session(event, (data) => data.name))
}).pipe(
  Layer.provide([
    SessionFrontend.layerCookieConfig({
      name: Config.succeed("admin"),
      path: Config.succeed("/admin"),
      sameSite: Config.succeed("strict"),
      secure
    }),
    SessionVerifier.layer(
      AdminSession,
      Effect.map(
        Users,
        (users) =>
          ({ data }) =>
            users.verify(data.id)
      )
    )
  ])
)

/** One store and one secret under both. */
export const Sessions = Layer.merge(UserSessionLive, AdminSessionLive)
