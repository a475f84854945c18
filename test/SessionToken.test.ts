import { NodeCrypto } from "@effect/platform-node"
import { assert, describe, it } from "@effect/vitest"
import * as Digest from "effect/crypto/Digest"
import * as Kdf from "effect/crypto/Kdf"
import * as Mac from "effect/crypto/Mac"
import * as SecureRandom from "effect/crypto/SecureRandom"
import * as Effect from "effect/Effect"
import * as Base64Url from "effect/encoding/Base64Url"
import * as Exit from "effect/Exit"
import * as Layer from "effect/Layer"
import * as Redacted from "effect/Redacted"
import * as Schema from "effect/Schema"
import { createHash, createHmac, randomBytes } from "node:crypto"
import { readdirSync, readFileSync } from "node:fs"
import * as TokenCrypto from "../src/internal/token/tokenCrypto.ts"
import * as Session from "../src/Session.ts"
import * as SessionKeys from "../src/SessionKeys.ts"
import * as SessionToken from "../src/SessionToken.ts"
import { keysOf, outcome, secretA, secretB, stackOf, tokensOf, UserData, UserSession, wordOf } from "./support/core.ts"

const namespace = { key: UserSession.key }
const live = Layer.merge(keysOf(secretA), NodeCrypto.layer)
const claims = { id: "abcdefghijklmnopqrstuA", secret: "S".repeat(42) + "8" }
const check = (tokens: SessionToken.SessionToken, text: string) => outcome(tokens.check(Redacted.make(text)))

describe("ids and secrets", () => {
  it.effect("[R1] 10^5 of each: all distinct, of one length and alphabet, every bit as often set as not", () =>
    Effect.gen(function* () {
      const count = 100_000
      for (const [make, size, length] of [
        [SessionToken.randomId, 16, 22],
        [SessionToken.randomSecret, 32, 43],
        [Effect.map(SessionToken.randomClaims, ({ id }) => id), 16, 22],
        [Effect.map(SessionToken.randomClaims, ({ secret }) => secret), 32, 43]
      ] as const) {
        const seen = new Set<string>()
        const ones = new Uint32Array(size * 8)
        for (let i = 0; i < count; i++) {
          const text = yield* make
          if (!/^[A-Za-z0-9_-]+$/.test(text) || text.length !== length) assert.fail(text)
          seen.add(text)
          const bytes = Buffer.from(text, "base64url")
          for (let bit = 0; bit < ones.length; bit++) ones[bit]! += (bytes[bit >> 3]! >> (bit & 7)) & 1
        }
        assert.strictEqual(seen.size, count)
        // Five sigma of a fair coin thrown `count` times.
        const tolerance = 5 * Math.sqrt(count / 4)
        for (const [bit, set] of ones.entries()) assert.closeTo(set, count / 2, tolerance, `bit ${bit}`)
      }
    }).pipe(Effect.provide(NodeCrypto.layer))
  )

  it.effect("[R1] the id and the secret of one draw share no byte of it", () =>
    Effect.gen(function* () {
      const { id, secret } = yield* SessionToken.randomClaims
      const bytes = Uint8Array.from({ length: 48 }, (_, i) => i)
      assert.deepStrictEqual(Buffer.from(id, "base64url"), Buffer.from(bytes.subarray(0, 16)))
      assert.deepStrictEqual(Buffer.from(secret, "base64url"), Buffer.from(bytes.subarray(16)))
    }).pipe(
      Effect.provideService(
        SecureRandom.SecureRandom,
        SecureRandom.make((size) => Uint8Array.from({ length: size }, (_, i) => i))
      )
    )
  )

  const sources = readdirSync(new URL("../src", import.meta.url), { recursive: true, encoding: "utf8" })
    .filter((name) => name.endsWith(".ts"))
    .map((name) => [name, readFileSync(new URL(`../src/${name}`, import.meta.url), "utf8")] as const)
  /** Code without comments and texts. */
  const codeOf = (source: string) => source.replaceAll(/\/\*[\s\S]*?\*\//g, "").replaceAll(/(?<!:)\/\/.*$/gm, "")

  it("[R1] no source asks for a UUID, Math.random, or a clock or generator that is not Effect's", () => {
    const forbidden =
      /\brandomUUID\b|\bMath\s*\.\s*random\b|\bDate\s*\.\s*now\b|\bnew\s+Date\b|\buuid\w*\b|\bulid\b|performance\s*\.\s*now|getRandomValues/i
    assert.isAbove(sources.length, 20)
    for (const [name, source] of sources) {
      // The conformance suite, which is no part of a running application, draws ids without a service; the other refuses
      // UUIDs as keys.
      if (!["testing/SessionBackendTest.ts", "internal/token/secretStrength.ts"].includes(name))
        assert.notMatch(codeOf(source), forbidden, name)
    }
    assert.match(codeOf("const x = Math.random() // y"), forbidden)
  })

  it("[R11] no source compares a token's MAC or a client's secret with an operator", () => {
    const operator = /\b(mac|secret|parts\[4\]!?)\s*[!=]==(?!\s*undefined)|[!=]==\s*(mac|secret|token)\b/
    for (const [name, source] of sources) assert.notMatch(codeOf(source), operator, name)
    assert.match("if (mac === parts[4])", operator)
  })
})

describe("comparison", () => {
  it("[R11] says what === says", () => {
    const a = "a".repeat(43)
    for (const b of [a, a.slice(1), a + "a", "b" + a.slice(1), a.slice(1) + "b", "", "\u0161" + a.slice(1)]) {
      assert.strictEqual(TokenCrypto.timingSafeEqual(a, b), a === b)
    }
  })

  /**
   * Welch's t between guesses that are wrong at the first byte and guesses that are wrong at the last, in random order,
   * the slowest tenth of all left out. Each sample compares a text of its own, made the same way for both classes: a
   * text kept and compared again and again has a place in memory, which costs or saves the same few cycles every time
   * and would be taken for a leak.
   */
  const welch = (equal: (a: string, b: string) => boolean, samples: number): number => {
    const secret = Base64Url.encode(createHash("sha256").update("secret").digest())
    const guess = Buffer.from(secret, "latin1")
    const kinds = new Uint8Array(samples)
    const times = new Float64Array(samples)
    const coins = randomBytes(samples)
    let sum = 0
    for (let i = 0; i < samples; i++) {
      const kind = coins[i]! & 1
      const at = kind * (guess.length - 1)
      guess[at]! ^= 1
      const input = guess.toString("latin1")
      guess[at]! ^= 1
      const began = process.hrtime()
      for (let n = 0; n < 10; n++) sum += equal(input, secret) ? 1 : 0
      const [seconds, nanoseconds] = process.hrtime(began)
      kinds[i] = kind
      times[i] = seconds * 1e9 + nanoseconds
    }
    assert.strictEqual(sum, 0)
    const bound = times.toSorted()[Math.floor(samples * 0.9)]!
    const [first, last] = [0, 1].map((kind) => {
      const kept = times.filter((time, i) => kinds[i] === kind && time <= bound)
      const mean = kept.reduce((x, y) => x + y, 0) / kept.length
      return { mean, error: kept.reduce((x, y) => x + (y - mean) ** 2, 0) / (kept.length - 1) / kept.length }
    }) as [{ mean: number; error: number }, { mean: number; error: number }]
    return Math.abs(first.mean - last.mean) / Math.sqrt(first.error + last.error)
  }

  it("[R11] takes no less time for a difference at the first character than at the last (Welch's t)", () => {
    const early = (a: string, b: string) => {
      for (let i = 0; i < a.length; i++) if (a.charCodeAt(i) !== b.charCodeAt(i)) return false
      return true
    }
    // A quiet stretch is enough to acquit; a comparison that stops early is convicted in every stretch.
    const values: Array<number> = []
    for (let attempt = 0; attempt < 6; attempt++) {
      values.push(welch(TokenCrypto.timingSafeEqual, 1_000_000))
      if (values.at(-1)! < 4.5) break
    }
    assert.isBelow(Math.min(...values), 4.5)
    for (let attempt = 0; attempt < 3; attempt++) assert.isAbove(welch(early, 100_000), 4.5)
  })
})

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
      const session = yield* (yield* UserSession.Manager).create({ username: "ada", words: [] })
      assert.strictEqual(yield* outcome((yield* Other.Manager).resolve(session.token)), "SessionInvalid Signature")
    }).pipe(Effect.provide([stackOf(UserSession), stackOf(Other)]))
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

  it.effect("[R16] 10^5 mutations of real tokens are refused as malformed or ill-signed, and nothing else", () =>
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
        if (word !== "SessionInvalid Malformed" && word !== "SessionInvalid Signature") assert.fail(`${word}: ${other}`)
      }
    }).pipe(Effect.provide(live))
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
  })
})

describe("the fast path", () => {
  const web = Layer.mergeAll(Mac.layerWebCrypto, Digest.layerWebCrypto, Kdf.layerWebCrypto).pipe(
    Layer.provideMerge(SecureRandom.layerWebCrypto)
  )
  const texts = [
    "",
    "a",
    "effect-sessions probe",
    "é\u{1f600}",
    "x".repeat(256),
    "x".repeat(257),
    "x".repeat(1000),
    "v1.kid.id.secret"
  ]
  const key = new Uint8Array(32).map((_, i) => i * 7)

  for (const [name, layer] of Object.entries({ node: NodeCrypto.layer, "Web Crypto": web })) {
    it.effect(`answers what the services answer, over ${name}`, () =>
      Effect.gen(function* () {
        const mac = yield* Mac.Mac
        const digest = yield* Digest.Digest
        const macKey = yield* Mac.key(Mac.hmacSha256, key)
        const hmac = yield* TokenCrypto.hmac(key)
        const sha256 = yield* TokenCrypto.sha256
        for (const text of texts) {
          const bytes = new TextEncoder().encode(text)
          assert.strictEqual(yield* hmac(text), Base64Url.encode(yield* mac.sign(macKey, bytes)))
          assert.strictEqual(yield* sha256(text), Base64Url.encode(yield* digest.digest(Digest.sha256, bytes)))
          assert.strictEqual(yield* hmac(text), createHmac("sha256", key).update(text).digest("base64url"))
          assert.strictEqual(yield* sha256(text), createHash("sha256").update(text).digest("base64url"))
        }
        // Node's answers come at once, so that a request does not wait for a fiber.
        assert.strictEqual(Exit.isExit(hmac("a".repeat(122))), name === "node")
        assert.strictEqual(Exit.isExit(sha256("a")), name === "node")
      }).pipe(Effect.provide(layer))
    )
  }

  it.effect("a service with answers of its own is the one that is used", () =>
    Effect.gen(function* () {
      const hmac = yield* TokenCrypto.hmac(key)
      const sha256 = yield* TokenCrypto.sha256
      assert.strictEqual(yield* hmac("anything"), Base64Url.encode(new Uint8Array(32).fill(1)))
      assert.strictEqual(yield* sha256("anything"), Base64Url.encode(new Uint8Array(32).fill(2)))
    }).pipe(
      Effect.provide(
        Layer.mergeAll(
          Layer.effect(
            Mac.Mac,
            Effect.map(Mac.Mac, (real) => ({ ...real, sign: () => Effect.succeed(new Uint8Array(32).fill(1)) }))
          ),
          Layer.effect(
            Digest.Digest,
            Effect.map(Digest.Digest, (real) => ({ ...real, digest: () => Effect.succeed(new Uint8Array(32).fill(2)) }))
          )
        ).pipe(Layer.provide(NodeCrypto.layer))
      )
    )
  )

  it.effect("a whole stack over Web Crypto opens what one over Node made, and the other way", () =>
    Effect.gen(function* () {
      const node = yield* tokensOf(namespace).pipe(Effect.provide(Layer.merge(keysOf(secretA), NodeCrypto.layer)))
      const portable = yield* tokensOf(namespace).pipe(
        Effect.provide(Layer.merge(SessionKeys.layer(Redacted.make(secretA)).pipe(Layer.provide(web)), web))
      )
      const others = yield* tokensOf(namespace).pipe(Effect.provide(Layer.merge(keysOf(secretB), NodeCrypto.layer)))
      const [a, b] = [yield* node.issue(claims), yield* portable.issue(claims)]
      assert.strictEqual(Redacted.value(a), Redacted.value(b))
      assert.deepStrictEqual(yield* portable.check(a), claims)
      assert.strictEqual(yield* outcome(others.check(a)), "SessionInvalid Signature")
    })
  )
})
