/** A client of the shop that follows redirects and keeps cookies as a browser does, and draws nothing. */
import { Jar } from "../support/browser.ts"

export interface Answer {
  readonly status: number
  readonly path: string
  readonly text: string
  readonly headers: Headers
}

export const client = (shop: string, clock: { readonly millis: number }) => {
  const jar = new Jar()
  const send = async (path: string, init: RequestInit = {}): Promise<Response> => {
    const url = new URL(path, shop)
    const now = Date.now() + clock.millis
    const response = await fetch(url, {
      ...init,
      redirect: "manual",
      headers: { cookie: jar.header(url, now), ...(init.headers as Record<string, string>) }
    })
    for (const header of response.headers.getSetCookie()) jar.store(url, header, now)
    return response
  }
  const follow = async (path: string, response: Response): Promise<Answer> => {
    const next = response.headers.get("location")
    if (next !== null) return follow(next, await send(next))
    return { status: response.status, path, text: await response.text(), headers: response.headers }
  }
  return {
    /** One request, not followed. */
    send,
    get: async (path: string) => follow(path, await send(path)),
    post: async (path: string, form: Record<string, string> = {}) =>
      follow(path, await send(path, { method: "POST", body: new URLSearchParams(form) }))
  }
}
