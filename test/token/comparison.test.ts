import { assert, describe, it } from "@effect/vitest"
import * as Base64Url from "effect/encoding/Base64Url"
import { createHash, randomBytes } from "node:crypto"
import * as TokenCrypto from "../../src/internal/token/tokenCrypto.ts"

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
  }, 120_000)
})
