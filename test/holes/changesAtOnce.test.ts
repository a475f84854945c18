/**
 * Changes that one request makes at once run one after the other, in the order in which they began: what is left is
 * what they leave one by one, and every live session of the request is known to its cookie.
 */
import { assert, describe, it } from "@effect/vitest"
import { Cause, Effect, Exit, Redacted } from "effect"
import { empty } from "../support/httpSupport.ts"
import * as Stage from "../support/stage.ts"
import { ada, eve, UserSession } from "../support/userSession.ts"

type Handle = (typeof UserSession)["Service"]
type Change = (session: Handle) => Effect.Effect<unknown, unknown>

const changes = {
  create: (session) => session.create({ ...ada, count: 100 }),
  update: (session) => session.update((data) => ({ ...data, count: data.count + 1 })),
  modify: (session) => session.modify((data) => [data.count, { ...data, count: data.count + 10 }]),
  replace: (session) => session.replace({ ...ada, count: 1000 }),
  rotate: (session) => session.rotate,
  destroy: (session) => session.destroy,
  revokeOthers: (session) => session.revokeOthers,
  revokeAll: (session) => session.revokeAll
} satisfies Record<string, Change>

type Name = keyof typeof changes

/** What an Effect came to, as one word. */
const wordOf = (exit: Exit.Exit<unknown, unknown>): string =>
  Exit.isSuccess(exit)
    ? "done"
    : exit.cause.reasons
        .map((reason) =>
          reason._tag === "Fail" ? (reason.error as { readonly _tag: string })._tag : Cause.pretty(exit.cause)
        )
        .join()

/**
 * One request that carries a session and makes these changes; its user has a second session elsewhere. Every backend
 * call lets others go first.
 */
const run = Effect.fnUntraced(function* (list: ReadonlyArray<Change>, concurrency: 1 | "unbounded", carries = true) {
  const stage = yield* Stage.make()
  const carried = yield* stage.login(ada)
  const other = yield* stage.login(ada)
  stage.backend.wire = (_, call) => Effect.andThen(Effect.andThen(Effect.yieldNow, Effect.yieldNow), call)
  let words: ReadonlyArray<string> = []
  const send = yield* stage.open(
    Effect.gen(function* () {
      const session = yield* UserSession
      const exits = yield* Effect.forEach(list, (change) => Effect.exit(change(session)), { concurrency })
      words = exits.map(wordOf)
      return empty
    })
  )
  const answer = yield* send("POST", "/", { cookie: carries ? Stage.cookieOf(carried) : "" })
  stage.backend.wire = (_, call) => call
  const stored = (yield* stage.backend.records).map(({ data, id, version }) => {
    const which = id === carried.id ? "carried" : id === other.id ? "other" : "new"
    return { id, is: `${which} v${version} ${data}` }
  })
  const isDeletion = answer.cookie === "__Host-session="
  const opens =
    isDeletion || answer.cookie === ""
      ? undefined
      : yield* Effect.exit(stage.manager.resolve(Redacted.make(answer.cookie.slice(answer.cookie.indexOf("=") + 1))))
  return {
    status: answer.status,
    words,
    stored: stored.map(({ is }) => is).sort(),
    // The session the client can still open: by the cookie it was given, or by the one it sent if it was given none.
    cookie: isDeletion
      ? "taken off"
      : opens === undefined
        ? "as it was"
        : Exit.isSuccess(opens)
          ? stored.find(({ id }) => id === opens.value.id)!.is
          : "opens nothing"
  }
})

describe("changes of one request at once", () => {
  it.effect("[R46] two log-ins leave one live session, and it is the cookie's", () =>
    Effect.gen(function* () {
      for (const carries of [false, true]) {
        const logIns = [ada, eve].map(
          (data): Change =>
            (session) =>
              session.create(data)
        )
        const { cookie, stored, words } = yield* run(logIns, "unbounded", carries)
        const left = stored.filter((is) => is.startsWith("new"))
        assert.deepStrictEqual([words, left], [["done", "done"], [`new v1 ${JSON.stringify(eve)}`]])
        assert.strictEqual(cookie, left[0])
        assert.strictEqual(
          stored.some((is) => is.startsWith("carried")),
          !carries
        )
      }
    })
  )

  it.effect("each is made on what the one before it left", () =>
    Effect.gen(function* () {
      const data = (count: number) => JSON.stringify({ ...ada, count })
      const other = `other v1 ${data(0)}`
      const rows: ReadonlyArray<readonly [first: Name, second: Name, stored: ReadonlyArray<string>, cookie: string]> = [
        ["create", "destroy", [other], "taken off"],
        ["destroy", "create", [`new v1 ${data(100)}`, other], `new v1 ${data(100)}`],
        ["rotate", "rotate", [`carried v3 ${data(0)}`, other], `carried v3 ${data(0)}`],
        ["update", "create", [`new v1 ${data(100)}`, other], `new v1 ${data(100)}`],
        ["create", "update", [`new v2 ${data(101)}`, other], `new v2 ${data(101)}`],
        ["revokeOthers", "update", [`carried v3 ${data(1)}`], `carried v3 ${data(1)}`],
        ["update", "revokeOthers", [`carried v3 ${data(1)}`], `carried v3 ${data(1)}`],
        ["create", "revokeOthers", [`new v2 ${data(100)}`], `new v2 ${data(100)}`],
        ["revokeAll", "create", [`new v1 ${data(100)}`], `new v1 ${data(100)}`]
      ]
      for (const [first, second, stored, cookie] of rows) {
        const at = yield* run([changes[first], changes[second]], "unbounded")
        assert.deepStrictEqual(
          at,
          { status: 204, words: ["done", "done"], stored: [...stored].sort(), cookie },
          `${first}, ${second}`
        )
      }
    })
  )

  it.effect("any two at once come to what they come to one after the other", () =>
    Effect.gen(function* () {
      const names = Object.keys(changes) as ReadonlyArray<Name>
      for (const first of names) {
        for (const second of names) {
          const list = [changes[first], changes[second]]
          const [together, apart] = [yield* run(list, "unbounded"), yield* run(list, 1)]
          assert.deepStrictEqual(together, apart, `${first}, ${second}`)
        }
      }
    })
  )
})
