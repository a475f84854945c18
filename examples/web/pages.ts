/** The frame of every page, what is said where a request fails, and the headers of every response. */
import { Effect, Layer, Option, Struct } from "effect"
import { HttpBody, HttpEffect, HttpRouter, HttpServerResponse } from "effect/http"
import type { HttpServerRequest } from "effect/http"
import { SessionMiddleware } from "effect-sessions"
import { button, html, type Html, respond, seeOther } from "./html.ts"
import { AdminSession, type UserData, UserSession } from "./session.ts"

// -----------------------------------------------------------------------------
// Pages
// -----------------------------------------------------------------------------

const frame = (title: string, navigation: Html, body: Html): Html => html`<!doctype html>
<html lang="en">
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>${title} · Leaf and Kettle</title>
<link rel="icon" href="data:,">
<link rel="stylesheet" href="/style.css">
<script src="/page.js" defer></script>
<header><a href="/">Leaf and Kettle</a>${navigation}</header>
<main><h1>${title}</h1>${body}</main>
</html>`

/** A page for customers. `data` are those of the session, if there is one. */
export const page = (title: string, data: UserData | undefined, body: Html, status = 200) => {
  const navigation =
    data?.user === undefined
      ? html`<a href="/login">Log in</a><a href="/signup">Sign up</a>`
      : html`<a href="/devices">Your devices</a><a href="/account">${data.user.name}</a>${button("Log out", "/logout", "plain")}`
  const flash = data?.flash !== undefined && html`<p class="flash" role="status">${data.flash}</p>`
  return respond(frame(title, navigation, html`${flash}${body}`), status)
}

export const adminPage = (title: string, body: Html, status = 200) =>
  respond(
    frame(
      title,
      html`<a href="/admin">Users</a><a href="/admin/audit">Audit</a>${button("Log out", "/admin/logout", "plain")}`,
      body
    ),
    status
  )

export const alarm = (text: string): Html => html`<p class="flash alarm" role="alert">${text}</p>`

/** The data of the session, if there is one, for a page that shows its flash message: the next one does not. */
export const shownData = Effect.gen(function* () {
  const session = yield* UserSession
  const data = Option.map(yield* session.option, ({ data }) => data)
  if (Option.isNone(data)) return undefined
  if (data.value.flash !== undefined) yield* session.update((data) => Struct.omit(data, ["flash"]))
  return data.value
})

/** Says so on the page that comes next. */
export const flash = (text: string) =>
  Effect.flatMap(UserSession, (session) => session.update((data) => ({ ...data, flash: text })))

// -----------------------------------------------------------------------------
// Guards
// -----------------------------------------------------------------------------

/** Where to go after the log-in: a path of our own, without blanks, some of which browsers take out. */
export const ownPath = (next = "/"): string => (/^\/(?![/\\])[\x21-\x7e]*$/.test(next) ? next : "/")

/** Who has no session goes to the log-in and comes back; who has to prove that it is still them does so elsewhere. */
const sendTo =
  (logIn: string, confirm = logIn) =>
  <E extends { readonly _tag: string }>(error: E, { method, url }: HttpServerRequest.HttpServerRequest) => {
    const goTo = (path: string, next: string) => Effect.succeed(seeOther(`${path}?next=${encodeURIComponent(next)}`))
    // The forms behind `confirm` have a page at their own address.
    if (error._tag === "SessionStale") return goTo(confirm, url)
    return ["SessionMissing", "SessionInvalid", "SessionRefused"].includes(error._tag)
      ? goTo(logIn, method === "GET" ? url : "/")
      : Effect.fail(error)
  }

export const Visitor = SessionMiddleware.router(UserSession)
export const LoggedIn = SessionMiddleware.routerRequired(UserSession, { onFailure: sendTo("/login") })
/** Sudo mode: who has proved within the last minutes that it is them. */
export const Sudo = SessionMiddleware.routerRequired(UserSession, {
  fresh: { within: "5 minutes" },
  onFailure: sendTo("/login", "/confirm")
})
export const AdminVisitor = SessionMiddleware.router(AdminSession)
export const Admin = SessionMiddleware.routerRequired(AdminSession, { onFailure: sendTo("/admin/login") })

// -----------------------------------------------------------------------------
// Every response
// -----------------------------------------------------------------------------

const headers = {
  "content-security-policy": [
    "default-src 'none'",
    "style-src 'self'",
    "script-src 'self'",
    "connect-src 'self'",
    "img-src data:",
    "form-action 'self'",
    "base-uri 'none'",
    "frame-ancestors 'none'"
  ].join("; "),
  "referrer-policy": "same-origin",
  "x-content-type-options": "nosniff",
  "cross-origin-opener-policy": "same-origin"
}

/** What a person is told of a status. The body that a program would read is left out. */
const words: Readonly<Record<number, readonly [title: string, text: string]>> = {
  400: ["That did not work", "Something in the form is missing, or has a value that it cannot have."],
  401: ["Please log in", "This page is for those who are logged in."],
  403: ["Not allowed", "This was sent by a page of another site."],
  404: ["Not found", "There is no such page."],
  409: ["Please try again", "Another of your tabs changed something at the same moment."],
  500: ["Something went wrong", "It is our fault, and has been noted."],
  503: ["Back in a moment", "We cannot look up sessions just now. You are still logged in: please try again."]
}

const withErrorPage = (response: HttpServerResponse.HttpServerResponse) => {
  const isPage = response.headers["content-type"]?.startsWith("text/html") === true
  if (response.status < 400 || isPage) return HttpServerResponse.setHeaders(response, headers)
  const [title, text] = words[response.status] ?? words[response.status < 500 ? 400 : 500]!
  const body = html`<p>${text}</p>
    <p><a href="/login">Log in</a> or <a href="/">go to the shop</a></p>`
  return HttpServerResponse.setBody(
    HttpServerResponse.setHeaders(response, headers),
    HttpBody.text(frame(title, html``, body).source, "text/html; charset=utf-8")
  )
}

/** Also of what failed and was answered without a handler: its status, `WWW-Authenticate` and `Retry-After` stay. */
export const ErrorPages = Layer.merge(
  HttpRouter.middleware(
    HttpEffect.withPreResponseHandler((_, response) => Effect.succeed(withErrorPage(response))),
    { global: true }
  ),
  HttpRouter.add("*", "*", Effect.succeed(HttpServerResponse.empty({ status: 404 })))
)
