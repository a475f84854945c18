import { NodeCrypto } from "@effect/platform-node"
import { assert, describe, it } from "@effect/vitest"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import * as Layer from "effect/Layer"
import * as Redacted from "effect/Redacted"
import * as Schema from "effect/Schema"
import { createHash, createHmac } from "node:crypto"
import * as Session from "../../src/Session.ts"
import * as SessionKeys from "../../src/SessionKeys.ts"
import * as SessionToken from "../../src/internal/token/token.ts"
import { wordOf, outcome } from "../support/outcome.ts"
import { UserData, UserSession, ada, secretA } from "../support/userSession.ts"
import { tokensOf } from "../support/tokens.ts"
import * as Stack from "../support/stack.ts"

const namespace = { key: UserSession.key }
const live = Layer.merge(Stack.layerKeys(secretA), NodeCrypto.layer)
const claims = { id: "abcdefghijklmnopqrstuA", secret: "S".repeat(42) + "8" }
const check = (tokens: SessionToken.Tokens, text: string) => outcome(tokens.check(Redacted.make(text)))

describe("issue and check", () => {
  it.effect("a token is what it says it is, and is read back", () =>
    Effect.gen(function* () {
      const tokens = yield* tokensOf(namespace)
      const token = yield* tokens.issue(claims)
      assert.deepStrictEqual(yield* tokens.check(token), claims)
      const [version, kid, id, secret, mac] = Redacted.value(token).split(".")
      assert.deepStrictEqual([version, id, secret], ["v1", claims.id, claims.secret])
      assert.strictEqual(kid!.length, 8)
      assert.strictEqual(Buffer.from(mac!, "base64url").length, 32)
      assert.strictEqual(String(token), "<redacted:SessionToken>")
    }).pipe(Effect.provide(live))
  )

  it.effect("[R10] the MAC is whole or it is nothing, and there is no algorithm to choose", () =>
    Effect.gen(function* () {
      const tokens = yield* tokensOf(namespace)
      const [v, kid, id, secret, mac] = Redacted.value(yield* tokens.issue(claims)).split(".")
      const bytes = Buffer.from(mac!, "base64url")
      const cut = (size: number) => bytes.subarray(0, size).toString("base64url")
      const macs = [
        "",
        "none",
        cut(1),
        cut(16),
        cut(31),
        Buffer.concat([bytes, Buffer.of(0)]).toString("base64url"),
        "A".repeat(43),
        Buffer.alloc(32).toString("base64url"),
        bytes.toString("hex"),
        createHash("sha256").update(`${v}.${kid}.${id}.${secret}`).digest("base64url"),
        createHmac("sha256", "").update(`${v}.${kid}.${id}.${secret}`).digest("base64url"),
        createHmac("sha256", secretA).update(`${v}.${kid}.${id}.${secret}`).digest("base64url"),
        createHmac("sha512", secretA).update(`${v}.${kid}.${id}.${secret}`).digest("base64url")
      ]
      for (const other of macs) {
        assert.match(
          yield* check(tokens, `${v}.${kid}.${id}.${secret}.${other}`),
          /^SessionInvalid (Malformed|Signature)$/
        )
      }
      for (const version of ["v0", "v2", "V1", "none", "", "hs256"]) {
        assert.match(
          yield* check(tokens, `${version}.${kid}.${id}.${secret}.${mac}`),
          /^SessionInvalid (Malformed|Signature)$/
        )
      }
      assert.strictEqual(yield* check(tokens, `${v}.${kid}.${id}.${secret}.${mac}`), "ok")
    }).pipe(Effect.provide(live))
  )

  it.effect("[R12] no other library's or older form of a session id is read", () =>
    Effect.gen(function* () {
      const tokens = yield* tokensOf(namespace)
      const text = Redacted.value(yield* tokens.issue(claims))
      const [, , id, secret, mac] = text.split(".")
      for (const form of [
        id!,
        secret!,
        `${id}.${secret}`,
        `s:${secret}.${mac}`,
        `s%3A${secret}.${mac}`,
        `${Buffer.from(JSON.stringify({ id })).toString("base64")}.Zm9v.${mac}`,
        `Fe26.2**${id}*${secret}*${mac}**`,
        Buffer.from(JSON.stringify({ id, secret })).toString("base64"),
        `${Buffer.from('{"alg":"none"}').toString("base64url")}.${Buffer.from(`{"sub":"${id}"}`).toString("base64url")}.`,
        text.slice(0, text.lastIndexOf(".")),
        `Bearer ${text}`,
        `"${text}"`,
        encodeURIComponent(text) + "%",
        "",
        "null",
        "undefined",
        "[object Object]"
      ]) {
        assert.match(yield* check(tokens, form), /^SessionInvalid (Malformed|Signature)$/, form)
      }
    }).pipe(Effect.provide(live))
  )

  it.effect("[R15] a token of one definition is nothing to another, nor is any other use of the secret", () => {
    class Other extends Session.Service<Other>()("test/Other", { data: UserData }) {}
    return Effect.gen(function* () {
      const mine = yield* tokensOf(UserSession)
      const others = yield* tokensOf(Other)
      const signers = yield* (yield* SessionKeys.SessionKeys).signers("effect-sessions/v1/csrf/test/UserSession")
      const csrf = SessionToken.make(signers)
      for (const [from, to] of [
        [mine, others],
        [others, mine],
        [csrf, mine],
        [mine, csrf]
      ] as const) {
        const token = yield* from.issue(claims)
        assert.strictEqual(yield* outcome(from.check(token)), "ok")
        assert.strictEqual(yield* outcome(to.check(token)), "SessionInvalid Signature")
      }
      const session = yield* (yield* UserSession.Manager).create(ada)
      assert.strictEqual(yield* outcome((yield* Other.Manager).resolve(session.token)), "SessionInvalid Signature")
    }).pipe(Effect.provide([Stack.manager(UserSession), Stack.manager(Other)]))
  })

  it.effect("[R16] one canonical form: no other spelling of a token is accepted", () =>
    Effect.gen(function* () {
      const tokens = yield* tokensOf(namespace)
      const text = Redacted.value(yield* tokens.issue(claims))
      const alphabet = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_"
      const spellings = new Set<string>()
      const parts = text.split(".")
      // The last character of a part carries bits that decode to nothing.
      for (let part = 1; part < 5; part++) {
        for (const last of alphabet) {
          spellings.add(parts.with(part, parts[part]!.slice(0, -1) + last).join("."))
        }
        spellings.add(parts.with(part, `${parts[part]}=`).join("."))
        spellings.add(parts.with(part, parts[part]!.replaceAll("-", "+").replaceAll("_", "/")).join("."))
        spellings.add(parts.with(part, parts[part]!.toLowerCase()).join("."))
        spellings.add(parts.with(part, parts[part]!.toUpperCase()).join("."))
        spellings.add(parts.with(part, "%" + parts[part]!.charCodeAt(0).toString(16) + parts[part]!.slice(1)).join("."))
      }
      for (const suffix of ["=", ".", " ", "\n", "\0", "a", "~2junk", "%00", ";", ".A", "\u200b"]) {
        spellings.add(text + suffix)
        spellings.add(suffix + text)
        spellings.add(text.slice(0, -suffix.length) + suffix)
        spellings.add(suffix + text.slice(suffix.length))
      }
      for (let i = 0; i < text.length; i++) {
        spellings.add(text.slice(0, i) + text.slice(i + 1))
        for (const c of ["A", "z", "_", ".", " ", "\u0430", "\uff21"]) {
          spellings.add(text.slice(0, i) + c + text.slice(i + 1))
          spellings.add(text.slice(0, i) + c + text.slice(i))
        }
      }
      spellings.add(text + text)
      spellings.delete(text)
      assert.isAbove(spellings.size, 1500)
      for (const spelling of spellings) {
        assert.match(yield* check(tokens, spelling), /^SessionInvalid (Malformed|Signature)$/, spelling)
      }
      assert.strictEqual(yield* check(tokens, text), "ok")
    }).pipe(Effect.provide(live))
  )

  it.effect.prop(
    "[R16] for any token t and any s other than t, s is refused",
    {
      id: Schema.String.check(Schema.isPattern(/^[\w-]{22}$/)),
      at: Schema.Int.check(Schema.isBetween({ minimum: 0, maximum: 121 })),
      cut: Schema.Int.check(Schema.isBetween({ minimum: 0, maximum: 4 })),
      put: Schema.String
    },
    ({ at, cut, id, put }) =>
      Effect.gen(function* () {
        const tokens = yield* tokensOf(namespace)
        const text = Redacted.value(yield* tokens.issue({ ...claims, id }))
        const other = text.slice(0, at) + put + text.slice(at + cut)
        assert.strictEqual(yield* check(tokens, text), "ok")
        if (other !== text) assert.notStrictEqual(yield* check(tokens, other), "ok")
        if (put !== text) assert.notStrictEqual(yield* check(tokens, put), "ok")
      }).pipe(Effect.provide(live)),
    { arbitrary: { runs: 200 } }
  )

  it.effect(
    "[R16] 10^5 mutations of real tokens are refused as malformed or ill-signed, and nothing else",
    () =>
      Effect.gen(function* () {
        const tokens = yield* tokensOf(namespace)
        let state = 5
        const next = (bound: number) => {
          state = (state * 1103515245 + 12345) & 0x7fffffff
          return (state >> 8) % bound
        }
        const text = Redacted.value(yield* tokens.issue(claims))
        const bits = "AZaz09-_.=+/% \n\0\u00e9\u{1f600}v1"
        for (let i = 0; i < 100_000; i++) {
          let other = text
          for (let n = next(3); n >= 0; n--) {
            const at = next(other.length + 1)
            other = other.slice(0, at) + (next(5) === 0 ? "" : bits[next(bits.length)]) + other.slice(at + next(3))
          }
          if (other === text) continue
          const word = wordOf(yield* Effect.exit(tokens.check(Redacted.make(other))))
          if (word !== "SessionInvalid Malformed" && word !== "SessionInvalid Signature")
            assert.fail(`${word}: ${other}`)
        }
      }).pipe(Effect.provide(live)),
    120_000
  )

  it("[R17] 10^5 unknown key names cost no MAC", () => {
    let signed = 0
    const signer: SessionToken.Signer = {
      kid: "AAAAAAAA",
      sign: () => {
        signed++
        return Effect.succeed("M".repeat(43))
      }
    }
    const tokens = SessionToken.make([signer])
    const rest = `${claims.id}.${claims.secret}.${"M".repeat(43)}`
    for (let i = 0; i < 100_000; i++) {
      const kid = i.toString(36).padStart(8, "_")
      const exit = Effect.runSyncExit(tokens.check(Redacted.make(`v1.${kid}.${rest}`)))
      if (wordOf(exit) !== "SessionInvalid Signature") assert.fail(wordOf(exit))
    }
    assert.strictEqual(signed, 0)
    assert.isTrue(Exit.isSuccess(Effect.runSyncExit(tokens.check(Redacted.make(`v1.AAAAAAAA.${rest}`)))))
    assert.strictEqual(signed, 1)
  }, 120_000)
})
