/** "Your devices": where the user is logged in, and the buttons that end it. */
import { Clock, type DateTime, Effect, Layer, Schema } from "effect"
import { HttpRouter, HttpServerRequest } from "effect/http"
import { Session } from "effect-sessions"
import { button, html, seeOther } from "../html.ts"
import { flash, LoggedIn, page, shownData } from "../pages.ts"
import { UserSession } from "../session.ts"

export const ago = (time: DateTime.Utc, now: number): string => {
  const minutes = Math.floor((now - time.epochMilliseconds) / 60_000)
  if (minutes < 1) return "just now"
  if (minutes < 60) return `${minutes} min ago`
  return minutes < 48 * 60 ? `${Math.floor(minutes / 60)} h ago` : `${Math.floor(minutes / 1440)} days ago`
}

const showDevices = Effect.gen(function* () {
  const data = yield* shownData
  const sessions = yield* (yield* UserSession).list
  const now = yield* Clock.currentTimeMillis
  const rows = sessions.map(
    ({ client, current, id, lastSeenAt, persistent }) => html`<li>
      <span>${client.label} ${current && html`<span class="badge">this one</span>`}
        <small>${client.address}, seen ${ago(lastSeenAt, now)}${persistent && ", remembered"}</small></span>
      ${!current && button("Log out", "/devices/revoke", "plain", ["id", id])}</li>`
  )
  return page(
    "Your devices",
    data,
    html`<p class="quiet">Where you are logged in. With a sixth, the one seen least recently has to go.</p>
      <ul class="card rows">${rows}</ul>
      <div class="inline">
        <form method="post" action="/devices/name" class="inline">
          <input name="label" aria-label="Name of this device" placeholder="Name of this device" required maxlength="60">
          <button class="plain">Rename</button>
        </form>
        ${button("Log out all others", "/devices/revoke-others", "alarm")}
      </div>`
  )
})

const NameForm = HttpServerRequest.schemaBodyUrlParams(
  Schema.Struct({ label: Schema.Trim.check(Schema.isMinLength(1), Schema.isMaxLength(60)) })
)

const rename = Effect.gen(function* () {
  yield* (yield* UserSession).describe(yield* NameForm)
  return seeOther("/devices")
})

const RevokeForm = HttpServerRequest.schemaBodyUrlParams(Schema.Struct({ id: Session.SessionId }))

const revoke = Effect.gen(function* () {
  const { id } = yield* RevokeForm
  // Only among the user's own: another's session is not found.
  const ended = yield* (yield* UserSession).revoke(id)
  yield* flash(ended ? "That device is logged out." : "That device was logged out already.")
  return seeOther("/devices")
})

const revokeOthers = Effect.gen(function* () {
  const count = yield* (yield* UserSession).revokeOthers
  yield* flash(`Other devices logged out: ${count}.`)
  return seeOther("/devices")
})

export const DeviceRoutes = HttpRouter.addAll([
  HttpRouter.route("GET", "/devices", showDevices),
  HttpRouter.route("POST", "/devices/name", rename),
  HttpRouter.route("POST", "/devices/revoke", revoke),
  HttpRouter.route("POST", "/devices/revoke-others", revokeOthers)
]).pipe(Layer.provide(LoggedIn.layer))
