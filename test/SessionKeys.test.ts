import { NodeCrypto } from "@effect/platform-node"
import { assert, describe, it } from "@effect/vitest"
import * as Config from "effect/Config"
import * as ConfigProvider from "effect/ConfigProvider"
import * as Effect from "effect/Effect"
import * as Layer from "effect/Layer"
import * as Redacted from "effect/Redacted"
import * as Schema from "effect/Schema"
import { createHash, randomUUID } from "node:crypto"
import { inspect } from "node:util"
import { testKitKey } from "../src/internal/token/publishedKeys.ts"
import { weakness } from "../src/internal/token/secretStrength.ts"
import * as SessionBackend from "../src/SessionBackend.ts"
import * as SessionKeys from "../src/SessionKeys.ts"
import * as SessionTest from "../src/testing/SessionTest.ts"
import { outcome } from "./support/outcome.ts"
import { ada, secretA, secretB, UserSession } from "./support/userSession.ts"
import * as Stack from "./support/stack.ts"

const build = (secrets: ReadonlyArray<string>) =>
  // An empty list is refused by the type, and again at run time.
  Layer.build(
    SessionKeys.layer(secrets.map((secret) => Redacted.make(secret)) as [Redacted.Redacted]).pipe(
      Layer.provide(NodeCrypto.layer)
    )
  ).pipe(Effect.scoped)

const problemsOf = (secrets: ReadonlyArray<string>) =>
  Effect.map(Effect.flip(build(secrets)), (error) => error.problems)

/** Strong secrets, the same in every run, none a random one of anybody's. */
const strong = (i: number) => createHash("sha256").update(`test secret ${i}`).digest("base64url")

/** What `openssl rand`, `crypto.randomBytes` and their like print. */
const usual = [
  [16, "hex"],
  [20, "hex"],
  [24, "hex"],
  [32, "hex"],
  [24, "base64"],
  [32, "base64"],
  [24, "base64url"],
  [32, "base64url"]
] as const

describe("weak secrets", () => {
  const repeated = (text: string, length = 48) => text.repeat(Math.ceil(length / text.length)).slice(0, length)
  const bad: ReadonlyArray<readonly [string, RegExp]> = [
    // Too short, whatever they are made of.
    ["", /is empty/],
    ["a", /has 1 bytes; at least 32/],
    ["secret", /has 6 bytes/],
    ["hunter2", /has 7 bytes/],
    [secretA.slice(0, 16), /has 16 bytes/],
    [secretA.slice(0, 31), /has 31 bytes/],
    ["é".repeat(15), /has 30 bytes/],
    // Repeats.
    ...["a", "0", "\0", " ", "ab", "abc", "a1B2", "12345678", "qwertz12", "0123456789abcdef", "é", "\u{1f600}"].map(
      (text) => [repeated(text), /repeats itself|entropy/] as const
    ),
    [strong(1).slice(0, 10).repeat(4), /repeats itself/],
    [strong(1).slice(0, 21).repeat(2), /repeats itself/],
    [`${"a".repeat(40)}b`, /entropy/],
    [`${"a".repeat(20)}${"b".repeat(20)}`, /entropy/],
    [`${"x".repeat(31)}${strong(2).slice(0, 8)}`, /entropy/],
    ["aaaabbbbccccddddeeeeffffgggghhhhiiii", /entropy/],
    ["abababababababababababababababababac", /entropy/],
    ["1234512345123451234512345123451234x5", /entropy/],
    // Sequences.
    ["abcdefghijklmnopqrstuvwxyz0123456789", /entropy/],
    ["ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz", /entropy/],
    ["zyxwvutsrqponmlkjihgfedcba9876543210", /entropy/],
    ["0123456789012345678901234567890123456789", /entropy|repeats/],
    ["0123456789abcdef0123456789ABCDEF", /entropy/],
    ["acegikmoqsuwybdfhjlnprtvxz0246813579", /entropy/],
    ["00112233445566778899aabbccddeeff", /entropy/],
    ["9876543210987654321098765432109876543210", /entropy|repeats/],
    // Placeholders and samples.
    ...[
      "your-256-bit-secret-your-256-bit-secret!",
      "change-me-please-before-you-deploy-this-app",
      "CHANGEME-CHANGEME-4f9d1c7b2a6e8035d4f9d1c7",
      "changeit change_me Xq7Zp2Lw9Vt4Rb8Nc3Md6Kf1Js5Hg0",
      "replace-this-with-Xq7Zp2Lw9Vt4Rb8Nc3Md6Kf1Js5Hg0",
      "replaceMe-Xq7Zp2Lw9Vt4Rb8Nc3Md6Kf1Js5Hg0Ty",
      "insert-your-key-here-Xq7Zp2Lw9Vt4Rb8Nc3Md6Kf",
      "my-super-secret-session-key-for-my-application",
      "SuperSecretKey-Xq7Zp2Lw9Vt4Rb8Nc3Md6Kf1Js5Hg0",
      "keyboard cat keyboard dog Xq7Zp2Lw9Vt4Rb8Nc3",
      "password-Xq7Zp2Lw9Vt4Rb8Nc3Md6Kf1Js5Hg0Ty4Ui",
      "P4ssword-password-P4ssword-Xq7Zp2Lw9Vt4Rb8Nc3",
      "complex_password_at_least_32_characters_long",
      "this-is-an-example-Xq7Zp2Lw9Vt4Rb8Nc3Md6Kf1J",
      "placeholder-Xq7Zp2Lw9Vt4Rb8Nc3Md6Kf1Js5Hg0Ty",
      "default-Xq7Zp2Lw9Vt4Rb8Nc3Md6Kf1Js5Hg0Ty4Ui8",
      "development-Xq7Zp2Lw9Vt4Rb8Nc3Md6Kf1Js5Hg0Ty",
      "production-Xq7Zp2Lw9Vt4Rb8Nc3Md6Kf1Js5Hg0Ty4",
      "qwertyuiop-Xq7Zp2Lw9Vt4Rb8Nc3Md6Kf1Js5Hg0Ty4",
      "letmein-Xq7Zp2Lw9Vt4Rb8Nc3Md6Kf1Js5Hg0Ty4Ui8",
      "lorem ipsum dolor sit amet consectetur adipi",
      "correct horse battery staple and some more words",
      "deadbeefdeadbeefcafebabecafebabe0badf00d1337",
      "your_key_Xq7Zp2Lw9Vt4Rb8Nc3Md6Kf1Js5Hg0Ty4Ui",
      "SESSION_SECRET=Xq7Zp2Lw9Vt4Rb8Nc3Md6Kf1Js5Hg0"
    ].map((text) => [text, /placeholder|entropy/] as const),
    // Words, few or over and over.
    ["the quick brown fox jumps over the lazy dog", /entropy/],
    ["alpha bravo charlie delta echo foxtrot golf", /entropy/],
    ["monday-tuesday-wednesday-thursday-friday", /entropy/],
    ["apple apple apple apple banana banana banana apple", /entropy/],
    ["session1 session2 session3 session4 session5", /entropy/],
    ["january_february_march_april_may_june_july", /entropy/],
    ["1111 2222 3333 4444 5555 6666 7777 8888 9999", /entropy/],
    ["thisisasessionkeyforourapplication", /entropy/],
    // Rolls of a die.
    ["36152461352416325143625413526146", /entropy/],
    // Base64 of words said twice.
    ["aGVsbG8td29ybGQtaGVsbG8td29ybGQhIQ==", /entropy/],
    ["31415926535897932384626433832795", /placeholder|entropy/],
    ["192.168.100.100.192.168.100.101.192.168", /entropy/],
    ["+49 170 1234567 +49 170 1234568 +49 170 1234569", /entropy/]
  ]

  it("[R86a] there are at least 60 of them", () => assert.isAtLeast(bad.length, 60))

  bad.forEach(([secret, rule], i) => {
    it.effect(`[R86a] bad secret ${i + 1} is refused by its rule, which does not quote it`, () =>
      Effect.gen(function* () {
        const error = yield* Effect.flip(build([secret]))
        assert.strictEqual(error._tag, "SessionConfigError")
        assert.strictEqual(error.problems.length, 1)
        assert.match(error.problems[0]!, rule)
        assert.include(error.problems[0], "openssl rand -base64 32")
        if (secret.length >= 4) {
          for (const text of [error.message, inspect(error, { depth: 9 }), JSON.stringify(error), String(error)]) {
            for (let at = 0; at + 8 <= secret.length; at += 4) {
              // A word the rule itself says is no quotation.
              if (!"the session secret contains a placeholder word".includes(secret.slice(at, at + 8))) {
                assert.notInclude(text, secret.slice(at, at + 8))
              }
            }
          }
        }
        // In a ring each is refused by its place.
        assert.match((yield* problemsOf([secretA, secret]))[0]!, /^session secret 2 of 2 /)
      })
    )
  })

  it("[R86a] words written together are words, random letters are not", () => {
    assert.match(weakness("TheQuickBrownFoxJumpsOverTheLazyDog")!, /bits of entropy/)
    assert.isUndefined(weakness("qwhdkslamxnvbqpwoeirutyazgskdjfhtcmxnebvqp"))
    assert.isUndefined(weakness("bXqTzRmWnLkVsPyHgJdFcAoQeUiZwCxNtYrKvBhSpGf"))
    // Three pieces with capitals like words, and no vowel.
    assert.isUndefined(weakness("KdpzwbtnvqlxrghmcXfjsbqdnzhpqxtkGlwvrsdt"))
  })

  it("[R86a] a random key that spells a placeholder in mixed case is none", () => {
    const key = strong(7).slice(0, 37)
    for (const word of ["secret", "Secret", "SECRET", "mySECRETkey"])
      assert.match(weakness(`${key}${word}`)!, /placeholder/)
    for (const word of ["sEcret", "SECrEt", "secreT", "QwErTyu"]) assert.isUndefined(weakness(`${key}${word}`), word)
  })

  it("[R86a] random keys as commands print them are never refused", () => {
    // The same keys in every run. Run once with 10^6 of each from the system's randomness: none was refused.
    for (const [bytes, encoding] of usual) {
      for (let i = 0; i < 3_000; i++) {
        const key = createHash("sha256").update(`${i}`).digest().subarray(0, bytes).toString(encoding)
        const weak = weakness(key)
        if (weak !== undefined) assert.fail(`${encoding} ${bytes}, key ${i}: ${weak}`)
      }
    }
  })

  it("[R86a] nor those of them that chance has made look least random, nor with a file's line break", () => {
    for (const key of [
      // Of 400,000 each the one with most runs and sequences, and the one with fewest characters.
      "66e52fedc345ffff7775643420c55591",
      "8dbaf2ffcd8acb533bdddc3238a2f3f8",
      "002446468d018ccd24468e9235577423cf4121c541fedbfd92d192815ff19285",
      "d41dcd54cebd9bfbb245cb1cb477d5d54959deb394e547532df95b23e4eeffd9",
      "Oq4nopsrqpYnENaauljT0mPheGnSzTBa",
      "j8D+3h/E/9+qY/Ybp919YY3Yg/u3h+Eb",
      // Digits alone.
      "83920174650918273649501827364509",
      "8392017465091827364950182736450917",
      // No digit, and no capital side by side with another.
      "qWnrTzbvMxkdPslgHjtfRwcqBvnzKdsp",
      // Dashes fall so that the pieces have the length of words.
      "xKdPzWbTnVqL-rGhMcYfJsBe_uDnZoQpXaTk-iLwEvRy"
    ]) {
      assert.isUndefined(weakness(key), key)
      assert.isUndefined(weakness(`${key}\n`), key)
    }
  })

  it("[R1] [R86a] a UUID is no key, of whatever version and however it is written", () => {
    const uuids = [
      randomUUID(),
      "f81d4fae-7dec-11d0-a765-00a0c91e6bf6",
      "000003e8-2363-21f0-9500-325096b39f47",
      "5df41881-3aed-3515-88a7-2f4a814cf09e",
      "2ed6657d-e927-568b-95e1-2665a8aea6a2",
      "1ec9414c-232a-6b00-b3c8-9f6bdeced846",
      "017f22e2-79b0-7cc3-98c4-dc0c0c07398f",
      "2489e9ad-2ee2-8e00-8ec9-32d5f69181c0",
      "c7d3f5a1-0b9e-f2d4-6a18-93be5c70f2d4"
    ]
    for (const uuid of uuids) {
      for (const text of [
        uuid,
        `{${uuid}}`,
        `urn:uuid:${uuid}`,
        uuid.replaceAll("-", "_"),
        `{${uuid.replaceAll("-", "")}}`,
        `session-${uuid}`
      ]) {
        assert.match(weakness(text)!, /UUID/, text)
        assert.match(weakness(text.toUpperCase())!, /UUID/, text)
      }
      // 16 random bytes in hexadecimal look the same: one in eight of them has a version and a variant.
      assert.isUndefined(weakness(uuid.replaceAll("-", "").replace(/^0+3e8/, "9c4f13e8")))
    }
  })

  it.effect("[R86a] the published key of the test kit is refused, and signs in the test kit alone", () =>
    Effect.gen(function* () {
      for (const key of [
        testKitKey,
        `${testKitKey}\n`,
        testKitKey.slice(0, -1),
        `"${testKitKey}"`,
        `base64:${testKitKey}`,
        testKitKey.toLowerCase()
      ]) {
        assert.match((yield* problemsOf([key]))[0]!, /is published, .*make one with/)
      }
      const signers = yield* SessionKeys.SessionKeys.use((keys) => keys.signers("p")).pipe(
        Effect.provide([SessionTest.layerKeys, NodeCrypto.layer])
      )
      assert.match(signers[0].kid, /^[\w-]{8}$/)
    })
  )
})

describe("the ring", () => {
  it.effect("[R17] holds eight secrets, and no ninth", () =>
    Effect.gen(function* () {
      const secrets = Array.from({ length: 9 }, (_, i) => strong(i))
      yield* build(secrets.slice(0, 8))
      assert.deepStrictEqual(yield* problemsOf(secrets), ["9 session secrets are given; at most 8 may be"])
    })
  )

  it.effect("[R86b] is not empty, and has no secret twice; all problems are listed at once", () =>
    Effect.gen(function* () {
      assert.match((yield* problemsOf([]))[0]!, /no session secret is given; make one with/)
      assert.deepStrictEqual(yield* problemsOf([secretA, secretB, secretA]), [
        "session secret 3 of 3 repeats an earlier one"
      ])
      const problems = yield* problemsOf([secretA, "short", secretA, "a".repeat(40)])
      assert.strictEqual(problems.length, 3)
    })
  )

  it.effect("names each key by its secret, not by its place, and no two alike", () =>
    Effect.gen(function* () {
      const kids = (...secrets: readonly [string, ...ReadonlyArray<string>]) =>
        SessionKeys.SessionKeys.use((keys) => keys.signers("p")).pipe(
          Effect.map((signers) => signers.map((signer) => signer.kid)),
          Effect.provide(Layer.merge(Stack.layerKeys(...secrets), NodeCrypto.layer))
        )
      const [a, b] = yield* kids(secretA, secretB)
      assert.deepStrictEqual(yield* kids(secretB, secretA), [b, a])
      assert.deepStrictEqual(yield* kids(secretA), [a])
      assert.notStrictEqual(a, b)
      assert.match(a!, /^[\w-]{8}$/)
      assert.notInclude(secretA, a)
    })
  )

  it.effect("[R13] [old] to [old, new] to [new, old] to [new] logs nobody out, and reads re-issue nothing", () =>
    Effect.gen(function* () {
      const backend = Layer.succeed(SessionBackend.SessionBackend, yield* SessionBackend.SessionBackend)
      const at = (...secrets: readonly [string, ...ReadonlyArray<string>]) =>
        UserSession.Manager.use(Effect.succeed).pipe(
          Effect.provide(
            Stack.manager(UserSession, { backend, crypto: NodeCrypto.layer, keys: Stack.layerKeys(...secrets) })
          )
        )
      const kid = (token: Redacted.Redacted<string>) => Redacted.value(token).split(".")[1]
      const steps = [
        yield* at(secretA),
        yield* at(secretA, secretB),
        yield* at(secretB, secretA),
        yield* at(secretB)
      ] as const
      const made = []
      for (const step of steps) made.push(yield* step.create(ada))
      const [oldest, second, third, newest] = made
      assert.strictEqual(kid(oldest!.token), kid(second!.token))
      assert.strictEqual(kid(third!.token), kid(newest!.token))
      assert.notStrictEqual(kid(second!.token), kid(third!.token))
      // While a deployment runs, servers of two neighbouring steps answer side by side.
      for (const [server, tokens] of [
        [steps[0], [oldest!, second!]],
        [steps[1], [oldest!, second!, third!]],
        [steps[2], [oldest!, second!, third!, newest!]],
        [steps[3], [third!, newest!]]
      ] as const) {
        for (const { token } of tokens) {
          const seen = yield* server.resolve(token)
          assert.strictEqual(Redacted.value(seen.token), Redacted.value(token))
        }
      }
      // A key that has been removed opens nothing, and one that has not come yet neither.
      assert.strictEqual(yield* outcome(steps[3].resolve(oldest!.token)), "SessionInvalid Signature")
      assert.strictEqual(yield* outcome(steps[0].resolve(newest!.token)), "SessionInvalid Signature")
      // A rotation signs with the first.
      const rotated = yield* steps[2].rotate(oldest!.token)
      assert.strictEqual(kid(rotated.token), kid(newest!.token))
      assert.strictEqual(yield* outcome(steps[3].resolve(rotated.token)), "ok")
    }).pipe(Effect.provide(Stack.layerMemory()))
  )
})

describe("layerConfig", () => {
  const from = (env: Record<string, unknown>, config: Parameters<typeof SessionKeys.layerConfig>[0]) =>
    Layer.build(SessionKeys.layerConfig(config).pipe(Layer.provide(NodeCrypto.layer))).pipe(
      Effect.scoped,
      Effect.provideService(ConfigProvider.ConfigProvider, ConfigProvider.fromUnknown(env))
    )
  const one = Config.Redacted("SESSION_SECRET")
  const several = Config.schema(Schema.Array(Schema.RedactedFromValue(Schema.String)), "SESSION_SECRETS")

  it.effect("reads one secret, or several", () =>
    Effect.gen(function* () {
      yield* from({ SESSION_SECRET: secretA }, one)
      yield* from({ SESSION_SECRETS: [secretA, secretB] }, several)
    })
  )

  it.effect("[R86b] a missing secret is a SessionConfigError that shows how to make one, and none is made up", () =>
    Effect.gen(function* () {
      // A problem is a line of a list, and shows no value.
      const multi = Schema.Redacted(Schema.String.check(Schema.isMinLength(9, { message: "nine\n at least" })))
      for (const [env, config, says] of [
        [{}, one, "set SESSION_SECRET; "],
        [{ SESSION_SECRET: { a: "hidden" } }, one, "set SESSION_SECRET; "],
        [{}, Config.nested(Config.Redacted("SECRET"), "SESSION"), "set SESSION_SECRET; "],
        [{}, Config.Array(Schema.Redacted(Schema.String), "SESSION_SECRETS"), "set SESSION_SECRETS (Expected array); "],
        [{ SESSION_SECRETS: {} }, several, "set SESSION_SECRETS (Expected array); "],
        [{ SESSION_SECRET: "hidden" }, Config.schema(multi, "SESSION_SECRET"), "set SESSION_SECRET (nine at least); "]
      ] as const) {
        const error = yield* Effect.flip(from(env, config))
        assert.strictEqual(error._tag, "SessionConfigError")
        assert.strictEqual(
          error.message,
          "session configuration of SessionKeys:\n" +
            `  - the session secret is not configured: ${says}make one with: openssl rand -base64 32`
        )
      }
    })
  )

  it.effect("[R86b] an empty secret, a weak one and an empty list are refused", () =>
    Effect.gen(function* () {
      for (const env of [{ SESSION_SECRET: "" }, { SESSION_SECRET: "weak" }]) {
        assert.strictEqual((yield* Effect.flip(from(env, one)))._tag, "SessionConfigError")
      }
      assert.strictEqual((yield* Effect.flip(from({}, Config.succeed([]))))._tag, "SessionConfigError")
    })
  )

  it.effect("[R86b] neither the configuration nor the ring shows a secret", () =>
    Effect.gen(function* () {
      const config = { secret: Redacted.make(secretA) }
      assert.include(inspect(config), "<redacted>")
      const keys = yield* SessionKeys.SessionKeys.use(Effect.succeed).pipe(Effect.provide(Stack.layerKeys(secretA)))
      const signers = yield* keys.signers("p").pipe(Effect.provide(NodeCrypto.layer))
      for (const value of [config, keys, signers]) {
        for (const text of [inspect(value, { depth: 9, showHidden: true }), JSON.stringify(value), String(value)]) {
          assert.notInclude(text, secretA)
          assert.notInclude(text, secretA.slice(0, 12))
        }
      }
    })
  )
})
