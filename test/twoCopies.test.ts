/**
 * A bundler may load `effect` and this package more than once in a process: Next does, for a page and for each route. What
 * one copy keeps on `globalThis` the other one uses. Here one bundle of both is loaded twice.
 */
import { afterAll, assert, beforeAll, describe, it } from "@effect/vitest"
import { build } from "esbuild"
import { copyFileSync, mkdtempSync, rmSync } from "node:fs"
import { tmpdir } from "node:os"
import { join } from "node:path"
import { inspect } from "node:util"
import type * as EffectModule from "effect"
import type * as HttpModule from "effect/http"
import type * as Package from "effect-sessions"
import type { SessionTest } from "effect-sessions/testing"
import { refusedWhy } from "../src/internal/session/refusedWhy.ts"
import { SessionInvalid } from "../src/SessionError.ts"
import { secretA } from "./support/userSession.ts"

const root = join(import.meta.dirname, "..")

/** What a copy exports. */
type Copy = typeof EffectModule & typeof HttpModule & typeof Package & { readonly SessionTest: typeof SessionTest }

const contents = `
export { Cause, Context, Effect, Exit, Layer, ManagedRuntime, Option, Redacted, Schema } from "effect"
export { HttpEffect, HttpServerResponse } from "effect/http"
export * from "effect-sessions"
export { SessionTest } from "effect-sessions/testing"
`

const folder = mkdtempSync(join(tmpdir(), "two-copies-"))

/** Two copies of the module of an application: a definition, its layer, its runtime. */
const load = async (file: string) => {
  // The bundle exports what `Copy` lists, as far as it is used here.
  const copy = (await import(join(folder, file))) as Copy
  const { Layer, ManagedRuntime, Redacted, Schema, Session, SessionBackendMemory, SessionFrontend } = copy
  const { SessionKeys, SessionMiddleware, SessionTest, SessionVerifier } = copy
  class UserSession extends Session.Service<UserSession>()("app/UserSession", {
    data: Schema.Struct({ username: Schema.String, words: Schema.Int }),
    principal: (data) => data.username
  }) {}
  const live = SessionMiddleware.layer(UserSession).pipe(
    Layer.provide([
      SessionFrontend.layerCookie(),
      SessionBackendMemory.layer,
      SessionVerifier.layerExists(UserSession)
    ]),
    Layer.provide(SessionKeys.layer(Redacted.make(secretA))),
    Layer.provide(SessionTest.layerCrypto)
  )
  return { ...copy, UserSession, live, runtime: ManagedRuntime.make(live) }
}

/** As `Session.Bound`, of a class that the compiler cannot name here. */
type App = Awaited<ReturnType<typeof load>>

/** One that keeps its runtime, and another that finds it. */
let kept: App
let other: App

beforeAll(async () => {
  const outfile = join(folder, "one.mjs")
  await build({
    stdin: { contents, resolveDir: root, loader: "ts" },
    alias: {
      "effect-sessions": join(root, "src/index.ts"),
      "effect-sessions/testing": join(root, "src/testing/index.ts")
    },
    external: ["redis", "ioredis", "mysql2"],
    bundle: true,
    format: "esm",
    platform: "node",
    outfile
  })
  copyFileSync(outfile, join(folder, "two.mjs"))
  kept = await load("one.mjs")
  other = await load("two.mjs")
})

afterAll(async () => {
  await kept.runtime.dispose()
  await other.runtime.dispose()
  rmSync(folder, { recursive: true, force: true })
})

const ada = { username: "ada", words: 0 }
const textOf = (cookie: string) => cookie.split("=")[1]!.split(";")[0]!

describe("two copies of the library", () => {
  /** A request to an app of the other copy, with the services of the kept runtime. */
  const send = async (
    handle: (
      handle: Package.Session.RequestSession<typeof ada, typeof kept.UserSession.refused>
    ) => EffectModule.Effect.Effect<unknown, unknown>,
    cookie?: string
  ) => {
    const { Effect, HttpEffect, HttpServerResponse, SessionMiddleware, UserSession } = other
    const app = Effect.flatMap(UserSession, handle).pipe(
      Effect.map((answer) => HttpServerResponse.text(String(answer))),
      SessionMiddleware.make(UserSession),
      // The identifier is the same, and so are the services: of the other copy's class by type alone.
      Effect.provide(
        (await kept.runtime.context()) as unknown as EffectModule.Context.Context<
          Package.Session.Bound<InstanceType<typeof other.UserSession>>
        >
      )
    )
    const response = await HttpEffect.toWebHandler(app)(
      new Request("http://localhost/", cookie === undefined ? {} : { headers: { cookie } })
    )
    const [header] = response.headers.getSetCookie()
    return { status: response.status, text: await response.text(), header, cookie: header?.split(";")[0] }
  }

  it("are two: each has its own classes, and opens only what it has redacted", () => {
    assert.notStrictEqual(kept.SessionError.SessionInvalid, other.SessionError.SessionInvalid)
    const redacted = kept.Redacted.make("text")
    assert.strictEqual(kept.Redacted.value(redacted), "text")
    assert.throws(() => other.Redacted.value(redacted), /Unable to get redacted value/)
  })

  it("a log-in, an update, a log-out in one copy go to the runtime that the other has kept", async () => {
    const loggedIn = await send((session) => session.create(ada))
    assert.strictEqual(loggedIn.status, 200)
    // As long as the session may live, which the record says: the session alone would say until when it is idle.
    assert.include(loggedIn.header, "Max-Age=86400")
    const { cookie } = loggedIn
    const updated = await send((session) => session.update((data) => ({ ...data, words: data.words + 1 })), cookie)
    assert.strictEqual(updated.status, 200)
    const read = await send((session) => other.Effect.map(session.get, ({ data }) => data.words), cookie)
    assert.strictEqual(read.text, "1")
    const rotated = await send((session) => session.rotate, cookie)
    assert.strictEqual(rotated.status, 200)
    // Two tokens of one session, the older of which opens nothing any more.
    const both = `${cookie}; ${rotated.cookie}`
    assert.strictEqual((await send((session) => other.Effect.map(session.get, ({ id }) => id), both)).status, 200)
    const loggedOut = await send((session) => session.destroy, both)
    assert.strictEqual(loggedOut.status, 200)
    assert.include(loggedOut.header, "Max-Age=0")
    assert.strictEqual((await send((session) => session.get, rotated.cookie)).status, 401)
    // One that has looked at its session first knows which of the request's tokens is its own.
    const again = await send((session) => session.create(ada))
    const looked = await send((session) => other.Effect.andThen(session.get, session.destroy), again.cookie)
    assert.strictEqual(looked.status, 200)
    assert.strictEqual((await send((session) => session.get, again.cookie)).status, 401)
  })

  it("the kept runtime runs the other copy's effects, and a page finds its user", async () => {
    const { cookie } = await send((session) => session.create(ada))
    const { Effect, SessionMiddleware, UserSession } = other
    const name = (request: Request) =>
      SessionMiddleware.fromRequest(UserSession, request).pipe(
        Effect.map(({ data }) => data.username),
        Effect.catchTag(["SessionMissing", "SessionInvalid"], (error) => Effect.succeed(error._tag))
      )
    const run = (request: Request) =>
      // As above: the same services, by another class.
      kept.runtime.runPromise(name(request) as unknown as EffectModule.Effect.Effect<string>)
    assert.strictEqual(await run(new Request("http://localhost/", { headers: { cookie: cookie! } })), "ada")
    assert.strictEqual(await run(new Request("http://localhost/")), "SessionMissing")
    const forged = cookie!.slice(0, -1) + (cookie!.endsWith("A") ? "E" : "A")
    assert.strictEqual(await run(new Request("http://localhost/", { headers: { cookie: forged } })), "SessionInvalid")
  })

  it("a manager takes the sessions of the other copy's manager, with their records", async () => {
    const manager = await kept.runtime.runPromise(kept.UserSession.Manager)
    const { Effect } = other
    const session = await Effect.runPromise(manager.create(ada))
    const [, changed] = await Effect.runPromise(manager.modify(session, (data) => [0, { ...data, words: 7 }]))
    assert.strictEqual(changed.data.words, 7)
    const elsewhere = await other.runtime.runPromise(other.UserSession.Manager)
    const exit = await Effect.runPromise(Effect.exit(elsewhere.modify(session, (data) => [0, { ...data, words: 8 }])))
    // It has another store, without this record: with the token of the kept copy it got as far as asking.
    assert.strictEqual(other.Option.getOrThrow(other.Exit.findErrorOption(exit))._tag, "SessionInvalid")
  })

  it("two runtimes over one memo map are two applications: nothing is refused, and neither knows the other's log-ins", async () => {
    const memoMap = await kept.Effect.runPromise(kept.Layer.makeMemoMap)
    const one = kept.ManagedRuntime.make(kept.live, { memoMap })
    const two = other.ManagedRuntime.make(other.live, { memoMap })
    const manager = await one.runPromise(kept.UserSession.Manager)
    const elsewhere = await two.runPromise(other.UserSession.Manager)
    const { token } = await kept.Effect.runPromise(manager.create(ada))
    const error = await other.Effect.runPromise(other.Effect.flip(elsewhere.resolve(token)))
    assert.strictEqual(error._tag === "SessionInvalid" && error.reason, "NotFound")
    await two.dispose()
    await one.dispose()
  })

  it("JSON that looks like a session, with a record of another's, is none", async () => {
    const manager = await kept.runtime.runPromise(kept.UserSession.Manager)
    const session = await kept.Effect.runPromise(manager.create(ada))
    const key = Reflect.ownKeys(Object.getPrototypeOf(session)).find((name) => String(name).endsWith("/record"))
    const record = { namespace: "app/UserSession", id: session.id, version: session.version, data: "{}", extension: "" }
    const sent = JSON.stringify({ ...session, token: "x", [key!]: record })
    const opener = Reflect.ownKeys(Object.getPrototypeOf(session.token)).find((name) => String(name).endsWith("/text"))
    const opened = JSON.stringify({ ...session, token: { [opener!]: "x" } })
    for (const body of [JSON.parse(sent), Object.create(JSON.parse(sent)), JSON.parse(opened)] as Array<
      typeof session
    >) {
      const exit = await kept.Effect.runPromise(kept.Effect.exit(manager.replace(body, { username: "ada", words: 9 })))
      assert.isTrue(kept.Exit.hasDies(exit))
      assert.include(kept.Exit.isFailure(exit) ? kept.Cause.pretty(exit.cause) : "", "a session token cannot be opened")
    }
    assert.strictEqual((await kept.Effect.runPromise(manager.resolve(session.token))).data.words, 0)
  })

  it("why another copy's manager refused is told by its tag, not by its class", async () => {
    const manager = await kept.runtime.runPromise(kept.UserSession.Manager)
    const error = await other.Effect.runPromise(other.Effect.flip(manager.resolve(kept.Redacted.make("x"))))
    assert.notInstanceOf(error, SessionInvalid)
    assert.strictEqual(refusedWhy(error), "Malformed")
  })

  it("a token that another copy has redacted by itself fails with a sentence that says what to do", async () => {
    const manager = await kept.runtime.runPromise(kept.UserSession.Manager)
    const { cookie } = await send((session) => session.create(ada))
    const foreign = other.Redacted.make(textOf(cookie!))
    for (const effect of [manager.resolve(foreign), other.Effect.asVoid(manager.destroy(foreign))] as const) {
      const exit = await other.Effect.runPromise(other.Effect.exit<unknown, unknown, never>(effect))
      assert.isTrue(other.Exit.hasDies(exit))
      const message = other.Exit.isFailure(exit) ? String(other.Cause.squash(exit.cause)) : ""
      assert.include(message, "another copy of effect has redacted it. Make it with the copy that made the manager")
      assert.notInclude(message, textOf(cookie!))
    }
  })

  it("what lets the copies see a token and a record shows neither", async () => {
    const manager = await kept.runtime.runPromise(kept.UserSession.Manager)
    const session = await kept.Effect.runPromise(manager.create(ada))
    const text = kept.Redacted.value(session.token)
    for (const shown of [
      inspect(session, { depth: 9, showHidden: true }),
      JSON.stringify(session),
      JSON.stringify({ ...session }),
      String(session.token),
      inspect(session.token, { showHidden: true })
    ]) {
      assert.notInclude(shown, text)
      assert.notInclude(shown, text.slice(35, 78))
      assert.notInclude(shown, "secretHash")
    }
    assert.deepStrictEqual(
      Reflect.ownKeys(session.token).filter((key) => key !== "label"),
      []
    )
    // One that was wiped stays so.
    assert.isTrue(kept.Redacted.wipeUnsafe(session.token))
    const exit = await kept.Effect.runPromise(kept.Effect.exit(manager.resolve(session.token)))
    assert.isTrue(kept.Exit.hasDies(exit))
  })
})
