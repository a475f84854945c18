import { assert, describe, it } from "@effect/vitest"
import * as Cookies from "effect/http/Cookies"
import { CookieJar } from "../src/internal/client/cookieJar.ts"

const site = "https://app.example.com"

const day = 86_400_000

/** A jar that was given these `Set-Cookie` headers, one response each, by this address. */
const given = (from: string, ...headers: ReadonlyArray<string>): CookieJar => {
  const jar = new CookieJar()
  for (const header of headers) jar.keep(from, Cookies.fromSetCookie(header), 0)
  return jar
}

const sentBack = (header: string, from = `${site}/dir/page`) => given(from, header).header(from, 0)

describe("a cookie is refused", () => {
  const accepted = [
    "__Host-s=1; Path=/; Secure",
    "__Host-s=1; path=/; SECURE; HttpOnly; SameSite=None",
    "__Secure-s=1; Path=/dir; Secure",
    "__Secure-s=1; Path=/; Secure; Domain=app.example.com",
    "__Host-Http-s=1; Path=/; Secure; HttpOnly",
    "__Http-s=1; Secure; HttpOnly",
    "__Hosts=1",
    "s=1; SameSite=Lax"
  ]
  it.each(accepted)("not: %s", (header) => {
    assert.strictEqual(sentBack(header), header.split(";")[0])
  })

  it.each([
    "__Host-s=1; Path=/",
    "__Host-s=1; Secure",
    "__Host-s=1; Path=/dir; Secure",
    "__Host-s=1; Path=/; Secure; Domain=app.example.com",
    "__host-s=1; Path=/",
    "__HOST-s=1; Path=/dir; Secure",
    "__Secure-s=1; Path=/",
    "__SECURE-s=1; Path=/",
    "__Http-s=1; Path=/; Secure",
    "__Http-s=1; Path=/; HttpOnly",
    "__Host-Http-s=1; Path=/; Secure",
    "s=1; SameSite=None",
    "s=1; Domain=other.example",
    "s=1; Domain=other.example.com",
    "s=1; Domain=com",
    "s=1; Domain=sub.app.example.com"
  ])("for its attributes: %s", (header) => {
    assert.isUndefined(sentBack(header))
  })

  it("if it is Secure and the address is not, except on this machine", () => {
    const header = "__Host-s=1; Path=/; Secure"
    for (const from of ["http://localhost:3000/", "http://app.localhost/", "http://127.0.0.1/", "http://[::1]:8080/"]) {
      assert.strictEqual(sentBack(header, from), "__Host-s=1", from)
    }
    for (const from of [
      "http://app.example.com/",
      "http://localhost.example/",
      "http://128.0.0.1/",
      "http://127.0.0.1.example/"
    ]) {
      assert.isUndefined(sentBack(header, from), from)
      assert.isUndefined(sentBack("s=1; Path=/; Secure", from), from)
    }
  })

  it("if it comes from an address without an origin, which would share one jar with all others", () => {
    for (const from of ["capacitor://localhost/", "data:text/plain,x", "/relative", ""]) {
      assert.isUndefined(sentBack("s=1; Path=/", from), from)
    }
  })

  it("beyond 4096 bytes of name and value, or 1024 of the path", () => {
    assert.strictEqual(sentBack(`s=${"v".repeat(4095)}`)?.length, 4097)
    assert.isUndefined(sentBack(`s=${"v".repeat(4096)}`))
    const path = `/${"p".repeat(1023)}`
    assert.strictEqual(sentBack(`s=1; Path=${path}`, site + path), "s=1")
    assert.isUndefined(sentBack(`s=1; Path=${path}p`, `${site}${path}p`))
  })

  it("and leaves the one it would have replaced", () => {
    const jar = given(
      site,
      "__Host-s=good; Path=/; Secure",
      "__Host-s=bad; Path=/",
      `__Host-s=${"v".repeat(4096)}; Path=/; Secure`
    )
    assert.strictEqual(jar.header(site, 0), "__Host-s=good")
    const plain = "http://app.example.com/"
    assert.strictEqual(given(plain, "s=good", "s=bad; Secure").header(plain, 0), "s=good")
  })
})

describe("a jar is bounded", () => {
  it("keeps 50 cookies of an origin, the newest", () => {
    const jar = given(site, ...Array.from({ length: 60 }, (_, i) => `c${i}=1; Path=/`))
    assert.deepStrictEqual(
      jar.header(site, 0)?.split("; "),
      Array.from({ length: 50 }, (_, i) => `c${i + 10}=1`)
    )
  })

  it("throws expired cookies out first", () => {
    const jar = given(site, ...Array.from({ length: 50 }, (_, i) => `c${i}=1; Path=/; Max-Age=${i === 0 ? 100 : 1}`))
    jar.keep(site, Cookies.fromSetCookie("new=1; Path=/"), 1001)
    assert.strictEqual(jar.header(site, 1001), "c0=1; new=1")
  })

  it("keeps 60 origins, those used last", () => {
    const address = (i: number) => `https://${i}.example.com/`
    const jar = given(address(0), "s=0")
    const visit = (from: number, to: number) => {
      for (let i = from; i <= to; i++) jar.keep(address(i), Cookies.fromSetCookie(`s=${i}`), 0)
    }
    visit(1, 59)
    assert.strictEqual(jar.header(address(0), 0), "s=0")
    visit(60, 60)
    // The first one has been used since the second.
    assert.strictEqual(jar.header(address(0), 0), "s=0")
    assert.isUndefined(jar.header(address(1), 0))
    assert.strictEqual(jar.header(address(2), 0), "s=2")
    assert.strictEqual(jar.header(address(60), 0), "s=60")
  })

  it("keeps no origin without cookies: one that only deletes displaces none", () => {
    const jar = given(site, "s=1")
    for (let i = 0; i < 100; i++) {
      jar.keep(`https://${i}.example.com/`, Cookies.fromSetCookie("s=; Max-Age=0"), 0)
      jar.keep(`https://${i}.example.com/`, Cookies.fromSetCookie("__Host-s=1"), 0)
    }
    assert.strictEqual(jar.header(site, 0), "s=1")
  })

  it("keeps a cookie for 400 days, whatever its Max-Age", () => {
    for (const seconds of ["40000000", "9".repeat(20), "9".repeat(400)]) {
      const jar = given(site, `s=1; Max-Age=${seconds}`)
      assert.strictEqual(jar.header(site, 400 * day - 1), "s=1", seconds)
      assert.isUndefined(jar.header(site, 400 * day), seconds)
    }
    for (const seconds of ["0", "-1", `-${"9".repeat(400)}`]) {
      assert.isUndefined(given(site, "s=1", `s=2; Max-Age=${seconds}`).header(site, 0), seconds)
    }
  })
})

describe("Domain", () => {
  it("widens nothing: a cookie goes to the very origin that set it", () => {
    const jar = given("https://app.example.com/", "s=1; Domain=example.com; Path=/")
    assert.strictEqual(jar.header("https://app.example.com/", 0), "s=1")
    for (const url of [
      "https://example.com/",
      "https://b.example.com/",
      "https://app.example.com:8443/",
      "http://app.example.com/"
    ]) {
      assert.isUndefined(jar.header(url, 0), url)
    }
  })
})
