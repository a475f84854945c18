import { RedisStore } from "connect-redis"
import express from "express"
import session from "express-session"
import { once } from "node:events"
import { createClient } from "redis"
import * as common from "./common.ts"

declare module "express-session" {
  interface SessionData {
    user: common.UserData
  }
}

const redisStore = async () => {
  const client = createClient({ url: common.redisUrl })
  await client.connect()
  return new RedisStore({ client, prefix: "express:" })
}

export const start: common.Start = async (store) => {
  const app = express()
  app.set("trust proxy", 1)
  app.disable("x-powered-by")
  app.disable("etag")
  app.get("/bare", (_request, response) => void response.json(common.bare))
  app.post("/bare", (_request, response) => void response.send(common.posted))
  app.use(
    session({
      secret: common.secret,
      name: common.cookieName,
      resave: false,
      saveUninitialized: false,
      cookie: { ...common.cookie, maxAge: common.maxAgeSeconds * 1000 },
      ...(store === "redis" ? { store: await redisStore() } : {})
    })
  )
  app.get("/whoami", (request, response) => {
    if (request.session.user === undefined) response.sendStatus(401)
    else response.json(request.session.user)
  })
  app.post("/create_session/:name", (request, response, next) => {
    request.session.regenerate((error) => {
      if (error) return next(error)
      request.session.user = { username: request.params.name }
      response.send(common.created(request.params.name))
    })
  })
  app.post("/update_session", (request, response) => {
    request.session.user = common.visited(request.session.user!)
    response.send(common.updated(request.session.user))
  })
  app.post("/delete_session", (request, response, next) => {
    request.session.destroy((error) => {
      if (error) return next(error)
      response.clearCookie(common.cookieName, common.cookie).send(common.deleted)
    })
  })
  const server = app.listen(0, common.host)
  await once(server, "listening")
  return server
}
