/** Sign up, log in, log out: each log-in is a new session, which takes the visitor's cart along. */
import { Effect, Layer, Option, Schema } from "effect"
import { HttpRouter, HttpServerRequest } from "effect/http"
import { Audit } from "../audit.ts"
import { type Html, html, seeOther } from "../html.ts"
import { alarm, ownPath, page, Visitor } from "../pages.ts"
import { lasting, UserSession } from "../session.ts"
import { type User, Users } from "../users.ts"

export const Name = Schema.Trim.check(Schema.isMinLength(1), Schema.isMaxLength(60))
const PasswordText = Schema.String.check(Schema.isMaxLength(128))
export const Password = Schema.RedactedFromValue(PasswordText)
/** Long enough (ASVS 5.0, 6.2.1). Yours is compared with those that have leaked, too. */
export const NewPassword = Schema.RedactedFromValue(PasswordText.check(Schema.isMinLength(8)))

const Remember = { remember: Schema.optionalKey(Schema.Literal("on")) }
const NextPath = Schema.Struct({ next: Schema.optionalKey(Schema.String) })
export const Where = HttpServerRequest.schemaSearchParams(NextPath)
const LogInForm = HttpServerRequest.schemaBodyUrlParams(
  Schema.Struct({ name: Name, password: Password, ...Remember, ...NextPath.fields })
)
const SignUpForm = HttpServerRequest.schemaBodyUrlParams(
  Schema.Struct({ name: Name, password: NewPassword, ...Remember })
)

const credentials = (newPassword: boolean) =>
  html` <label>Name <input name="name" autocomplete="username" required maxlength="60" /></label>
    <label
      >Password
      <input
        name="password"
        type="password"
        required
        maxlength="128"
        autocomplete="${newPassword ? "new-password" : "current-password"}"
        minlength="${newPassword ? 8 : 1}"
    /></label>
    <label class="check"><input type="checkbox" name="remember" /> Remember me for 30 days</label>`

interface LogIn {
  readonly next?: string | undefined
  readonly problem?: string | undefined
  readonly hint?: Html | undefined
}

const logInPage = ({ hint, next, problem }: LogIn, status?: number) =>
  page(
    "Log in",
    undefined,
    html`${alarm(problem)}${hint}
      <form class="card fields" method="post" action="/login">
        ${credentials(false)}<input type="hidden" name="next" value="${ownPath(next)}" />
        <div><button>Log in</button></div>
      </form>
      <p class="quiet">New here? <a href="/signup">Sign up</a>, and your cart comes along.</p>`,
    status
  )

const signUpPage = (problem?: string, status?: number) =>
  page(
    "Sign up",
    undefined,
    html`${alarm(problem)}
      <form class="card fields" method="post" action="/signup">
        ${credentials(true)}
        <div><button>Sign up</button></div>
      </form>`,
    status
  )

const ended = html`<div class="flash inline">
  <span>Your session has ended: log in again, or</span>
  <form method="post" action="/logout"><button class="plain">go on as a visitor</button></form>
</div>`

const ShowLogIn = HttpRouter.add(
  "GET",
  "/login",
  Effect.gen(function* () {
    const { next } = yield* Where
    const { data } = yield* (yield* UserSession).get
    return data.user === undefined ? logInPage({ next }) : seeOther(ownPath(next))
  }).pipe(
    Effect.catchTag("SessionMissing", () => Effect.map(Where, logInPage)),
    Effect.catchTag(["SessionInvalid", "SessionRefused"], () =>
      Effect.map(Where, ({ next }) => logInPage({ next, hint: ended }))
    )
  )
)

/** A new session in place of the visitor's, whose cart comes along. That of another user does not. */
const begin = (user: User, remember: boolean, flash: string) =>
  Effect.flatMap(UserSession, (session) =>
    session.create(
      (before) => ({
        user,
        cart: Option.match(before, {
          onNone: () => [],
          onSome: (data) => (data.user === undefined || data.user.id === user.id ? data.cart : [])
        }),
        flash
      }),
      { ...lasting(remember), methods: ["pwd"] }
    )
  )

const LogIn = HttpRouter.add(
  "POST",
  "/login",
  Effect.gen(function* () {
    const session = yield* UserSession
    yield* session.option // read before the password is checked: of two tabs at once, one logs in
    const { name, next, password, remember } = yield* LogInForm
    const user = yield* (yield* Users).check(name, password)
    if (Option.isNone(user)) {
      yield* (yield* Audit).note("wrong password, or no such user", name)
      // The same words for both, so that nobody learns who is a customer.
      return logInPage({ next, problem: "Name and password do not go together." }, 401)
    }
    yield* begin(user.value, remember === "on", `Welcome back, ${user.value.name}.`)
    return seeOther(ownPath(next))
  }).pipe(
    // Another tab was faster, or the user's sessions were ended meanwhile: the browser has the cookie that counts.
    Effect.catchTag("SessionInvalid", () => Effect.succeed(seeOther("/")))
  )
)

const SignUp = HttpRouter.add(
  "POST",
  "/signup",
  Effect.gen(function* () {
    const session = yield* UserSession
    yield* session.option
    const { name, password, remember } = yield* SignUpForm
    const user = yield* (yield* Users).add(name, password)
    if (Option.isNone(user)) return signUpPage("That name is taken.", 409)
    yield* (yield* Audit).note("signed up", name)
    yield* begin(user.value, remember === "on", `Welcome, ${name}.`)
    return seeOther("/")
  }).pipe(Effect.catchTag("SessionInvalid", () => Effect.succeed(seeOther("/login"))))
)

const LogOut = HttpRouter.add(
  "POST",
  "/logout",
  Effect.gen(function* () {
    yield* (yield* UserSession).destroy
    return seeOther("/")
  })
)

export const LogIns = Layer.mergeAll(
  ShowLogIn,
  LogIn,
  HttpRouter.add("GET", "/signup", Effect.succeed(signUpPage())),
  SignUp,
  LogOut
).pipe(Layer.provide(Visitor.layer))
