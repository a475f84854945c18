/**
 * A record that does not decode is logged once, with the session's id and the path of the field, so that it can be
 * found and mended; no value of it, and no token, is in the log.
 */
import { assert, describe, it } from "@effect/vitest"
import { Context, Effect, Layer, Logger, References, Redacted, Schema } from "effect"
import { Session, SessionBackend, SessionMiddleware } from "effect-sessions"
import { SessionTest } from "effect-sessions/testing"
import * as Client from "../support/client.ts"
import { empty } from "../support/httpSupport.ts"
import * as WatchedBackend from "../support/watchedBackend.ts"
import * as Stage from "../support/stage.ts"

class ProfileSession extends Session.Service<ProfileSession>()("test/ProfileSession", {
  data: Schema.Struct({
    username: Schema.String,
    profile: Schema.Struct({ address: Schema.Struct({ city: Schema.String }) }),
    counts: Schema.Array(Schema.Int),
    byMail: Schema.Record(Schema.String, Schema.Int)
  })
}) {}

const good = { username: "ada", profile: { address: { city: "London" } }, counts: [1, 2], byMail: {} }

/** Every value of a bad record has this in it, and no log line may. */
const planted = "hunter2"

/** What is stored, and what the path of the field that is wrong must name. */
const rows: ReadonlyArray<readonly [data: unknown, path: ReadonlyArray<string>]> = [
  [{ ...good, username: { planted } }, ["username"]],
  [{ ...good, profile: { address: { city: [planted] } } }, ["profile", "address", "city"]],
  [{ ...good, profile: { address: {} } }, ["profile", "address", "city"]],
  [{ ...good, profile: planted }, ["profile"]],
  [{ ...good, counts: [1, planted] }, ["counts", "1"]],
  // A key that is data itself is no name of a field.
  [{ ...good, byMail: { [`${planted}@example.com`]: "x" } }, ["byMail"]],
  [planted, []]
]

const unreadable = [`{"username":"${planted}`, "", `[${"[".repeat(40)}"${planted}"${"]".repeat(40)}]`]

describe("a record that does not decode", () => {
  it.effect("is logged with the session's id and the path of the field, and never with a value", () =>
    Effect.gen(function* () {
      const texts = [
        ...rows.map(([data, path]) => [JSON.stringify(data), path] as const),
        ...unreadable.map((text) => [text, []] as const)
      ]
      for (const [data, path] of texts) {
        const backend = WatchedBackend.make()
        const context = yield* Layer.build(SessionTest.layer(ProfileSession, { backend: backend.layer }))
        const session = yield* Context.get(context, ProfileSession.Manager).create(good)
        const { idleExpiresAt, lastSeenAt } = (yield* backend.records)[0]!
        const service = yield* Effect.provide(SessionBackend.SessionBackend, backend.layer)
        yield* service.update(ProfileSession.key, session.id, 1, { data, dataVersion: 1, idleExpiresAt, lastSeenAt })
        const lines: Array<{ readonly level: string; readonly text: string; readonly entry: string }> = []
        const capturing = Layer.merge(
          Logger.layer([
            Logger.map(Logger.formatStructured, (entry) => {
              const { annotations, level, message } = entry
              lines.push({
                level: String(level),
                text: JSON.stringify([message, annotations]),
                entry: JSON.stringify(entry)
              })
            })
          ]),
          Layer.succeed(References.MinimumLogLevel, "Trace")
        )
        const read = Effect.flatMap(ProfileSession, ({ get }) => get)
        const app = SessionMiddleware.make(ProfileSession)(Effect.as(read, empty))
        const answer = yield* Effect.flatMap(Client.webHandler(Effect.provideContext(app, context)), (handle) =>
          Client.sender(handle)("GET", "/", { cookie: Stage.cookieOf(session) })
        ).pipe(Effect.provide(capturing))
        assert.deepStrictEqual([answer.status, answer.text], [401, `{"_tag":"SessionInvalid","reason":"Data"}`], data)
        assert.deepStrictEqual(answer.setCookie, [], data)
        const logged = lines.filter(({ text }) => text.includes("does not decode"))
        assert.deepStrictEqual(
          logged.map(({ level }) => level.toUpperCase()),
          ["WARN"],
          data
        )
        const { text } = logged[0]!
        assert.include(text, session.id, data)
        for (const name of path) assert.match(text, new RegExp(`\\b${name}\\b`), data)
        for (const { entry } of lines) {
          assert.notInclude(entry, planted, data)
          assert.notInclude(entry, "London", data)
          assert.notInclude(entry, Redacted.value(session.token), data)
        }
      }
    })
  )
})
