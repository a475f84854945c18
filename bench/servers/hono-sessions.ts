import { serve } from "@hono/node-server"
import { Hono } from "hono"
import { MemoryStore, type Session, sessionMiddleware } from "hono-sessions"
import { once } from "node:events"
import type { Server } from "node:http"
import * as common from "./common.ts"

interface Variables {
  session: Session<{ user: common.UserData }>
  session_key_rotation: boolean
}

export const start: common.Start = async () => {
  const app = new Hono<{ Variables: Variables }>()
  app.get("/bare", (c) => c.json(common.bare))
  app.post("/bare", (c) => c.text(common.posted))
  app.use(
    "*",
    sessionMiddleware({
      store: new MemoryStore(),
      encryptionKey: common.secret,
      expireAfterSeconds: common.maxAgeSeconds,
      sessionCookieName: common.cookieName,
      cookieOptions: { ...common.cookie, sameSite: "Lax", maxAge: common.maxAgeSeconds }
    })
  )
  app.get("/whoami", (c) => {
    const user = c.get("session").get("user")
    return user === null ? c.body(null, 401) : c.json(user)
  })
  app.post("/create_session/:name", (c) => {
    c.get("session").set("user", { username: c.req.param("name") })
    c.set("session_key_rotation", true)
    return c.text(common.created(c.req.param("name")))
  })
  app.post("/update_session", (c) => {
    const changed = common.visited(c.get("session").get("user")!)
    c.get("session").set("user", changed)
    return c.text(common.updated(changed))
  })
  app.post("/delete_session", (c) => {
    c.get("session").deleteSession()
    return c.text(common.deleted)
  })
  // One of node:http, unless its options ask for another.
  const server = serve({ fetch: app.fetch, port: 0, hostname: common.host }) as Server
  await once(server, "listening")
  return server
}
