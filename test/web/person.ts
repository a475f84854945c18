/** A person at a browser of their own, with cookies that no other has. */
import type { Browser, BrowserContext, Page } from "puppeteer-core"

/** Two browsers, by what they say of themselves. */
export const agents = {
  laptop: "Mozilla/5.0 (X11; Linux x86_64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/156.0.0.0 Safari/537.36",
  phone: "Mozilla/5.0 (Android 16; Mobile; rv:153.0) Gecko/153.0 Firefox/153.0"
}

export interface Person {
  readonly agent: string
  readonly script: boolean
  readonly context: BrowserContext
  readonly page: Page
  /** The path and query of where they are. */
  readonly where: () => string
  readonly go: (path: string) => Promise<number>
  /** Fills fields in by their names, and presses the button with this label. */
  readonly press: (label: string, fields?: Record<string, string>, within?: string) => Promise<number>
  /** The text of the page, or of a part of it, in one line. */
  readonly sees: (selector?: string) => Promise<string>
  /** Leaves the page, and loses all cookies. */
  readonly forget: () => Promise<void>
}

export const sit = async (
  browser: Browser,
  url: string,
  { agent = agents.laptop, script = true }: { readonly agent?: string; readonly script?: boolean } = {}
): Promise<Person> => {
  const context = await browser.createBrowserContext()
  const page = await context.newPage()
  await page.setUserAgent({ userAgent: agent })
  await page.setJavaScriptEnabled(script)
  const arrives = async (leave: () => Promise<unknown>): Promise<number> => {
    const [answer] = await Promise.all([page.waitForNavigation(), leave()])
    return answer!.status()
  }
  return {
    agent,
    script,
    context,
    page,
    where: () => page.url().replace(url, ""),
    go: async (path) => (await page.goto(url + path))!.status(),
    press: async (label, fields = {}, within = "body") => {
      for (const [name, value] of Object.entries(fields)) {
        await page.$eval(
          `${within} [name="${name}"]`,
          (field, value) => {
            const input = field as HTMLInputElement
            if (input.type === "checkbox") input.checked = value === "on"
            else input.value = value
          },
          value
        )
      }
      const buttons = await page.$$(`${within} button`)
      const labels = await Promise.all(buttons.map((button) => button.evaluate((button) => button.textContent.trim())))
      const button = buttons[labels.indexOf(label)]
      if (button === undefined) throw new Error(`no button "${label}" on ${page.url()}, but ${labels.join(", ")}`)
      return arrives(() => button.click())
    },
    sees: (selector = "main") =>
      page.$eval(selector, (part) => (part as HTMLElement).innerText.replaceAll(/\s+/g, " ").trim()),
    forget: async () => {
      for (const other of await context.pages()) if (other !== page) await other.close()
      await page.goto("about:blank")
      await context.deleteCookie(...(await context.cookies()))
    }
  }
}

/** Signs up, or logs in. */
export const enter = async (
  person: Person,
  action: "Sign up" | "Log in",
  name: string,
  password: string,
  remember = false
): Promise<number> => {
  await person.go(action === "Sign up" ? "/signup" : "/login")
  return person.press(action, { name, password, ...(remember ? { remember: "on" } : {}) }, "main")
}

/** Waits until the feed shows this. */
export const feedShows = (person: Person, state: "on" | "dark"): Promise<unknown> =>
  person.page.waitForSelector(`#feed.${state}`, { timeout: 10_000 })
