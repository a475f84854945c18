/** A tab, and what its pages do. */
import type { Frame, Page } from "puppeteer-core"
import { until } from "../support/processes.ts"

/** A page, or a frame in one. */
type Place = Page | Frame

declare global {
  interface Window {
    isFromMemory?: boolean
  }
}

/** Does what leads to another page, and waits until that is there. */
const arrive = async (page: Place, leave: () => Promise<unknown>): Promise<void> => {
  const before = await page.evaluate(() => performance.timeOrigin)
  // Its own answer may be lost with the page it came from.
  await leave().catch(() => undefined)
  // It may begin as an empty page, which is complete too.
  const isThere = () =>
    page
      .evaluate(
        (before) =>
          performance.timeOrigin !== before && document.readyState === "complete" && location.href !== "about:blank",
        before
      )
      .catch(() => false)
  await until(isThere, "the next page was there", 15_000)
}

export const visit = (page: Page, url: string): Promise<void> => arrive(page, () => page.goto(url))

/** Follows a link of the page. */
export const follow = (page: Page, url: string): Promise<void> =>
  arrive(page, () =>
    page.evaluate((url) => {
      const link = document.createElement("a")
      link.href = url
      document.body.append(link)
      link.click()
    }, url)
  )

/** Sends a form of the page. */
export const post = (page: Page, url: string): Promise<void> =>
  arrive(page, () =>
    page.evaluate((action) => {
      const form = document.createElement("form")
      form.method = "post"
      form.action = action
      document.body.append(form)
      form.submit()
    }, url)
  )

/** Goes back or forward in the tab's history. */
export const go = (page: Page, steps: number): Promise<void> =>
  arrive(page, () => page.evaluate((steps) => history.go(steps), steps))

export const text = (page: Place): Promise<string> => page.evaluate(() => document.body?.innerText ?? "")

/** Whether the page had been kept as it was, with all its state, and came back so. */
export const isFromMemory = (page: Page): Promise<boolean> => page.evaluate(() => window.isFromMemory === true)

export interface Answer {
  /** 0 where the page may not see it, or there was none. */
  readonly status: number
  readonly text: string
  /** Of the header that was asked for, if the page may see it. */
  readonly header: string | null
}

/** What a script of the page learns of an answer. */
export const ask = (page: Place, url: string, init: RequestInit = {}, header = "date"): Promise<Answer> =>
  page.evaluate(
    async (url, init, header) => {
      try {
        const answer = await fetch(url, { cache: "no-store", ...init })
        return { status: answer.status, text: await answer.text(), header: answer.headers.get(header) }
      } catch {
        return { status: 0, text: "", header: null }
      }
    },
    url,
    init,
    header
  )

/** Has the page fetch something ahead. */
export const fetchAhead = (page: Page, how: "link" | "prefetch" | "prerender", url: string): Promise<void> =>
  page.evaluate(
    (how, url) => {
      if (how === "link") {
        const link = document.createElement("link")
        link.rel = "prefetch"
        link.href = url
        document.head.append(link)
      } else {
        const rules = document.createElement("script")
        rules.type = "speculationrules"
        rules.textContent = JSON.stringify({ [how]: [{ urls: [url], eagerness: "immediate" }] })
        document.head.append(rules)
      }
    },
    how,
    url
  )

/** Puts a frame into the page, and waits until what it shows is there. */
export const frame = async (page: Page, url: string): Promise<Frame> => {
  await page.evaluate(
    (url) =>
      new Promise((resolve) => {
        const frame = document.createElement("iframe")
        frame.src = url
        frame.addEventListener("load", resolve)
        document.body.append(frame)
      }),
    url
  )
  const found = page.frames().find((frame) => frame.url().startsWith(url))
  if (found === undefined) throw new Error(`there is no frame of ${url}`)
  return found
}
