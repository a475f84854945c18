/** Two tabs of a real Chromium around scheduled rotations, with requests in flight. The server's clock is the test's. */
import { assert, it } from "@effect/vitest"
import { Deferred, Effect, Layer } from "effect"
import { HttpRouter, HttpServerRequest } from "effect/http"
import { SessionFrontend, SessionMiddleware } from "effect-sessions"
import { TestClock } from "effect/testing"
import type { Page } from "puppeteer-core"
import { visit } from "./browsers/tab.ts"
import { has, launch } from "./support/browsers.ts"
import { empty, text, verified } from "./support/httpSupport.ts"
import { needing } from "./support/processes.ts"
import * as Random from "./support/random.ts"
import { every, grace, times } from "./support/rotating.ts"
import * as Server from "./support/server.ts"
import * as Stack from "./support/stack.ts"
import { ada, UserSession } from "./support/userSession.ts"

const rounds = 20
/** Of each tab at once: Chromium opens six connections to a host at most. */
const inFlight = 3

const start = Effect.fnUntraced(function* () {
  /** The requests that the server has let in and not yet answered. */
  const held: Array<Deferred.Deferred<void>> = []
  const tokens = new Set<string>()
  let isFull: Deferred.Deferred<void> = yield* Deferred.make<void>()
  const seeToken = Effect.map(HttpServerRequest.HttpServerRequest, ({ headers }) => tokens.add(headers["cookie"]!))
  const Open = Layer.mergeAll(
    HttpRouter.add("GET", "/", Effect.succeed(text("<!doctype html>", { contentType: "text/html" }))),
    HttpRouter.add(
      "POST",
      "/login",
      Effect.flatMap(UserSession, (s) => Effect.as(s.create(ada), empty))
    )
  ).pipe(Layer.provide(SessionMiddleware.router(UserSession).layer))
  const Guarded = Layer.mergeAll(
    HttpRouter.add("GET", "/whoami", Effect.andThen(seeToken, verified)),
    HttpRouter.add(
      "GET",
      "/held/:n",
      Effect.gen(function* () {
        yield* seeToken
        const gate = yield* Deferred.make<void>()
        held.push(gate)
        if (held.length === 2 * inFlight) yield* Deferred.succeed(isFull, undefined)
        yield* Deferred.await(gate)
        return yield* verified
      })
    )
  ).pipe(Layer.provide(SessionMiddleware.routerRequired(UserSession).layer))
  const port = yield* Server.listen(
    Layer.merge(Open, Guarded).pipe(
      Layer.provide(Stack.http(UserSession, { ...times, frontend: SessionFrontend.layerCookie({ secure: false }) }))
    )
  )
  return {
    port,
    tokens,
    /** Lets the held requests go, one after the other, in an order of the dice. */
    release: Effect.fnUntraced(function* (dice: Random.Dice) {
      yield* Deferred.await(isFull)
      isFull = yield* Deferred.make<void>()
      for (const gates = held.splice(0); gates.length > 0;) {
        yield* Deferred.succeed(gates.splice(dice.below(gates.length), 1)[0]!, undefined)
      }
    })
  }
})

needing(has("Chromium"), "there is no chromium on the PATH to start")("two tabs of a browser", () => {
  it.effect(
    "[R55] with requests in flight around 20 scheduled rotations are never logged out, and a copied cookie ends both",
    () =>
      Effect.gen(function* () {
        const dice = Random.make(55)
        const { port, release, tokens } = yield* start()
        const { browser } = yield* Effect.acquireRelease(
          Effect.promise(() => launch("Chromium")),
          (running) => Effect.promise(() => running[Symbol.asyncDispose]())
        )
        const open = async () => {
          const tab = await browser.newPage()
          await visit(tab, `http://localhost:${port}/`)
          return tab
        }
        const tabs = yield* Effect.promise(() => Promise.all([open(), open()]))
        // With its cache Chromium asks for one URL after the other.
        const ask = (tab: Page, ...paths: ReadonlyArray<string>) =>
          Effect.promise(() =>
            tab.evaluate(
              (paths) =>
                Promise.all(paths.map((path) => fetch(path, { cache: "no-store" }).then(({ status }) => status))),
              paths
            )
          )
        const everyTab = <A>(f: (tab: Page) => Effect.Effect<A>) =>
          Effect.forEach(tabs, f, { concurrency: "unbounded" })
        yield* Effect.promise(() => tabs[0]!.evaluate(() => fetch("/login", { method: "POST" }).then(() => 0)))

        let asked = 0
        const letIn = (answers: ReadonlyArray<ReadonlyArray<number>>, round: number) => {
          for (const status of answers.flat()) {
            asked++
            assert.strictEqual(status, 200, `round ${round}`)
          }
        }
        for (let round = 0; round < rounds; round++) {
          yield* TestClock.adjust(every)
          const paths = Array.from({ length: inFlight }, (_, i) => `/held/${i}`)
          const [answers] = yield* Effect.all([everyTab((tab) => ask(tab, ...paths)), release(dice)], {
            concurrency: "unbounded"
          })
          letIn(answers, round)
          // Before and after the grace of the token before.
          letIn(yield* everyTab((tab) => ask(tab, "/whoami", "/whoami")), round)
          yield* TestClock.adjust(grace)
          letIn(yield* everyTab((tab) => ask(tab, "/whoami")), round)
        }
        console.log(`${rounds} rounds, ${asked} requests of two tabs, ${tokens.size} tokens`)
        assert.strictEqual(tokens.size, rounds + 1)

        const copy = [...tokens].at(-2)!
        const thief = yield* Effect.promise(() =>
          fetch(`http://127.0.0.1:${port}/whoami`, { headers: { cookie: copy } }).then((answer) => answer.json())
        )
        assert.strictEqual((thief as { readonly reason: string }).reason, "Reused")
        assert.deepStrictEqual(yield* everyTab((tab) => ask(tab, "/whoami")), [[401], [401]])
      }),
    { timeout: 120_000 }
  )
})
