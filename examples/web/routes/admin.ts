/** The administrator: a session and a cookie of their own, the users and their sessions, and the audit. */
import { Clock, DateTime, Effect, Layer, Option, Schema } from "effect"
import { HttpRouter, HttpServerRequest } from "effect/http"
import { Audit } from "../audit.ts"
import { button, type Html, html, seeOther } from "../html.ts"
import { Admin, adminPage, AdminVisitor, alarm } from "../pages.ts"
import { AdminSession, UserSession } from "../session.ts"
import { Users } from "../users.ts"
import { ago } from "./devices.ts"
import { Name, Password, passwordField } from "./log-in.ts"

const logInPage = (hint?: Html, status?: number) =>
  adminPage(
    "Administration",
    html`${hint}<form class="card fields" method="post" action="/admin/login">
      <label>Name <input name="name" autocomplete="username" required></label>${passwordField("Password", false)}
      <button>Log in</button>
    </form>`,
    status
  )

const LogInForm = HttpServerRequest.schemaBodyUrlParams(Schema.Struct({ name: Name, password: Password }))

const logIn = Effect.gen(function* () {
  const { name, password } = yield* LogInForm
  const user = yield* (yield* Users).check(name, password, "admin")
  if (Option.isNone(user)) {
    yield* (yield* Audit).note("wrong password, or no such administrator", name)
    return logInPage(alarm("Name and password do not go together."), 401)
  }
  yield* (yield* AdminSession).create(user.value, { cookie: "browser", methods: ["pwd"] })
  return seeOther("/admin")
})

const logOut = Effect.gen(function* () {
  yield* (yield* AdminSession).destroy
  return seeOther("/admin/login")
})

const showUsers = Effect.gen(function* () {
  // Sessions of others are reached through the manager, without a request of theirs.
  const manager = yield* UserSession.Manager
  const now = yield* Clock.currentTimeMillis
  const rows = yield* Effect.forEach(yield* (yield* Users).customers, ({ id, name }) =>
    Effect.map(manager.list(id), (sessions) => {
      const latest = sessions
        .map(({ lastSeenAt }) => lastSeenAt)
        .sort(DateTime.Order)
        .at(-1)
      return html`<li>
        <span>${name} <small>sessions: ${sessions.length}${latest && `, seen ${ago(latest, now)}`}</small></span>
        ${button("End sessions", "/admin/end", "alarm", ["id", id])}</li>`
    })
  )
  return adminPage("Users", html`<ul class="card rows">${rows}</ul>`)
})

const EndForm = HttpServerRequest.schemaBodyUrlParams(Schema.Struct({ id: Schema.String }))

const endSessions = Effect.gen(function* () {
  const { id } = yield* EndForm
  const ended = yield* (yield* UserSession.Manager).revokeAll(id)
  const user = (yield* (yield* Users).customers).find((user) => user.id === id)
  const { data } = yield* AdminSession.Verified
  yield* (yield* Audit).note(`ended ${ended} of ${user?.name ?? id}`, data.name)
  return seeOther("/admin")
})

const showAudit = Effect.gen(function* () {
  const rows = (yield* (yield* Audit).latest).map(({ address, at, device, event, name }) => {
    const time = DateTime.formatIso(DateTime.makeUnsafe(at))
    return html`<tr><td title="${time}">${time.slice(11, 19)}</td><td>${name}</td><td>${event}</td>
      <td>${device}${address && `, ${address}`}</td></tr>`
  })
  return adminPage(
    "Audit",
    html`<div class="card"><table><tr><th>UTC</th><th>Who</th><th>What</th><th>Device</th></tr>${rows}</table></div>`
  )
})

export const AdminRoutes = Layer.merge(
  HttpRouter.addAll([
    HttpRouter.route("GET", "/admin/login", logInPage()),
    HttpRouter.route("POST", "/admin/login", logIn),
    HttpRouter.route("POST", "/admin/logout", logOut)
  ]).pipe(Layer.provide(AdminVisitor.layer)),
  HttpRouter.addAll([
    HttpRouter.route("GET", "/admin", showUsers),
    HttpRouter.route("POST", "/admin/end", endSessions),
    HttpRouter.route("GET", "/admin/audit", showAudit)
  ]).pipe(Layer.provide(Admin.layer))
)
