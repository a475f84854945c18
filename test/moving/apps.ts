/** Apps of other libraries, as their documents show them, each on a port of its own: what `docs/moving.md` moves from. */
// Express 5 and Fastify wait for their handlers.
/* oxlint-disable oxc/no-async-endpoint-handlers */
import fastifyCookie from "@fastify/cookie"
import fastifySession from "@fastify/session"
import { RedisStore } from "connect-redis"
import express from "express"
import session from "express-session"
import Fastify from "fastify"
import { getIronSession, sealData, type SessionOptions } from "iron-session"
import { once } from "node:events"
import { createServer, type RequestListener, type Server } from "node:http"
import type { AddressInfo } from "node:net"
import { createClient } from "redis"

export { sealData }

interface Data {
  user: string
  cart: Array<string>
}

declare module "express-session" {
  interface SessionData extends Partial<Data> {}
}
declare module "fastify" {
  interface Session extends Partial<Data> {}
}

export interface App {
  readonly port: number
  readonly close: () => Promise<void>
}

const listening = async (server: Server): Promise<App> => {
  server.listen(0, "127.0.0.1")
  await once(server, "listening")
  return {
    port: (server.address() as AddressInfo).port, // it listens on a port, not on a path
    close: async () => {
      server.closeAllConnections()
      server.close()
      await once(server, "close")
    }
  }
}

const serving = (listener: RequestListener) => listening(createServer(listener))

export const redisClient = (url: string) => createClient({ url })
export type Client = ReturnType<typeof redisClient>

/** What a request that is under way waits for. */
export const gate = { wait: Promise.resolve() }

export const expressApp = (
  client: Client,
  {
    prefix,
    ...options
  }: Partial<session.SessionOptions> & { readonly prefix: string; readonly secret: string | Array<string> },
  storeOptions: { readonly disableTTL?: boolean } = {}
): Promise<App> => {
  const app = express()
  app.use(
    session({
      resave: false,
      saveUninitialized: false,
      ...options,
      store: new RedisStore({ client, prefix, ...storeOptions })
    })
  )
  app.post("/login/:user", (request, response, next) =>
    request.session.regenerate((error) => {
      if (error) return next(error)
      request.session.user = request.params.user
      request.session.cart = ["tea"]
      response.send("ok")
    })
  )
  app.post("/visit", (request, response) => {
    request.session.cart = ["milk"]
    response.send("ok")
  })
  app.post("/slow", async (request, response) => {
    await gate.wait
    request.session.cart = [...(request.session.cart ?? []), "slow"]
    response.send("ok")
  })
  app.post("/logout", (request, response, next) =>
    request.session.destroy((error) => (error ? next(error) : response.send("ok")))
  )
  app.get("/me", (request, response) =>
    request.session.user === undefined ? response.sendStatus(401) : response.send(request.session.user)
  )
  return serving(app)
}

export const fastifyApp = async (
  client: Client,
  { prefix, ...options }: { readonly prefix: string } & Omit<fastifySession.FastifySessionOptions, "store">
): Promise<App> => {
  const app = Fastify()
  await app.register(fastifyCookie)
  const store = new RedisStore({ client, prefix })
  await app.register(fastifySession, { saveUninitialized: false, cookie: { secure: false }, ...options, store })
  app.post<{ Params: { user: string } }>("/login/:user", async (request) => {
    await request.session.regenerate()
    request.session.user = request.params.user
    request.session.cart = ["tea"]
    return "ok"
  })
  app.post("/logout", async (request) => {
    await request.session.destroy()
    return "ok"
  })
  app.get("/me", async (request, reply) => request.session.user ?? reply.code(401).send())
  await app.listen({ port: 0, host: "127.0.0.1" })
  return { port: (app.server.address() as AddressInfo).port, close: () => app.close() }
}

export const ironApp = (options: SessionOptions): Promise<App> =>
  serving((request, response) => {
    const answer = async () => {
      const session = await getIronSession<Partial<Data>>(request, response, options)
      const user = /^\/login\/(\w+)$/.exec(request.url!)?.[1]
      if (request.url === "/fill") {
        session.cart = Array.from({ length: 400 }, (_, i) => `item ${i}`)
        await session.save()
      } else if (user !== undefined) {
        session.user = user
        session.cart = ["tea"]
        await session.save()
      } else if (request.url === "/logout") {
        session.destroy()
      } else if (session.user === undefined) {
        response.statusCode = 401
      }
      response.end(session.user ?? "")
    }
    answer().catch((error: unknown) => {
      response.statusCode = 500
      response.end(String(error))
    })
  })
