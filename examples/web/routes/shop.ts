/** The shop: a cart that visitors have too, and a feed that ends with its session. */
import { Clock, DateTime, Effect, Layer, Option, Schedule, Schema, Stream } from "effect"
import { HttpRouter, HttpServerRequest, HttpServerResponse } from "effect/http"
import { type Session, type SessionError, SessionMiddleware } from "effect-sessions"
import { button, html, seeOther } from "../html.ts"
import { page, shownData, Visitor } from "../pages.ts"
import { type UserData, UserSession } from "../session.ts"

const teas = {
  assam: { name: "Assam", taste: "malty and brisk", price: "8.90" },
  sencha: { name: "Sencha", taste: "fresh, a little sweet", price: "11.50" },
  oolong: { name: "Oolong", taste: "roasted, with honey", price: "14.00" }
}
const Tea = Schema.Literals(["assam", "sencha", "oolong"])
const knownTea = Schema.decodeUnknownOption(Tea)

const home = Effect.gen(function* () {
  const data = yield* shownData
  const cart = (data?.cart ?? []).flatMap((id) => Option.toArray(knownTea(id)))
  const counted = Array.from(
    Map.groupBy(cart, (id) => teas[id].name),
    ([name, { length }]) => `${length} × ${name}`
  )
  const feed = html`<p id="feed" class="card live"><span>Connecting…</span> <a href="/login" hidden>Log in again</a></p>`
  const shelf = Tea.literals.map(
    (id) => html`<li><span>${teas[id].name} <small>${teas[id].taste}</small></span>
      <span>${teas[id].price}</span>${button("Add", "/cart", "", ["tea", id])}</li>`
  )
  return page(
    data?.user === undefined ? "Tea for visitors" : `Tea for ${data.user.name}`,
    data,
    html`${data?.user && feed}<ul class="card rows">${shelf}</ul>
      <section class="card"><h2>Your cart</h2><p id="cart" class="quiet">${counted.join(", ") || "is empty"}</p></section>`
  )
})

const AddForm = HttpServerRequest.schemaBodyUrlParams(Schema.Struct({ tea: Tea }))

const addToCart = Effect.gen(function* () {
  const { tea } = yield* AddForm
  const session = yield* UserSession
  const flash = `${teas[tea].name} is in your cart.`
  const add = (data: UserData) => ({ ...data, cart: [...data.cart, tea].slice(-50), flash })
  // A visitor gets a session when there is something to keep.
  yield* session
    .update(add)
    .pipe(Effect.catchTag("SessionMissing", () => session.create(add({ cart: [] }), { idleTimeout: "7 days" })))
  return seeOther("/")
}).pipe(
  // The session has ended, or another tab has logged in. That page says which, and the cookie of that tab stays.
  Effect.catchTag(["SessionInvalid", "SessionRefused"], () => Effect.succeed(seeOther("/login")))
)

const ticks = Stream.fromEffectSchedule(Clock.currentTimeMillis, Schedule.spaced("1 second")).pipe(
  Stream.map((now) => DateTime.formatIso(DateTime.makeUnsafe(now)).slice(11, 19)),
  Stream.map((time) => `data: Live: the kettle is on, ${time} UTC\n\n`)
)

const farewell = (error: Session.Unauthenticated | SessionError.SessionRefused): string => {
  if (error._tag === "SessionRefused") return "This account has been deleted."
  return error._tag === "SessionInvalid" && error.reason === "Expired"
    ? "Your session has timed out."
    : "You have been logged out, here or from elsewhere."
}

const feed = Effect.gen(function* () {
  const ended = yield* Effect.cached((yield* UserSession).ended)
  const last = Stream.fromEffect(Effect.map(ended, (error) => `event: ended\ndata: ${farewell(error)}\n\n`))
  const body = ticks.pipe(Stream.interruptWhen(ended), Stream.concat(last), Stream.encodeText)
  return HttpServerResponse.stream(body, { contentType: "text/event-stream" })
})

// A page that is only looked at keeps no session alive, so its feed does not either.
const Watching = SessionMiddleware.routerRequired(UserSession, { touch: false })

export const ShopRoutes = Layer.merge(
  HttpRouter.addAll([HttpRouter.route("GET", "/", home), HttpRouter.route("POST", "/cart", addToCart)]).pipe(
    Layer.provide(Visitor.layer)
  ),
  HttpRouter.add("GET", "/feed", feed).pipe(Layer.provide(Watching.layer))
)
