/** The account: a new password and the deletion ask for a proof that it is still the user. */
import { Effect, Layer, Option, Schema } from "effect"
import { HttpRouter, HttpServerRequest } from "effect/http"
import { Audit } from "../audit.ts"
import { html, seeOther } from "../html.ts"
import { alarm, LoggedIn, ownPath, page, shownData, Sudo } from "../pages.ts"
import { UserSession } from "../session.ts"
import { Users } from "../users.ts"
import { flash } from "./devices.ts"
import { NewPassword, Password, Where } from "./log-in.ts"

/** The user of a guarded route. */
const currentUser = Effect.map(
  UserSession.Verified,
  ({ data }) =>
    // The guard lets nobody through who has no principal.
    data.user!
)

const Account = HttpRouter.add(
  "GET",
  "/account",
  Effect.map(shownData, (data) =>
    page(
      "Your account",
      data,
      html`<ul class="card rows">
        <li><span>Where you are logged in</span><a href="/devices">Your devices</a></li>
        <li><span>A new password logs out your other devices</span><a href="/account/password">Change password</a></li>
        <li><span>What is gone is gone</span><a href="/account/delete">Delete account</a></li>
      </ul>`
    )
  )
)

// -----------------------------------------------------------------------------
// The proof
// -----------------------------------------------------------------------------

const confirmPage = (next?: string, problem?: string, status?: number) =>
  Effect.map(UserSession.Verified, ({ data }) =>
    page(
      "Is it still you?",
      data,
      html`${alarm(problem)}
        <p class="quiet">What comes next cannot be undone. We do not ask again for five minutes.</p>
        <form class="card fields" method="post" action="/confirm">
          <label
            >Password <input name="password" type="password" required maxlength="128" autocomplete="current-password"
          /></label>
          <input type="hidden" name="next" value="${ownPath(next)}" />
          <div><button>Go on</button></div>
        </form>`,
      status
    )
  )

const ConfirmForm = HttpServerRequest.schemaBodyUrlParams(
  Schema.Struct({ password: Password, next: Schema.optionalKey(Schema.String) })
)

const Confirm = HttpRouter.add(
  "POST",
  "/confirm",
  Effect.gen(function* () {
    const { next, password } = yield* ConfirmForm
    const { name } = yield* currentUser
    if (Option.isNone(yield* (yield* Users).check(name, password))) {
      yield* (yield* Audit).note("wrong password, when asked again", name)
      return yield* confirmPage(next, "That is not your password.", 401)
    }
    yield* (yield* UserSession).reauthenticate({ methods: ["pwd"] })
    return seeOther(ownPath(next))
  })
)

// -----------------------------------------------------------------------------
// What asks for it
// -----------------------------------------------------------------------------

const PasswordPage = HttpRouter.add(
  "GET",
  "/account/password",
  Effect.map(shownData, (data) =>
    page(
      "Change password",
      data,
      html`<form class="card fields" method="post" action="/account/password">
        <label
          >New password
          <input name="password" type="password" required minlength="8" maxlength="128" autocomplete="new-password"
        /></label>
        <div><button>Change it</button></div>
      </form>`
    )
  )
)

const PasswordForm = HttpServerRequest.schemaBodyUrlParams(Schema.Struct({ password: NewPassword }))

const ChangePassword = HttpRouter.add(
  "POST",
  "/account/password",
  Effect.gen(function* () {
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
)

const DeletePage = HttpRouter.add(
  "GET",
  "/account/delete",
  Effect.map(shownData, (data) =>
    page(
      "Delete account",
      data,
      html`<form class="card" method="post" action="/account/delete">
        <p>Your account, and every session of it, ends at once.</p>
        <button class="alarm">Delete it</button>
      </form>`
    )
  )
)

const Delete = HttpRouter.add(
  "POST",
  "/account/delete",
  Effect.gen(function* () {
    const { id, name } = yield* currentUser
    yield* (yield* Users).remove(id) // first: from now on the verifier refuses its sessions
    yield* (yield* UserSession).revokeAll
    yield* (yield* Audit).note("account deleted", name)
    return page("Goodbye", undefined, html`<p>Your account is deleted.</p>`)
  })
)

export const AccountRoutes = Layer.merge(
  Layer.mergeAll(
    Account,
    HttpRouter.add(
      "GET",
      "/confirm",
      Effect.flatMap(Where, ({ next }) => confirmPage(next))
    ),
    Confirm
  ).pipe(Layer.provide(LoggedIn.layer)),
  Layer.mergeAll(PasswordPage, ChangePassword, DeletePage, Delete).pipe(Layer.provide(Sudo.layer))
)
