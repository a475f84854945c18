import { assert, describe, it } from "@effect/vitest"
import * as CookieHeader from "../../src/internal/frontend/cookieHeader.ts"
import * as Dice from "../support/random.ts"

const name = "__Host-session"

const table = (rows: ReadonlyArray<readonly [header: string, values: ReadonlyArray<string>]>) => {
  for (const [header, values] of rows) {
    assert.deepStrictEqual(CookieHeader.values(header, name), values, JSON.stringify(header))
  }
}

/** A text that counts the characters its methods look at. */
class CountingText extends String {
  work = 0
  override indexOf(text: string, start = 0): number {
    const at = super.indexOf(text, start)
    this.work += (at === -1 ? this.length : at) - start + 1
    return at
  }
  override charCodeAt(index: number): number {
    this.work++
    return super.charCodeAt(index)
  }
  override startsWith(text: string, position = 0): boolean {
    this.work += text.length
    return super.startsWith(text, position)
  }
  override slice(start?: number, end?: number): string {
    const part = super.slice(start, end)
    this.work += part.length
    return part
  }
}

const workOf = (header: string): number => {
  const text = new CountingText(header)
  // It has the methods of a string, and is read as one.
  CookieHeader.values(text as unknown as string, name)
  return text.work
}

describe("cookieHeader", () => {
  it("finds the values of one name, in order", () =>
    table([
      [`${name}=a`, ["a"]],
      [`x=1; ${name}=a; y=2`, ["a"]],
      [`${name}=a;${name}=b`, ["a", "b"]],
      [`${name}=a=b==`, ["a=b=="]],
      ["", []],
      [";;; ;", []]
    ]))

  it("[R26] trims SP and HTAB around a pair, and nothing else", () => {
    table([
      [` \t${name}=a\t ; x=1`, ["a"]],
      [`x=1;\t${name}=a`, ["a"]],
      [`${name} =a`, []],
      [`${name}= a`, [" a"]],
      [`${name.toLowerCase()}=a`, []],
      [`${name.toUpperCase()}=a`, []],
      [`x${name}=a`, []],
      [`${name}x=a`, []]
    ])
    const blanks = [0x00, 0x0b, 0x0c, 0x0a, 0x0d, 0x85, 0xa0, 0x1680, 0x180e, 0x2028, 0x2029, 0x202f, 0x205f, 0x3000]
    for (let code = 0x2000; code <= 0x200d; code++) blanks.push(code)
    for (const code of [...blanks, 0xfeff]) {
      const blank = String.fromCharCode(code)
      table([
        [`${blank}${name}=evil; ${name}=good`, ["good"]],
        [`${name}=good; ${blank}${name}=evil`, ["good"]],
        [`${name}${blank}=evil; ${name}=good`, ["good"]],
        [`${name}=good${blank}`, [`good${blank}`]]
      ])
    }
  })

  it("[R27] makes no named cookie of a nameless one", () =>
    table([
      [`=${name}=evil`, []],
      [name, []],
      [`==${name}=evil`, []],
      [` =${name}=evil; ${name}=good`, ["good"]],
      [`${name}; ${name}=good`, ["good"]]
    ]))

  it("[R28] knows no quotes, no $Version and no percent signs", () =>
    table([
      [`$Version=1; a="x; ${name}=seen; b="`, ["seen"]],
      [`${name}="tok"`, [`"tok"`]],
      [`%5F_Host-session=evil`, []],
      [`__Host%2Dsession=evil`, []],
      [`${name}%3Devil`, []],
      [`${name}=%41`, ["%41"]],
      [`${name}=a\\"b`, [`a\\"b`]]
    ]))

  it("[R30] a comma separates nothing", () =>
    table([
      [`a=b, ${name}=x`, []],
      [`a=b,${name}=x`, []],
      [`${name}=x, a=b`, ["x, a=b"]]
    ]))

  it("[R33] cookies named after members of Object.prototype are cookies like any other", () => {
    const hostile = "__proto__=x; constructor=x; hasOwnProperty=x; toString=x; valueOf=x"
    table([[`${hostile}; ${name}=a`, ["a"]]])
    for (const property of ["__proto__", "constructor", "hasOwnProperty"]) {
      assert.deepStrictEqual(CookieHeader.values(hostile, property), ["x"])
      assert.deepStrictEqual(CookieHeader.values("a=b", property), [])
    }
    assert.isFalse("x" in {})
  })

  it("[R37] an empty value is none", () =>
    table([
      [`${name}=`, []],
      [`${name}= \t`, []],
      [`${name}=; ${name}=a`, ["a"]]
    ]))

  it("[R32] stops after 256 pairs and 16 KiB", () => {
    const pair = `${name}=a`
    table([
      [`${"x;".repeat(255)}${pair}`, ["a"]],
      [`${"x;".repeat(256)}${pair}`, []],
      [`${"x".repeat(16_384 - pair.length - 1)};${pair}`, ["a"]],
      // One that reaches over the limit is not read in part.
      [`${"x".repeat(16_384 - pair.length)};${pair}`, []],
      [`${"x".repeat(20_000)};${pair}`, []],
      [`${pair};${"x".repeat(1 << 20)}`, ["a"]]
    ])
  })

  it("[R32] its work grows with the header's length, and no faster", () => {
    const families: ReadonlyArray<readonly [string, (n: number) => string]> = [
      [";;;=", (n) => `${";".repeat(n)}=`],
      ["a=;", (n) => "a=;".repeat(n / 3)],
      ["\\", (n) => "\\".repeat(n)],
      ["blanks", (n) => " ".repeat(n)],
      ["blank pairs", (n) => " ;".repeat(n / 2)],
      ["blanks after a value", (n) => `${name}=${" ".repeat(n)}x`],
      ["blanks at the end", (n) => `${name}=x${" ".repeat(n)}`],
      ["quotes", (n) => `"`.repeat(n)],
      ["commas", (n) => ",".repeat(n)],
      ["almost the name", (n) => "__Host-sessio;".repeat(n / 14)],
      ["the name", (n) => `${name};`.repeat(n / 15)],
      ["the cookie", (n) => `${name}=a;`.repeat(n / 17)]
    ]
    for (const [family, make] of families) {
      for (let n = 1 << 10; n <= 1 << 20; n <<= 1) {
        const header = make(n)
        const work = workOf(header)
        // Each character of a pair is looked at a few times; the name is compared once a pair, 256 times at most.
        assert.isAtMost(work, 3 * header.length + 256 * (name.length + 4), `${family} of ${n}`)
      }
    }
  })

  it("[R26] agrees with the grammar on whatever is sent", () => {
    // The same grammar, said in another way: split, trim by an explicit pattern, compare.
    const expected = (header: string) =>
      header
        .split(";")
        .map((pair) => pair.replace(/^[ \t]+/, "").replace(/[ \t]+$/, ""))
        .filter((pair) => pair.startsWith(`${name}=`) && pair.length > name.length + 1)
        .map((pair) => pair.slice(name.length + 1))
    const dice = Dice.make(32)
    const pieces = [name, "=", "=", ";", "; ", " ", "\t", "\u00a0", "\u2028", "\0", ",", '"', "%", "a", "__Host-", "é"]
    for (let i = 0; i < 20_000; i++) {
      let header = ""
      for (let n = dice.below(24); n > 0; n--) header += dice.pick(pieces)
      assert.deepStrictEqual(CookieHeader.values(header, name), expected(header), JSON.stringify(header))
    }
  })
})
