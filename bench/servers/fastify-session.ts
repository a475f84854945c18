import cookie from "@fastify/cookie"
import session, { type FastifySessionObject, type SessionStore } from "@fastify/session"
import { RedisStore } from "connect-redis"
import fastify, { type FastifyRequest } from "fastify"
import { createClient } from "redis"
import * as common from "./common.ts"

/** Both Fastify plugins here declare `request.session`: this is the type of the one this file registers. */
const sessionOf = (request: FastifyRequest) =>
  request.session as unknown as FastifySessionObject & { user?: common.UserData }

const redisStore = async (): Promise<SessionStore> => {
  const client = createClient({
    url: common.redisUrl(),
    ...(process.env["BENCH_REDIS_COMMAND_TIMER"] === "off" ? { commandOptions: { timeout: 0 } } : {})
  })
  await client.connect()
  // Documented as compatible; the types differ in the session's class alone.
  return new RedisStore({ client, prefix: "fastify:" }) as unknown as SessionStore
}

export const start: common.Start = async (store) => {
  const app = fastify({ logger: false, trustProxy: true })
  app.get("/bare", { schema: common.userJsonSchema }, () => common.bare)
  await app.register(async (scope) => {
    await scope.register(cookie)
    await scope.register(session, {
      secret: common.secret,
      cookieName: common.cookieName,
      cookie: { path: "/", httpOnly: true, secure: true, sameSite: "lax", maxAge: common.maxAgeSeconds * 1000 },
      saveUninitialized: false,
      rolling: false,
      ...(store === "redis" ? { store: await redisStore() } : {})
    })
    scope.get("/visitor", { schema: common.userJsonSchema }, () => common.bare)
    scope.get("/whoami", { schema: common.userJsonSchema }, (request, reply) => {
      return sessionOf(request).user ?? reply.code(401).send()
    })
    scope.post<{ Params: { name: string } }>("/create_session/:name", (request, reply) => {
      sessionOf(request).regenerate((error) => {
        if (error) return reply.send(error)
        sessionOf(request).user = { username: request.params.name }
        reply.send(common.created(request.params.name))
      })
    })
    scope.post("/update_session", (request, reply) => {
      const session = sessionOf(request)
      if (session.user === undefined) return reply.code(401).send()
      session.user = common.visited(session.user)
      return reply.send(common.updated(session.user))
    })
    scope.post("/delete_session", (request, reply) => {
      sessionOf(request).destroy((error) => reply.send(error ?? common.deleted))
    })
  })
  await app.listen({ port: 0, host: common.host })
  return common.portOf(app.server)
}
