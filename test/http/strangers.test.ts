/** Many requests of strangers, run without a web request each: the same root, the same middlewares. */
import { assert, describe, it } from "@effect/vitest"
import { Context, Effect, Redacted } from "effect"
import type { HttpServerResponse } from "effect/http"
import { Headers, HttpEffect, HttpServerRequest } from "effect/http"
import type { Session } from "effect-sessions"
import { SessionMiddleware } from "effect-sessions"
import { empty, verified } from "../support/httpSupport.ts"
import * as Dice from "../support/random.ts"
import * as Stage from "../support/stage.ts"
import { ada, UserSession, secretA } from "../support/userSession.ts"
import { tokensOf } from "../support/tokens.ts"
import * as Stack from "../support/stack.ts"

const get = new Request("https://app.test/")
const post = new Request("https://app.test/", { method: "POST" })

interface Seen {
  readonly status: number
  readonly setCookie: number
}

/** Runs an app with these very headers, whatever characters they hold. */
const runner = (
  stage: Effect.Success<ReturnType<typeof Stage.make>>,
  app: Effect.Effect<
    HttpServerResponse.HttpServerResponse,
    unknown,
    HttpServerRequest.HttpServerRequest | Session.Bound<UserSession>
  >
) => {
  let seen: Seen | undefined
  const handled = HttpEffect.toHandled(app, (_, response) =>
    Effect.sync(() => {
      seen = { status: response.status, setCookie: Object.keys(response.cookies.cookies).length }
    })
  )
  return (source: Request, headers: Headers.Headers): Effect.Effect<Seen> => {
    const request = HttpServerRequest.fromWeb(source).modify({ headers })
    const context = Context.add(stage.context, HttpServerRequest.HttpServerRequest, request)
    // It exits as the handler did, after the response was sent.
    return Effect.map(Effect.exit(Effect.provideContext(handled, context)), () => seen!)
  }
}

const noHeaders = Headers.fromRecordUnsafe({})
const withCookie = (cookie: string) => Headers.fromRecordUnsafe({ cookie })

describe("strangers", () => {
  it.effect(
    "[R84a] 100,000 anonymous GETs and 100,000 anonymous log-outs store nothing and set no cookie",
    () =>
      Effect.gen(function* () {
        const stage = yield* Stage.make()
        const read = runner(
          stage,
          SessionMiddleware.make(UserSession)(Effect.flatMap(UserSession, (s) => Effect.as(s.option, empty)))
        )
        const logout = runner(
          stage,
          SessionMiddleware.make(UserSession)(Effect.flatMap(UserSession, (s) => Effect.as(s.destroy, empty)))
        )
        let set = 0
        let answered = 0
        for (let i = 0; i < 100_000; i++) {
          for (const { setCookie, status } of [yield* read(get, noHeaders), yield* logout(post, noHeaders)]) {
            set += setCookie
            if (status === 204) answered++
          }
        }
        assert.deepStrictEqual([answered, set], [200_000, 0])
        assert.deepStrictEqual([stage.backend.operations, yield* stage.backend.records], [[], []])
      }),
    120_000
  )

  it.effect(
    "[R84b] [R16] 50,000 mutated tokens: none accepted, no backend call, no defect, no cookie",
    () =>
      Effect.gen(function* () {
        const stage = yield* Stage.make()
        const tokens: Array<string> = []
        for (let i = 0; i < 20; i++) tokens.push(Redacted.value((yield* stage.login(ada)).token))
        const guarded = runner(stage, SessionMiddleware.required(UserSession)(verified))
        const logout = runner(
          stage,
          SessionMiddleware.make(UserSession)(Effect.flatMap(UserSession, (s) => Effect.as(s.destroy, empty)))
        )
        const dice = Dice.make(84)
        const issued = new Set(tokens)
        const statuses = new Map<number, number>()
        let cases = 0
        let set = 0
        while (cases < 50_000) {
          const token = mutated(dice, tokens)
          // What happens to be a whole token again is not forged.
          if (issued.has(token) || /[;]/.test(token) || issued.has(token.replace(/^[ \t]+|[ \t]+$/g, ""))) continue
          cases++
          const isLogout = cases % 4 === 0
          const headers = withCookie(`__Host-session=${token}`)
          const { setCookie, status } = yield* isLogout ? logout(post, headers) : guarded(get, headers)
          set += setCookie
          const key = isLogout ? -status : status
          statuses.set(key, (statuses.get(key) ?? 0) + 1)
        }
        assert.deepStrictEqual([...statuses].sort(), [
          [-204, 12_500],
          [401, 37_500]
        ])
        assert.deepStrictEqual([stage.backend.operations, set], [[], 0])
      }),
    120_000
  )

  it.effect(
    "[R26] [R29] 60,000 hostile Cookie headers: none accepted, no backend call, no defect, no cookie",
    () =>
      Effect.gen(function* () {
        const stage = yield* Stage.make()
        const token = Redacted.value((yield* stage.login(ada)).token)
        const guarded = runner(stage, SessionMiddleware.required(UserSession)(verified))
        const dice = Dice.make(26)
        let set = 0
        let good = 0
        for (let cases = 0; cases < 60_000; cases++) {
          const { setCookie, status } = yield* guarded(get, withCookie(hostileHeader(dice, token)))
          set += setCookie
          if (status !== 401) good++
        }
        assert.deepStrictEqual([stage.backend.operations, set, good], [[], 0, 0])
        // The same runner lets the real one in.
        assert.strictEqual((yield* guarded(get, withCookie(`x=1; __Host-session=${token}`))).status, 200)
        assert.deepStrictEqual(stage.backend.operations, ["read"])
      }),
    120_000
  )

  it.effect(
    "[R84b] 100,000 well-signed tokens of sessions that never were: one read each, no write, no cookie",
    () =>
      Effect.gen(function* () {
        const stage = yield* Stage.make()
        const tokens = yield* Effect.provide(tokensOf(UserSession), [Stack.layerKeys(secretA), Stack.layerCrypto])
        const guarded = runner(stage, SessionMiddleware.required(UserSession)(verified))
        const dice = Dice.make(6)
        const turned = `${base64url}${base64url}`
        const random = (i: number, length: number) => `${i}${turned.slice(dice.below(64))}`.slice(0, length)
        let set = 0
        for (let i = 0; i < 100_000; i++) {
          const token = yield* tokens.issue({ id: random(i, 22), secret: random(i, 43) })
          const answer = yield* guarded(get, withCookie(`__Host-session=${Redacted.value(token)}`))
          set += answer.setCookie
          if (answer.status !== 401) assert.fail(`status ${answer.status}`)
        }
        assert.strictEqual(set, 0)
        assert.deepStrictEqual([...new Set(stage.backend.operations)], ["read"])
        assert.strictEqual(stage.backend.operations.length, 100_000)
      }),
    120_000
  )
})

const base64url = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_"
const strange = [..."=+/.%;, \t\"'\\\0\u00a0\u2028\ufeffé", "%41", "=="]

/** One of these tokens, or two, with something done to it. */
const mutated = (dice: Dice.Dice, tokens: ReadonlyArray<string>): string => {
  const token = dice.pick(tokens)
  const at = dice.below(token.length)
  const other = dice.pick(tokens)
  const parts = token.split(".")
  switch (dice.below(14)) {
    case 0:
      return token.slice(0, at) + dice.pick([...base64url]) + token.slice(at + 1)
    case 1:
      return token.slice(0, at) + dice.pick(strange) + token.slice(at + 1)
    case 2:
      return token.slice(0, at) + dice.pick([...base64url, ...strange]) + token.slice(at)
    case 3:
      return token.slice(0, at)
    case 4:
      return token.slice(0, at) + token.slice(at + 1)
    case 5:
      return token + dice.pick([...base64url, ...strange, token, `.${token}`, "~2junk"])
    case 6:
      return token.slice(0, at) + other.slice(at)
    case 7: {
      const i = dice.below(5)
      return parts.map((part, j) => (i === j ? other.split(".")[i]! : part)).join(".")
    }
    case 8: {
      // The unused bits of the last character of a part.
      const i = 2 + dice.below(3)
      const part = parts[i]!
      const last = base64url[base64url.indexOf(part.at(-1)!) ^ (1 + dice.below(3))]!
      return parts.map((text, j) => (i === j ? part.slice(0, -1) + last : text)).join(".")
    }
    case 9:
      return dice.pick([token.toUpperCase(), token.toLowerCase(), [...token].toReversed().join(""), `"${token}"`])
    case 10: {
      const mac = parts[4]!
      const short = dice.pick(["", mac.slice(0, 22), mac.slice(0, 42), `${mac}A`, "A".repeat(43), "none", mac.slice(1)])
      return [...parts.slice(0, 4), short].join(".")
    }
    case 11:
      // Other formats: a bare secret, express, itsdangerous, iron, a JWT without an algorithm.
      return dice.pick([
        parts[3]!,
        parts[2]!,
        `${parts[2]}.${parts[3]}`,
        `s:${parts[3]}.${parts[4]}`,
        `eyJhbGciOiJub25lIn0.${parts[3]}.`,
        `Fe26.2**${parts[4]}`,
        encodeURIComponent(JSON.stringify({ id: parts[2] }))
      ])
    case 12: {
      const i = dice.below(5)
      const j = dice.below(5)
      return parts.map((part, k) => (k === i ? parts[j]! : k === j ? parts[i]! : part)).join(".")
    }
    default:
      return token.replace(/^v1/, dice.pick(["v2", "V1", "v01", "", "v1.v1"]))
  }
}

/** A header in which the token stands only in places that are not the cookie. */
const hostileHeader = (dice: Dice.Dice, token: string): string => {
  const cookie = "__Host-session"
  const blank = () =>
    dice.pick([
      "\u00a0",
      "\u0085",
      "\u1680",
      "\u2003",
      "\u2028",
      "\u202f",
      "\u3000",
      "\ufeff",
      "\v",
      "\f",
      "\0",
      "\n",
      "\r"
    ])
  const planted = () =>
    dice.pick([
      () => `${blank()}${cookie}=${token}`,
      () => `${cookie}${blank()}=${token}`,
      () => `${cookie}=${blank()}${token}`,
      () => `${cookie}=${token}${blank()}`,
      () => `=${cookie}=${token}`,
      () => `==${cookie}=${token}`,
      () => `${cookie} =${token}`,
      () => `${cookie}= ${token}`,
      () => `${cookie}="${token}"`,
      () => `"${cookie}=${token}"`,
      () => `a=b, ${cookie}=${token}`,
      () => `%5F_Host-session=${token}`,
      () => `__host-session=${token}`,
      () => `__HOST-SESSION=${token}`,
      () => `x${cookie}=${token}`,
      () => `${cookie}x=${token}`,
      () => `${cookie}==${token}`,
      () => `${cookie}=${token}, ${token}`,
      () => `$Version=1, ${cookie}=${token}`,
      () => `session=${token}`,
      () => `${cookie}=${mutated(dice, [token]).replaceAll(";", "").replace(token, "x")}`,
      () => `${cookie}`,
      () => `${cookie}=`
    ])()
  const noise = () =>
    dice.pick(["a=b", "", " ", "=", "a", "__proto__=x", "$Version=1", `x="`, `y="`, "é=ü", "\u2028", "x=\\", ",,"])
  const pairs: Array<string> = []
  for (let n = 1 + dice.below(6); n > 0; n--) pairs.push(dice.below(2) === 0 ? planted() : noise())
  return pairs.join(dice.pick([";", "; ", " ; ", ";\t", ";;"]))
}
