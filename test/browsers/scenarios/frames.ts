/** An app in a frame of another site's page. */
import { assert } from "@effect/vitest"
import { SessionFrontend } from "effect-sessions"
import type { Scenario } from "../scenario.ts"
import { ask, frame, visit } from "../tab.ts"

const cookies = {
  "`SameSite=Lax`, the default": {},
  "`SameSite=None`": { sameSite: "none" },
  "`SameSite=None; Partitioned`": { sameSite: "none", partitioned: true }
} as const

export const frames: Scenario = {
  key: "frames",
  title: "a partitioned session lives in the frame of one site alone, and ends there",
  run: async ({ app: serve, open, pages }) => {
    const elsewhere = await pages()
    const seen: Record<string, string> = {}
    for (const [what, options] of Object.entries(cookies)) {
      const app = await serve({ frontend: SessionFrontend.layerCookie(options) })
      const home = app.at("app.test")
      const inFrameOf = async (host: string) => {
        const page = await open()
        await visit(page, `${elsewhere.at(host)}/`)
        return frame(page, `${home}/`)
      }
      const isIn = (status: number) => (status === 200 ? "logged in" : "not logged in")
      const first = await inFrameOf("a.test")
      assert.strictEqual((await ask(first, "/login", { method: "POST", redirect: "manual" })).status, 0)
      assert.strictEqual(app.last("POST", "/login")!.status, 303)
      const inA = (await ask(first, "/whoami")).status
      const inB = (await ask(await inFrameOf("b.test"), "/whoami")).status
      const alone = await open()
      await visit(alone, `${home}/`)
      const top = (await ask(alone, "/whoami")).status
      seen[`${what}: log-in in a frame of a.test`] = isIn(inA)
      seen[`${what}: then in a frame of b.test`] = isIn(inB)
      seen[`${what}: then in a tab of its own`] = isIn(top)
      if ("partitioned" in options) assert.deepStrictEqual([inA, inB, top], [200, 401, 401])

      if (inA === 200) {
        await ask(first, "/logout", { method: "POST", redirect: "manual" })
        assert.strictEqual(app.last("POST", "/logout")!.status, 303)
        assert.strictEqual((await ask(first, "/whoami")).status, 401)
        assert.isUndefined(app.last("GET", "/whoami")!.cookie, "the cookie was taken off")
      }
    }
    return seen
  }
}
