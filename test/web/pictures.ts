/** The pictures of the shop that README.md shows. */
import { writeFileSync } from "node:fs"
import { join } from "node:path"
import type { Browser } from "puppeteer-core"
import { agents, enter, feedShows, type Person, sit } from "./person.ts"
import { withPalette } from "./png.ts"
import { adminPassword, type Shop } from "./shop.ts"

export const folder = join(import.meta.dirname, "../../docs/images")

export const names = ["shop-cart.png", "shop-devices.png", "shop-feed.png", "shop-audit.png"] as const

/** No picture may be larger, in bytes: a README is read on phones, too. */
export const limit = 40_000

const width = 640

const photograph = async ({ page }: Person, name: (typeof names)[number]): Promise<void> => {
  await page.setViewport({ width, height: 200, deviceScaleFactor: 1 })
  const [whole, bottom] = await page.evaluate(
    () =>
      [document.documentElement.scrollHeight, document.querySelector("main")!.getBoundingClientRect().bottom] as const
  )
  // As high as the page, so that it has no scroll bar.
  await page.setViewport({ width, height: whole, deviceScaleFactor: 1 })
  const clip = { x: 0, y: 0, width, height: Math.ceil(bottom) + 16 }
  writeFileSync(
    join(folder, name),
    withPalette(Buffer.from(await page.screenshot({ clip, captureBeyondViewport: false })))
  )
}

export const take = async (browser: Browser, { clock, url }: Shop): Promise<void> => {
  const password = "correct horse"
  const laptop = await sit(browser, url)
  const phone = await sit(browser, url, { agent: agents.phone })
  await laptop.go("/")
  await laptop.press("Add")
  await laptop.press("Add", {}, ".rows li:nth-child(3)")
  await enter(laptop, "Sign up", "Ada", password)
  await feedShows(laptop, "on")
  await photograph(laptop, "shop-cart.png")

  clock.millis += 12 * 60_000
  await enter(phone, "Log in", "Ada", password, true)
  await feedShows(phone, "on")
  await phone.go("/devices")
  await photograph(phone, "shop-devices.png")

  await laptop.go("/")
  await feedShows(laptop, "on")
  await phone.press("Log out", {}, ".rows")
  await feedShows(laptop, "dark")
  await photograph(laptop, "shop-feed.png")

  await enter(laptop, "Log in", "Ada", "wrong horse")
  await enter(laptop, "Log in", "Ada", password)
  const root = await sit(browser, url)
  await root.go("/admin")
  await root.press("Log in", { name: "admin", password: adminPassword }, "main")
  await root.press("End sessions")
  await root.go("/admin/audit")
  await photograph(root, "shop-audit.png")
}
