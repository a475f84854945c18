/** The shop of examples/web, as its users see it: in Chromium, two browsers side by side. */
import { afterAll, assert, beforeAll, it } from "@effect/vitest"
import { createServer } from "node:http"
import { once } from "node:events"
import { readFileSync } from "node:fs"
import type { AddressInfo } from "node:net"
import { join } from "node:path"
import { has, launch, type Running } from "./support/browsers.ts"
import { needing } from "./support/processes.ts"
import * as pictures from "./web/pictures.ts"
import { client } from "./web/client.ts"
import { agents, enter, feedShows, type Person, sit } from "./web/person.ts"
import { adminPassword, open, type Shop } from "./web/shop.ts"

const minutes = 60_000
const password = "correct horse"

needing(has("Chromium"), "there is no chromium on the PATH to start")(
  "examples/web in Chromium",
  { timeout: 60_000 },
  () => {
    let shop: Shop
    let running: Running
    let people: Array<Person> = []
    let users = 0
    beforeAll(async () => {
      ;[shop, running] = await Promise.all([open("sqlite"), launch("Chromium", { hosts: ["evil.test"] })])
    }, 60_000)
    afterAll(async () => {
      await running?.[Symbol.asyncDispose]()
      await shop?.close()
    })

    const idle: Array<Person> = []
    const person = async (options: Parameters<typeof sit>[2] = {}) => {
      const { agent = agents.laptop, script = true } = options
      // A browser is slow to start: one that has forgotten its cookies will do.
      const found = idle.findIndex((one) => one.agent === agent && one.script === script)
      const one = found < 0 ? await sit(running.browser, shop.url, options) : idle.splice(found, 1)[0]!
      people.push(one)
      return one
    }

    /** A test with people of its own, and a customer whom no other test knows. */
    const test = (title: string, body: (name: string) => Promise<void>) =>
      it(title, async () => {
        try {
          await body(`ada${++users}`)
        } finally {
          await Promise.all(people.map((one) => one.forget()))
          idle.push(...people)
          people = []
        }
      })

    /** The user at two browsers. */
    const twice = async (name: string) => {
      const [laptop, phone] = await Promise.all([person(), person({ agent: agents.phone })])
      assert.strictEqual(await enter(laptop, "Sign up", name, password), 200)
      assert.strictEqual(await enter(phone, "Log in", name, password), 200)
      return { laptop, phone }
    }

    const administrator = async () => {
      const root = await person()
      await root.go("/admin")
      assert.strictEqual(root.where(), "/admin/login?next=%2Fadmin")
      await root.press("Log in", { name: "admin", password: adminPassword }, "main")
      assert.strictEqual(root.where(), "/admin")
      return root
    }

    test("a visitor's cart survives sign-up and log-in, and a message is shown once; without JavaScript, too", async (name) => {
      const ada = await person({ script: false })
      await ada.go("/")
      assert.deepStrictEqual(await ada.context.cookies(), [])
      await ada.press("Add")
      assert.include(await ada.sees(), "Assam is in your cart.")
      const before = (await ada.context.cookies())[0]!.value
      await ada.go("/")
      assert.notInclude(await ada.sees(), "is in your cart.")
      assert.strictEqual(await ada.sees("#cart"), "1 × Assam")

      assert.strictEqual(await enter(ada, "Sign up", name, password), 200)
      assert.include(await ada.sees(), `Welcome, ${name}.`)
      assert.strictEqual(await ada.sees("#cart"), "1 × Assam")
      const [cookie] = await ada.context.cookies()
      assert.deepStrictEqual([cookie!.httpOnly, cookie!.sameSite, cookie!.value === before], [true, "Lax", false])

      await ada.press("Log out")
      assert.deepStrictEqual(await ada.context.cookies(), [])
      await ada.press("Add")
      await ada.press("Add")
      await enter(ada, "Log in", name, password)
      assert.strictEqual(await ada.sees("#cart"), "2 × Assam")
      await ada.go("/devices")
      assert.include(await ada.sees(), "this one")
    })

    test("a device that is logged out from another one sees its feed go dark, is told why, and comes back to its page", async (name) => {
      const { laptop, phone } = await twice(name)
      await feedShows(phone, "on")
      assert.match(await phone.sees("#feed"), /^Live: the kettle is on, \d\d:\d\d:\d\d UTC$/)
      await laptop.go("/devices")
      const rows = await laptop.page.$$eval(".rows li", (rows) =>
        rows.map((row) => row.innerText.replaceAll(/\s+/g, " "))
      )
      assert.deepStrictEqual(rows.toSorted(), [
        "Chrome on Linux this one 127.0.0.1, seen just now",
        "Firefox on Android 127.0.0.1, seen just now Log out"
      ])

      await laptop.press("Log out", {}, ".rows")
      assert.include(await laptop.sees(), "That device is logged out.")
      assert.notInclude(await laptop.sees(), "Firefox")
      await feedShows(phone, "dark")
      assert.strictEqual(await phone.sees("#feed"), "You have been logged out, here or from elsewhere. Log in again")
      await phone.go("/devices")
      assert.strictEqual(phone.where(), "/login?next=%2Fdevices")
      assert.include(await phone.sees(), "Your session has ended")
      await phone.press("Log in", { name, password }, "main form.fields")
      assert.strictEqual(phone.where(), "/devices")

      await phone.press("Log out all others")
      assert.include(await phone.sees(), "Other devices logged out: 1.")
      await laptop.go("/account")
      assert.strictEqual(laptop.where(), "/login?next=%2Faccount")
      // A dead cookie is in no visitor's way.
      await laptop.press("go on as a visitor")
      assert.deepStrictEqual([laptop.where(), await laptop.sees("h1")], ["/", "Tea for visitors"])
      await laptop.press("Add")
      assert.strictEqual(await laptop.sees("#cart"), "1 × Assam")
    })

    test("a sixth device takes the place of the one seen least recently", async (name) => {
      const first = await person()
      await enter(first, "Sign up", name, password)
      const others = Array.from({ length: 5 }, () => client(shop.url, shop.clock))
      for (const other of others) {
        // So that their times differ.
        shop.clock.millis += 2 * minutes
        await other.post("/login", { name, password })
      }
      assert.lengthOf((await others.at(-1)!.get("/devices")).text.match(/<small>/g)!, 5)
      await first.go("/devices")
      assert.strictEqual(first.where(), "/login?next=%2Fdevices")
    })

    test("what a user calls themselves or their device is shown as text", async () => {
      const mallory = await person()
      const name = `<img src=x onerror="document.title='taken'"> ${users}`
      await enter(mallory, "Sign up", name, password)
      assert.include(await mallory.sees("h1"), `Tea for ${name}`)
      await mallory.go("/devices")
      await mallory.press("Rename", { label: `"><script>document.title = "taken"</script>` })
      assert.include(await mallory.sees(), `"><script>document.title = "taken"</script>`)
      const root = await administrator()
      assert.include(await root.sees(), name)
      await root.go("/admin/audit")
      assert.include(await root.sees(), name)
      for (const { page } of [mallory, root]) {
        assert.notInclude(await page.title(), "taken")
        assert.deepStrictEqual(await page.$$eval("img, main script", (found) => found.length), 0)
      }
    })

    test("deleting the account asks for the password again, and darkens what is still open", async (name) => {
      const { laptop, phone } = await twice(name)
      await laptop.go("/account/delete")
      assert.strictEqual(laptop.where(), "/account/delete", "the log-in was just now")
      shop.clock.millis += 6 * minutes
      // The page stands; its form is refused.
      await laptop.press("Delete it")
      assert.strictEqual(laptop.where(), "/confirm?next=%2Faccount%2Fdelete")
      assert.strictEqual(await laptop.press("Go on", { password: "wrong horse" }), 401)
      assert.include(await laptop.sees(), "That is not your password.")
      await laptop.press("Go on", { password })
      assert.strictEqual(laptop.where(), "/account/delete")
      await feedShows(phone, "on")
      await laptop.press("Delete it")
      assert.include(await laptop.sees(), "Your account is deleted.")
      await feedShows(phone, "dark")
      await laptop.go("/account")
      assert.strictEqual(laptop.where(), "/login?next=%2Faccount")
      assert.strictEqual(await enter(laptop, "Log in", name, password), 401)
    })

    test("a new password ends the other sessions, and the old one is void", async (name) => {
      const { laptop, phone } = await twice(name)
      await feedShows(phone, "on")
      await laptop.go("/account/password")
      await laptop.press("Change it", { password: "battery staple" })
      assert.include(await laptop.sees(), "Your password is changed")
      await feedShows(phone, "dark")
      assert.strictEqual(await enter(phone, "Log in", name, password), 401)
      assert.strictEqual(await enter(phone, "Log in", name, "battery staple"), 200)
    })

    test("a tab stays live when another tab of its browser proves who its user is", async (name) => {
      const ada = await person()
      await enter(ada, "Sign up", name, password)
      await feedShows(ada, "on")
      shop.clock.millis += 6 * minutes
      const tab = await ada.context.newPage()
      await tab.goto(`${shop.url}/account/password`)
      await tab.type("[name=password]", password)
      await Promise.all([tab.waitForNavigation(), tab.click("main button")])
      assert.strictEqual(new URL(tab.url()).pathname, "/account/password")
      const shown = await ada.sees("#feed")
      await ada.page.waitForFunction((shown) => document.querySelector("#feed")!.textContent !== shown, {}, shown)
      await feedShows(ada, "on")
    })

    test("who is to be remembered is still logged in after three weeks, others for an hour and until the browser closes", async (name) => {
      const [laptop, phone] = await Promise.all([person(), person({ agent: agents.phone })])
      await enter(laptop, "Sign up", name, password, true)
      await enter(phone, "Log in", name, password)
      const [[remembered], [other]] = await Promise.all([laptop.context.cookies(), phone.context.cookies()])
      assert.isAbove(remembered!.expires - Date.now() / 1000, 29 * 24 * 3600)
      assert.deepStrictEqual([remembered!.session, other!.session, other!.expires], [false, true, -1])
      await laptop.go("/devices")
      assert.include(await laptop.sees(), "remembered")
      shop.clock.millis += 61 * minutes
      await Promise.all([laptop.go("/account"), phone.go("/account")])
      assert.deepStrictEqual([laptop.where(), phone.where()], ["/account", "/login?next=%2Faccount"])
      shop.clock.millis += 21 * 24 * 60 * minutes
      await laptop.go("/account")
      assert.strictEqual(laptop.where(), "/account")
      shop.clock.millis += 10 * 24 * 60 * minutes
      await laptop.go("/account")
      assert.strictEqual(laptop.where(), "/login?next=%2Faccount")
    })

    test("the administrator ends a user's sessions, and the audit has it all", async (name) => {
      const { laptop, phone } = await twice(name)
      await Promise.all([feedShows(laptop, "on"), feedShows(phone, "on")])
      await enter(await person(), "Log in", name, "wrong horse")
      const root = await administrator()
      const row = await root.page.$$eval(
        ".rows li",
        (rows, name) =>
          rows.findIndex((row) => row.innerText.startsWith(`${name} `) || row.innerText.startsWith(`${name}\n`)),
        name
      )
      assert.include(await root.sees(`.rows li:nth-child(${row + 1})`), "sessions: 2")
      await root.press("End sessions", {}, `.rows li:nth-child(${row + 1})`)
      assert.include(await root.sees(`.rows li:nth-child(${row + 1})`), "sessions: 0")
      await Promise.all([feedShows(laptop, "dark"), feedShows(phone, "dark")])
      // A customer's cookie opens no page of the administrator's, nor the other way.
      await laptop.go("/admin")
      assert.strictEqual(laptop.where(), "/admin/login?next=%2Fadmin")
      await root.go("/devices")
      assert.strictEqual(root.where(), "/login?next=%2Fdevices")

      await root.go("/admin/audit")
      const lines = await root.page.$$eval("tr", (rows) =>
        rows.map(({ cells }) =>
          [...cells]
            .slice(1)
            .map((cell) => cell.innerText.replaceAll(/\s+/g, " ").trim())
            .join(", ")
        )
      )
      const own = lines.filter((line) => line.startsWith(`${name}, `) || line === `admin, ended 2 of ${name}, `)
      assert.deepStrictEqual(
        own.slice(0, 7).toSorted(),
        [
          `${name}, ended: revoked, Chrome on Linux, 127.0.0.1`,
          `${name}, ended: revoked, Firefox on Android, 127.0.0.1`,
          `${name}, logged in, Chrome on Linux, 127.0.0.1`,
          `${name}, logged in, Firefox on Android, 127.0.0.1`,
          `${name}, signed up, `,
          `${name}, wrong password, or no such user, `,
          `admin, ended 2 of ${name}, `
        ].toSorted()
      )
      await root.press("Log out")
      await root.go("/admin")
      assert.strictEqual(root.where(), "/admin/login?next=%2Fadmin")
    })

    test("a page that went stale in the browser's memory asks the server again", async (name) => {
      const { laptop, phone } = await twice(name)
      await phone.go("/devices")
      await phone.go("/account")
      await laptop.go("/devices")
      await laptop.press("Log out all others")
      await phone.page.goBack()
      await phone.page.waitForFunction(() => location.pathname === "/login")
    })

    test("a wrong password and an unknown user are answered with the same words", async (name) => {
      const ada = await person()
      await enter(ada, "Sign up", name, password)
      await ada.press("Log out")
      const answers: Array<unknown> = []
      for (const [who, secret] of [
        [name, "wrong horse"],
        ["stranger", password]
      ] as const) {
        answers.push([await enter(ada, "Log in", who, secret), await ada.sees()])
      }
      assert.deepStrictEqual(answers[0], answers[1])
      assert.deepInclude(answers[0], 401)
      assert.strictEqual(await enter(ada, "Sign up", name.toUpperCase(), password), 409)
      assert.include(await ada.sees(), "That name is taken.")
    })

    test("a log-in leads to no other site", async (name) => {
      const ada = await person()
      await enter(ada, "Sign up", name, password)
      // A browser takes the tab out.
      for (const next of ["//evil.test/", "/\t/evil.test"]) {
        await ada.press("Log out")
        await ada.go(`/login?next=${encodeURIComponent(next)}`)
        await ada.press("Log in", { name, password }, "main form.fields")
        assert.strictEqual(ada.page.url(), `${shop.url}/`, JSON.stringify(next))
      }
      const other = client(shop.url, shop.clock)
      for (const next of [
        "//evil.test",
        "/\\evil.test",
        "https://evil.test",
        "\\/evil.test",
        "javascript:1",
        "/ /evil.test",
        ""
      ]) {
        const body = new URLSearchParams({ name, password, next })
        const { headers } = await other.send("/login", { method: "POST", body })
        assert.strictEqual(headers.get("location"), "/", JSON.stringify(next))
        // Nor does the page of a user who is logged in.
        const shown = await other.send(`/login?next=${encodeURIComponent(next)}`)
        assert.strictEqual(shown.headers.get("location"), "/", JSON.stringify(next))
      }
    })

    test("a form on another site's page is refused, with words for a person", async (name) => {
      const evil = createServer((_, response) => {
        response.setHeader("content-type", "text/html")
        response.end(`<form method="post" action="${shop.url}/logout"><button>win</button></form>`)
      }).listen(0, "127.0.0.1")
      await once(evil, "listening")
      try {
        const ada = await person()
        await enter(ada, "Sign up", name, password)
        await ada.page.goto(`http://evil.test:${(evil.address() as AddressInfo).port}/`)
        assert.strictEqual(await ada.press("win"), 403)
        assert.strictEqual(await ada.sees("h1"), "Not allowed")
        await ada.go("/account")
        assert.strictEqual(ada.where(), "/account")
      } finally {
        evil.closeAllConnections()
        evil.close()
      }
    })
  }
)

it("the pictures are there, small enough for a README, and with a palette", () => {
  for (const name of pictures.names) {
    const png = readFileSync(join(pictures.folder, name))
    assert.isBelow(png.length, pictures.limit, name)
    assert.strictEqual(png[25], 3, name)
  }
})
