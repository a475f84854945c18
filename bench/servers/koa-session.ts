import { Router } from "@koa/router"
import Koa from "koa"
import session from "koa-session"
import { once } from "node:events"
import * as common from "./common.ts"

/** koa-session ships no memory store: this is the interface its documentation asks for, over a Map. */
const sessions = new Map<string, { readonly data: unknown; readonly expires: number }>()
const store = {
  get: async (key: string): Promise<any> => {
    const entry = sessions.get(key)
    if (entry === undefined) return undefined
    if (entry.expires > Date.now()) return entry.data
    sessions.delete(key)
  },
  set: async (key: string, data: unknown, maxAge: number): Promise<void> => {
    sessions.set(key, { data, expires: Date.now() + maxAge })
  },
  destroy: async (key: string): Promise<void> => {
    sessions.delete(key)
  }
}

export const start: common.Start = async () => {
  const app = new Koa({ proxy: true, keys: [common.secret] })
  const outside = new Router()
  outside.get("/bare", (ctx) => void (ctx.body = common.bare))
  outside.post("/bare", (ctx) => void (ctx.body = common.posted))
  app.use(outside.routes())
  const cookie = { ...common.cookie, maxAge: common.maxAgeSeconds * 1000 }
  app.use(session({ key: common.cookieName, ...cookie, store }, app))
  const router = new Router()
  router.get("/whoami", (ctx) => {
    const user = ctx.session!["user"]
    if (user === undefined) ctx.status = 401
    else ctx.body = user
  })
  router.post("/create_session/:name", (ctx) => {
    const name = ctx.params["name"]!
    ctx.session!["user"] = { username: name }
    void ctx.session!.regenerate()
    ctx.body = common.created(name)
  })
  router.post("/update_session", (ctx) => {
    const changed = common.visited(ctx.session!["user"])
    ctx.session!["user"] = changed
    ctx.body = common.updated(changed)
  })
  router.post("/delete_session", (ctx) => {
    ctx.session = null
    ctx.body = common.deleted
  })
  app.use(router.routes())
  const server = app.listen(0, common.host)
  await once(server, "listening")
  return common.portOf(server)
}
