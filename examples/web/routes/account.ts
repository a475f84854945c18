/** The account: a new password, and the deletion, ask for a proof that it is still the user. */
import { Effect, Layer, Option, Schema } from "effect"
import { HttpRouter, HttpServerRequest } from "effect/http"
import { Audit } from "../audit.ts"
import { button, type Html, html, seeOther } from "../html.ts"
import { alarm, flash, LoggedIn, ownPath, page, shownData, Sudo } from "../pages.ts"
import { UserSession } from "../session.ts"
import { Users } from "../users.ts"
import { NewPassword, NextParam, Password, passwordField } from "./log-in.ts"

/** The guards let nobody through who has no principal, and so no `user`. */
const currentUser = Effect.map(UserSession.Verified, ({ data }) => data.user!)

const shown = (title: string, body: Html) => Effect.map(shownData, (data) => page(title, data, body))

const account = shown(
  "Your account",
  html`<ul class="card rows">
    <li><span>Where you are logged in</span><a href="/devices">Your devices</a></li>
    <li><span>A new password logs out your other devices</span><a href="/account/password">Change password</a></li>
    <li><span>What is gone is gone</span><a href="/account/delete">Delete account</a></li>
  </ul>`
)

// -----------------------------------------------------------------------------
// The proof
// -----------------------------------------------------------------------------

const confirmPage = (next?: string, hint?: Html, status?: number) =>
  Effect.map(UserSession.Verified, ({ data }) =>
    page(
      "Is it still you?",
      data,
      html`${hint}<p class="quiet">What comes next matters. We do not ask again for five minutes.</p>
        <form class="card fields" method="post" action="/confirm">
          ${passwordField("Password", false)}<input type="hidden" name="next" value="${ownPath(next)}"><button>Go on</button>
        </form>`,
      status
    )
  )

const ConfirmForm = HttpServerRequest.schemaBodyUrlParams(
  Schema.Struct({ password: Password, next: Schema.optionalKey(Schema.String) })
)

const confirm = Effect.gen(function* () {
  const { next, password } = yield* ConfirmForm
  const { name } = yield* currentUser
  if (Option.isNone(yield* (yield* Users).check(name, password))) {
    yield* (yield* Audit).note("wrong password, when asked again", name)
    return yield* confirmPage(next, alarm("That is not your password."), 401)
  }
  yield* (yield* UserSession).reauthenticate({ methods: ["pwd"] })
  return seeOther(ownPath(next))
})

// -----------------------------------------------------------------------------
// What asks for it
// -----------------------------------------------------------------------------

const passwordPage = shown(
  "Change password",
  html`<form class="card fields" method="post" action="/account/password">
    ${passwordField("New password", true)}<button>Change it</button>
  </form>`
)

const PasswordForm = HttpServerRequest.schemaBodyUrlParams(Schema.Struct({ password: NewPassword }))

const changePassword = Effect.gen(function* () {
  const { password } = yield* PasswordForm
  const { id, name } = yield* currentUser
  const session = yield* UserSession
  yield* (yield* Users).setPassword(id, password) // first: what logs in from now on has it
  yield* session.revokeOthers
  yield* session.reauthenticate({ methods: ["pwd"] })
  yield* (yield* Audit).note("password changed", name)
  yield* flash("Your password is changed, and your other devices are logged out.")
  return seeOther("/account")
})

const deletePage = shown(
  "Delete account",
  html`<div class="card"><p>Your account, and every session of it, ends at once.</p>
    ${button("Delete it", "/account/delete", "alarm")}</div>`
)

const deleteAccount = Effect.gen(function* () {
  const { id, name } = yield* currentUser
  yield* (yield* Users).remove(id) // first: from now on the verifier refuses its sessions
  yield* (yield* UserSession).revokeAll
  yield* (yield* Audit).note("account deleted", name)
  return page("Goodbye", undefined, html`<p>Your account is deleted.</p>`)
})

export const AccountRoutes = Layer.merge(
  HttpRouter.addAll([
    HttpRouter.route("GET", "/account", account),
    HttpRouter.route(
      "GET",
      "/confirm",
      Effect.flatMap(NextParam, ({ next }) => confirmPage(next))
    ),
    HttpRouter.route("POST", "/confirm", confirm)
  ]).pipe(Layer.provide(LoggedIn.layer)),
  HttpRouter.addAll([
    HttpRouter.route("GET", "/account/password", passwordPage),
    HttpRouter.route("POST", "/account/password", changePassword),
    HttpRouter.route("GET", "/account/delete", deletePage),
    HttpRouter.route("POST", "/account/delete", deleteAccount)
  ]).pipe(Layer.provide(Sudo.layer))
)
