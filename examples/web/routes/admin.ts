/** The administrator: a session and a cookie of their own, the users and their sessions, and the audit. */
import { Clock, DateTime, Effect, Layer, Option, Schema } from "effect"
import { HttpRouter, HttpServerRequest } from "effect/http"
import { Audit } from "../audit.ts"
import { html, seeOther } from "../html.ts"
import { Admin, adminPage, AdminVisitor, alarm } from "../pages.ts"
import { AdminSession, UserSession } from "../session.ts"
import { Users } from "../users.ts"
import { ago } from "./devices.ts"
import { Name, Password } from "./log-in.ts"

const logInPage = (problem?: string, status?: number) =>
  adminPage(
    "Administration",
    html`${alarm(problem)}
      <form class="card fields" method="post" action="/admin/login">
        <label>Name <input name="name" autocomplete="username" required /></label>
        <label>Password <input name="password" type="password" required autocomplete="current-password" /></label>
        <div><button>Log in</button></div>
      </form>`,
    status
  )

const LogInForm = HttpServerRequest.schemaBodyUrlParams(Schema.Struct({ name: Name, password: Password }))

const LogIn = HttpRouter.add(
  "POST",
  "/admin/login",
  Effect.gen(function* () {
    const { name, password } = yield* LogInForm
    const user = yield* (yield* Users).check(name, password, "admin")
    if (Option.isNone(user)) {
      yield* (yield* Audit).note("wrong password, or no such administrator", name)
      return logInPage("Name and password do not go together.", 401)
    }
    yield* (yield* AdminSession).create(user.value, { cookie: "browser", methods: ["pwd"] })
    return seeOther("/admin")
  })
)

const LogOut = HttpRouter.add(
  "POST",
  "/admin/logout",
  Effect.gen(function* () {
    yield* (yield* AdminSession).destroy
    return seeOther("/admin/login")
  })
)

const ShowUsers = HttpRouter.add(
  "GET",
  "/admin",
  Effect.gen(function* () {
    // Sessions of others are reached through the manager, without a request of theirs.
    const manager = yield* UserSession.Manager
    const now = yield* Clock.currentTimeMillis
    const rows = yield* Effect.forEach(yield* (yield* Users).customers, ({ id, name }) =>
      Effect.map(manager.list(id), (sessions) => {
        const seen = sessions.map(({ lastSeenAt }) => lastSeenAt).sort(DateTime.Order)
        return html`<li>
          <span
            >${name}
            <small>${sessions.length} sessions${seen.length > 0 && `, seen ${ago(seen.at(-1)!, now)}`}</small></span
          >
          <form method="post" action="/admin/end">
            <button class="alarm" name="id" value="${id}">End sessions</button>
          </form>
        </li>`
      })
    )
    return adminPage(
      "Users",
      rows.length === 0
        ? html`<p class="quiet">Nobody has signed up yet.</p>`
        : html`<ul class="card rows">
            ${rows}
          </ul>`
    )
  })
)

const EndForm = HttpServerRequest.schemaBodyUrlParams(Schema.Struct({ id: Schema.String }))

const End = HttpRouter.add(
  "POST",
  "/admin/end",
  Effect.gen(function* () {
    const { id } = yield* EndForm
    const ended = yield* (yield* UserSession.Manager).revokeAll(id)
    const { data } = yield* AdminSession.Verified
    yield* (yield* Audit).note(`ended ${ended} sessions of a user`, data.name)
    return seeOther("/admin")
  })
)

const ShowAudit = HttpRouter.add(
  "GET",
  "/admin/audit",
  Effect.gen(function* () {
    const rows = (yield* (yield* Audit).latest).map(
      ({ address, at, device, event, name }) =>
        html`<tr>
          <td>${DateTime.formatIso(DateTime.makeUnsafe(at)).slice(11, 19)}</td>
          <td>${name}</td>
          <td>${event}</td>
          <td>${device}</td>
          <td>${address}</td>
        </tr>`
    )
    return adminPage(
      "Audit",
      html`<div class="card">
        <table>
          <tr>
            <th>UTC</th>
            <th>Who</th>
            <th>What</th>
            <th>Device</th>
            <th>Address</th>
          </tr>
          ${rows}
        </table>
      </div>`
    )
  })
)

export const AdminRoutes = Layer.merge(
  Layer.mergeAll(HttpRouter.add("GET", "/admin/login", Effect.succeed(logInPage())), LogIn, LogOut).pipe(
    Layer.provide(AdminVisitor.layer)
  ),
  Layer.mergeAll(ShowUsers, End, ShowAudit).pipe(Layer.provide(Admin.layer))
)
