/**
 * Two builds of the library side by side, in one process and in turns of 1,000 requests: what a `/whoami` and a log-in with its
 * log-out cost the processor through a web handler, on sessions in memory.
 *
 * `node bench/compare.ts <dist of the one> <dist of the other> [--turns 200]`. With one `dist` twice it says how far two copies
 * of the same differ, which is the error of the rest.
 */
import { NodeCrypto } from "@effect/platform-node"
import { Effect, Layer, Schema } from "effect"
import { HttpRouter, HttpServerResponse } from "effect/http"
import { randomBytes } from "node:crypto"
import { resolve } from "node:path"
import { pathToFileURL } from "node:url"
import { parseArgs } from "node:util"
import type * as Library from "../src/index.ts"
import * as Redacted from "effect/Redacted"

const { positionals, values } = parseArgs({
  allowPositionals: true,
  options: { turns: { type: "string", default: "200" } }
})
const [one, other] = positionals
if (one === undefined || other === undefined) throw new Error("give the dist folders of two builds")
const turns = Number(values.turns)
const requestsATurn = 1000

/** An app on a build of the library, with layers of its own. */
const appOf = async (dist: string) => {
  // A build has the types of the sources, or older ones of the same names.
  const { Session, SessionBackendMemory, SessionFrontend, SessionKeys, SessionMiddleware, SessionVerifier } =
    (await import(pathToFileURL(resolve(dist, "index.js")).href)) as typeof Library
  const UserData = Schema.Struct({ username: Schema.String })
  class UserSession extends Session.Service<UserSession>()("bench/UserSession", {
    data: UserData,
    principal: (data) => data.username
  }) {}
  const Open = Layer.mergeAll(
    HttpRouter.add(
      "POST",
      "/login",
      Effect.flatMap(UserSession, (session) =>
        Effect.as(session.create({ username: "ada" }), HttpServerResponse.empty())
      )
    ),
    HttpRouter.add(
      "POST",
      "/logout",
      Effect.flatMap(UserSession, (session) => Effect.as(session.destroy, HttpServerResponse.empty()))
    )
  ).pipe(Layer.provide(SessionMiddleware.router(UserSession).layer))
  const Guarded = HttpRouter.add(
    "GET",
    "/whoami",
    Effect.flatMap(UserSession.Verified, ({ data }) => HttpServerResponse.schemaJson(UserData)(data))
  ).pipe(Layer.provide(SessionMiddleware.routerRequired(UserSession).layer))
  const Live = SessionMiddleware.layer(UserSession).pipe(
    Layer.provide([
      SessionFrontend.layerCookie(),
      SessionBackendMemory.layer,
      SessionVerifier.layerExists(UserSession),
      SessionKeys.layer(Redacted.make(randomBytes(32).toString("base64")))
    ]),
    Layer.provide(NodeCrypto.layer)
  )
  const { handler } = HttpRouter.toWebHandler(Layer.mergeAll(Open, Guarded).pipe(Layer.provide(Live)), {
    disableLogger: true
  })
  const logIn = async () =>
    (await handler(new Request("https://app.test/login", { method: "POST" }))).headers.getSetCookie()[0]!.split(";")[0]!
  const cookie = await logIn()
  return {
    whoami: async () => {
      const response = await handler(new Request("https://app.test/whoami", { headers: { cookie } }))
      if (response.status !== 200) throw new Error(`/whoami answered ${response.status}`)
    },
    "log-in and log-out": async () => {
      const cookie = await logIn()
      await handler(new Request("https://app.test/logout", { method: "POST", headers: { cookie } }))
    }
  }
}

const [a, b] = [await appOf(one), await appOf(other)]

const cpuOf = async (request: () => Promise<void>) => {
  const before = process.cpuUsage()
  for (let i = 0; i < requestsATurn; i++) await request()
  const { system, user } = process.cpuUsage(before)
  return (user + system) / requestsATurn
}

const median = (numbers: ReadonlyArray<number>) => numbers.toSorted((x, y) => x - y)[Math.floor(numbers.length / 2)]!

console.log("| | one, CPU µs | other, CPU µs | ratio |")
console.log("| --- | --: | --: | --: |")
for (const name of ["whoami", "log-in and log-out"] as const) {
  const costs: { readonly a: Array<number>; readonly b: Array<number> } = { a: [], b: [] }
  for (let turn = -20; turn < turns; turn++) {
    // Which one comes first changes with each turn.
    const pair = turn % 2 === 0 ? (["a", "b"] as const) : (["b", "a"] as const)
    for (const side of pair) {
      const cost = await cpuOf((side === "a" ? a : b)[name])
      if (turn >= 0) costs[side].push(cost)
    }
  }
  const [x, y] = [median(costs.a), median(costs.b)]
  console.log(`| ${name} | ${x.toFixed(2)} | ${y.toFixed(2)} | ${(y / x).toFixed(3)} |`)
}
process.exit(0)
