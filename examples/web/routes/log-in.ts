/** Sign up, log in, log out: each log-in is a new session, which takes the visitor's cart along. */
import { Effect, Layer, Option, Schema } from "effect"
import { HttpRouter, HttpServerRequest } from "effect/http"
import { Audit } from "../audit.ts"
import { button, type Html, html, seeOther } from "../html.ts"
import { alarm, ownPath, page, Visitor } from "../pages.ts"
import { lasting, UserSession } from "../session.ts"
import { type User, Users } from "../users.ts"

/** Without characters that are not seen: they make one name look like another, or turn the text around that an administrator reads. */
export const Name = Schema.Trim.check(Schema.isMinLength(1), Schema.isMaxLength(60), Schema.isPattern(/^\P{C}*$/u))
const PasswordText = Schema.String.check(Schema.isMaxLength(128))
export const Password = Schema.RedactedFromValue(PasswordText)
/** ASVS 5.0, 6.2.1. Compare yours with those that have leaked, too. */
export const NewPassword = Schema.RedactedFromValue(PasswordText.check(Schema.isMinLength(8)))

const Next = Schema.Struct({ next: Schema.optionalKey(Schema.String) })
const Remember = Schema.Struct({ remember: Schema.optionalKey(Schema.Literal("on")) })
export const NextParam = HttpServerRequest.schemaSearchParams(Next)
const LogInForm = HttpServerRequest.schemaBodyUrlParams(
  Schema.Struct({ name: Name, password: Password, ...Remember.fields, ...Next.fields })
)
const SignUpForm = HttpServerRequest.schemaBodyUrlParams(
  Schema.Struct({ name: Name, password: NewPassword, ...Remember.fields })
)

export const passwordField = (label: string, isNew: boolean) => html`<label>${label}
  <input name="password" type="password" required maxlength="128" ${isNew && html`minlength="8"`}
    autocomplete="${isNew ? "new-password" : "current-password"}"></label>`

const credentials = (isNew: boolean) => html`
  <label>Name <input name="name" autocomplete="username" required maxlength="60"></label>
  ${passwordField("Password", isNew)}
  <label class="check"><input type="checkbox" name="remember"> Remember me for 30 days</label>`

const logInPage = (next?: string, hint?: Html, status?: number) =>
  page(
    "Log in",
    undefined,
    html`${hint}<form class="card fields" method="post" action="/login">
        ${credentials(false)}<input type="hidden" name="next" value="${ownPath(next)}"><button>Log in</button>
      </form><p class="quiet">New here? <a href="/signup">Sign up</a>, and your cart comes along.</p>`,
    status
  )

const signUpPage = (hint?: Html, status?: number) =>
  page(
    "Sign up",
    undefined,
    html`${hint}<form class="card fields" method="post" action="/signup">${credentials(true)}<button>Sign up</button></form>`,
    status
  )

const ended = html`<div class="flash inline"><span>Your session has ended: log in again, or</span>
  ${button("go on as a visitor", "/logout", "plain")}</div>`

const showLogIn = Effect.gen(function* () {
  const { next } = yield* NextParam
  return yield* (yield* UserSession).get.pipe(
    Effect.map(({ data }) => (data.user === undefined ? logInPage(next) : seeOther(ownPath(next)))),
    Effect.catchTag("SessionMissing", () => Effect.succeed(logInPage(next))),
    Effect.catchTag(["SessionInvalid", "SessionRefused"], () => Effect.succeed(logInPage(next, ended)))
  )
})

/** A new session in place of the visitor's, whose cart comes along. That of another user does not. */
const begin = (user: User, remember: "on" | undefined, flash: string) =>
  Effect.flatMap(UserSession, (session) =>
    session.create(
      (before) => {
        const mine = Option.filter(before, (data) => data.user === undefined || data.user.id === user.id)
        return { user, cart: Option.match(mine, { onNone: () => [], onSome: ({ cart }) => cart }), flash }
      },
      { ...lasting(remember === "on"), methods: ["pwd"] }
    )
  )

const logIn = Effect.gen(function* () {
  yield* (yield* UserSession).option // read before the password is checked: of two tabs at once, one logs in
  const { name, next, password, remember } = yield* LogInForm
  const user = yield* (yield* Users).check(name, password)
  if (Option.isNone(user)) {
    yield* (yield* Audit).note("wrong password, or no such user", name)
    // The same words for both: they do not tell who is a customer.
    return logInPage(next, alarm("Name and password do not go together."), 401)
  }
  yield* begin(user.value, remember, `Welcome back, ${user.value.name}.`)
  return seeOther(ownPath(next))
}).pipe(
  // Another tab was faster, or the user's sessions were ended meanwhile: the browser has the cookie that counts.
  Effect.catchTag("SessionInvalid", () => Effect.succeed(seeOther("/")))
)

const signUp = Effect.gen(function* () {
  yield* (yield* UserSession).option
  const { name, password, remember } = yield* SignUpForm
  const user = yield* (yield* Users).add(name, password)
  if (Option.isNone(user)) return signUpPage(alarm("That name is taken."), 409)
  yield* (yield* Audit).note("signed up", name)
  yield* begin(user.value, remember, `Welcome, ${name}.`)
  return seeOther("/")
}).pipe(Effect.catchTag("SessionInvalid", () => Effect.succeed(seeOther("/login"))))

const logOut = Effect.gen(function* () {
  yield* (yield* UserSession).destroy
  return seeOther("/")
})

export const LogInRoutes = HttpRouter.addAll([
  HttpRouter.route("GET", "/login", showLogIn),
  HttpRouter.route("POST", "/login", logIn),
  HttpRouter.route("GET", "/signup", signUpPage()),
  HttpRouter.route("POST", "/signup", signUp),
  HttpRouter.route("POST", "/logout", logOut)
]).pipe(Layer.provide(Visitor.layer))
