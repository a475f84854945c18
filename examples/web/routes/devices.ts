/** "Your devices": where the user is logged in, and the buttons that end it. */
import { Clock, type DateTime, Effect, Layer, Schema } from "effect"
import { HttpRouter, HttpServerRequest } from "effect/http"
import { Session } from "effect-sessions"
import { html, seeOther } from "../html.ts"
import { LoggedIn, page, shownData } from "../pages.ts"
import { UserSession } from "../session.ts"

export const ago = (time: DateTime.Utc, now: number): string => {
  const minutes = Math.floor((now - time.epochMilliseconds) / 60_000)
  if (minutes < 1) return "just now"
  if (minutes < 60) return `${minutes} min ago`
  return minutes < 48 * 60 ? `${Math.floor(minutes / 60)} h ago` : `${Math.floor(minutes / 1440)} days ago`
}

const Devices = HttpRouter.add(
  "GET",
  "/devices",
  Effect.gen(function* () {
    const data = yield* shownData
    const sessions = yield* (yield* UserSession).list
    const now = yield* Clock.currentTimeMillis
    const rows = sessions.map(
      ({ client, current, id, lastSeenAt, persistent }) =>
        html`<li>
          <span
            >${client.label ?? "A device"}${current && html`<span class="badge">this one</span>`}
            <small>${client.address}, seen ${ago(lastSeenAt, now)}${persistent && ", remembered"}</small></span
          >
          ${
            !current &&
            html`<form method="post" action="/devices/revoke">
              <button class="plain" name="id" value="${id}">Log out</button>
            </form>`
          }
        </li>`
    )
    return page(
      "Your devices",
      data,
      html`<p class="quiet">Where you are logged in: five at most, and then the one seen least recently has to go.</p>
        <ul class="card rows">
          ${rows}
        </ul>
        <div class="inline">
          <form method="post" action="/devices/name" class="inline">
            <input
              name="label"
              aria-label="Name of this device"
              placeholder="Name of this device"
              required
              maxlength="60"
            />
            <button class="plain">Rename this one</button>
          </form>
          <form method="post" action="/devices/revoke-others"><button class="alarm">Log out all others</button></form>
        </div>`
    )
  })
)

const NameForm = HttpServerRequest.schemaBodyUrlParams(
  Schema.Struct({ label: Schema.Trim.check(Schema.isMaxLength(60)) })
)

const Rename = HttpRouter.add(
  "POST",
  "/devices/name",
  Effect.gen(function* () {
    yield* (yield* UserSession).describe(yield* NameForm)
    return seeOther("/devices")
  })
)

/** Says so on the page that comes next. */
export const flash = (text: string) =>
  Effect.flatMap(UserSession, (session) => session.update((data) => ({ ...data, flash: text })))

const RevokeForm = HttpServerRequest.schemaBodyUrlParams(Schema.Struct({ id: Session.SessionId }))

const Revoke = HttpRouter.add(
  "POST",
  "/devices/revoke",
  Effect.gen(function* () {
    const { id } = yield* RevokeForm
    // Only among the user's own: another's session is not found.
    const ended = yield* (yield* UserSession).revoke(id)
    yield* flash(ended ? "That device is logged out." : "That device was logged out already.")
    return seeOther("/devices")
  })
)

const RevokeOthers = HttpRouter.add(
  "POST",
  "/devices/revoke-others",
  Effect.gen(function* () {
    const count = yield* (yield* UserSession).revokeOthers
    yield* flash(`Other devices logged out: ${count}.`)
    return seeOther("/devices")
  })
)

export const DeviceRoutes = Layer.mergeAll(Devices, Rename, Revoke, RevokeOthers).pipe(Layer.provide(LoggedIn.layer))
