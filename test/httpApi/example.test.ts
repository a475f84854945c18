/**
 * examples/http-api.ts as a reader runs it: in a process of its own, on the built package, called by the API's own
 * typed client over real HTTP.
 */
import { afterAll, assert, beforeAll, describe, it } from "@effect/vitest"
import { Validator } from "@seriousme/openapi-schema-validator"
import * as Effect from "effect/Effect"
import * as FetchHttpClient from "effect/http/FetchHttpClient"
import * as HttpApiClient from "effect/http-api/HttpApiClient"
import * as Layer from "effect/Layer"
import * as Option from "effect/Option"
import * as Redacted from "effect/Redacted"
import * as Ref from "effect/Ref"
import { SessionError, SessionHttpApiClient } from "effect-sessions"
import { Api, NoSuchSession, WrongPassword } from "../../examples/http-api.ts"
import * as Examples from "../support/examples.ts"

let examples: Examples.Examples
let example: Examples.Running
beforeAll(async () => {
  examples = Examples.open()
  example = await examples.serving("http-api.ts")
}, 120_000)
afterAll(() => examples.close())

const client = Effect.suspend(() => HttpApiClient.make(Api, { baseUrl: example.url }))

/** Another browser each time. */
const browser = client.pipe(
  Effect.provide(Layer.suspend(() => SessionHttpApiClient.layerCookies())),
  Effect.provide(FetchHttpClient.layer)
)

const ada = { username: "ada", password: Redacted.make("correct horse") }
const bob = { username: "bob", password: Redacted.make("battery staple") }
const admin = { username: "root", password: Redacted.make("tremendous secret") }

describe("examples/http-api.ts", () => {
  it.live("lets in who knows the password", () =>
    Effect.gen(function* () {
      const { account, auth } = yield* browser
      for (const payload of [
        { ...ada, password: Redacted.make("wrong") },
        { ...ada, username: "nobody" },
        // An administrator is no user.
        admin
      ]) {
        assert.instanceOf(yield* Effect.flip(auth.login({ payload })), WrongPassword)
      }
      assert.instanceOf(yield* Effect.flip(account.whoami()), SessionError.SessionMissing)
      yield* auth.login({ payload: ada })
      assert.deepStrictEqual(yield* account.whoami(), { username: "ada", device: "browser" })
      yield* auth.logout()
      assert.instanceOf(yield* Effect.flip(account.whoami()), SessionError.SessionMissing)
    })
  )

  it.live("lists one's devices, ends one of them, and all the others", () =>
    Effect.gen(function* () {
      const [first, second, third, other] = [yield* browser, yield* browser, yield* browser, yield* browser]
      for (const { auth } of [first, second, third]) yield* auth.login({ payload: ada })
      yield* other.auth.login({ payload: bob })

      const devices = yield* first.account.sessions()
      assert.deepStrictEqual(devices.map(({ current }) => current).toSorted(), [false, false, true])
      const current = (sessions: typeof devices) => sessions.find(({ current }) => current)!
      const second_ = current(yield* second.account.sessions())
      assert.isFalse(devices.find(({ id }) => id === second_.id)!.current)

      yield* first.account.revoke({ params: { id: second_.id } })
      assert.instanceOf(yield* Effect.flip(second.account.whoami()), SessionError.SessionInvalid)
      yield* third.account.whoami()
      const foreign = current(yield* other.account.sessions())
      assert.instanceOf(yield* Effect.flip(first.account.revoke({ params: { id: foreign.id } })), NoSuchSession)

      assert.deepStrictEqual(yield* first.account.revokeOthers(), { ended: 1 })
      assert.instanceOf(yield* Effect.flip(third.account.whoami()), SessionError.SessionInvalid)
      assert.lengthOf(yield* first.account.sessions(), 1)
      yield* other.account.whoami()
      yield* first.auth.logout()
      yield* other.auth.logout()
    })
  )

  it.live("has an administrator, who is no user, and signs users out", () =>
    Effect.gen(function* () {
      const user = yield* browser
      const chief = yield* browser
      yield* user.auth.login({ payload: ada })
      assert.instanceOf(yield* Effect.flip(user.adminAuth.login({ payload: ada })), WrongPassword)
      yield* chief.adminAuth.login({ payload: admin })
      assert.deepStrictEqual(yield* chief.admin.whoami(), { username: "root" })
      // One never passes for the other.
      assert.instanceOf(yield* Effect.flip(chief.account.whoami()), SessionError.SessionMissing)
      assert.instanceOf(yield* Effect.flip(user.admin.whoami()), SessionError.SessionMissing)
      assert.instanceOf(
        yield* Effect.flip(user.admin.signOut({ params: { username: "bob" } })),
        SessionError.SessionMissing
      )

      assert.deepStrictEqual(yield* chief.admin.signOut({ params: { username: "ada" } }), { ended: 1 })
      assert.instanceOf(yield* Effect.flip(user.account.whoami()), SessionError.SessionInvalid)
      yield* chief.adminAuth.logout()
      assert.instanceOf(yield* Effect.flip(chief.admin.whoami()), SessionError.SessionMissing)
    })
  )

  it.live("serves a mobile client by bearer token, from the same backend", () =>
    Effect.gen(function* () {
      const token = yield* Ref.make(Option.none<Redacted.Redacted<string>>())
      const phone = yield* client.pipe(
        Effect.provide(SessionHttpApiClient.layerBearer({ baseUrl: example.url, token: Ref.get(token) })),
        Effect.provide(FetchHttpClient.layer)
      )
      const desk = yield* browser
      yield* desk.auth.login({ payload: ada })
      const [issued, response] = yield* phone.auth.mobileLogin({
        payload: ada,
        responseMode: "decoded-and-response"
      })
      assert.isUndefined(response.headers["set-cookie"])
      yield* Ref.set(token, Option.some(Redacted.make(issued.token)))
      assert.deepStrictEqual(yield* phone.account.whoami(), { username: "ada", device: "phone" })
      assert.deepStrictEqual((yield* desk.account.sessions()).map(({ device }) => device).toSorted(), [
        "browser",
        "phone"
      ])
      yield* phone.auth.logout()
      assert.instanceOf(yield* Effect.flip(phone.account.whoami()), SessionError.SessionInvalid)
      yield* desk.account.whoami()
      yield* desk.auth.logout()
    })
  )

  it("serves its documentation", async () => {
    const docs = await fetch(`${example.url}/docs`)
    assert.strictEqual(docs.status, 200)
    assert.include(await docs.text(), "SwaggerUIBundle")
    const document = (await (await fetch(`${example.url}/openapi.json`)).json()) as Record<string, never>
    assert.isTrue((await new Validator().validate(document)).valid)
    assert.deepStrictEqual(document["components"]!["securitySchemes"], {
      session: { type: "apiKey", name: "session", in: "cookie" },
      bearer: { type: "http", scheme: "Bearer" },
      admin: { type: "apiKey", name: "admin", in: "cookie" }
    })
  })

  it("prints commands to try, and they work", async () => {
    const commands = example.output().match(/curl .*/g) ?? []
    assert.strictEqual(commands.length, 10)
    // What curl would do, for machines without it: one jar a file, as `-b` and `-c` name it.
    const jars = new Map<string, Map<string, string>>()
    const known = { TOKEN: "", ID: "" }
    const statuses: Array<number> = []
    for (const command of commands) {
      // In one pass: a token may have "ID" in it.
      const filled = command.replace(/TOKEN|ID/g, (word) => known[word as keyof typeof known])
      const option = (name: string) => new RegExp(` -${name} (?:'([^']*)'|(\\S+))`).exec(filled)?.slice(1).find(Boolean)
      const jar = jars.get(option("b") ?? "") ?? new Map<string, string>()
      const header = option("H")
      const response = await fetch(/http:\S+$/.exec(filled)![0], {
        method: option("X") ?? (option("d") === undefined ? "GET" : "POST"),
        headers: {
          ...(header === undefined ? undefined : { [header.split(": ")[0]!]: header.split(": ")[1]! }),
          cookie: [...jar].map(([name, value]) => `${name}=${value}`).join("; ")
        },
        ...(option("d") === undefined ? undefined : { body: option("d")! })
      })
      for (const line of response.headers.getSetCookie()) {
        const [, name, value] = /^([^=]+)=([^;]*)/.exec(line)!
        if (option("c") !== undefined) jars.set(option("c")!, jar.set(name!, value!))
      }
      statuses.push(response.status)
      const body = await response.text()
      known.TOKEN = /"token":"([^"]+)"/.exec(body)?.[1] ?? known.TOKEN
      known.ID = /"id":"([^"]+)","device":"phone"/.exec(body)?.[1] ?? known.ID
    }
    assert.deepStrictEqual(statuses, [204, 200, 200, 200, 200, 204, 200, 204, 200, 204])
    assert.include(example.output(), "root signed ada out of 1 sessions")
  })
})
