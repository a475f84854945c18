/** @fastify/session, or @fastify/secure-session where the store is the cookie. */
import cookie from "@fastify/cookie"
import secureSession, { type Session as SecureSession } from "@fastify/secure-session"
import session, { type FastifySessionObject, type SessionStore } from "@fastify/session"
import { RedisStore } from "connect-redis"
import fastify, { type FastifyInstance, type FastifyRequest, type FastifySchema } from "fastify"
import { createClient } from "redis"
import * as common from "./common.ts"

/** Fastify serialises by schema when it has one. */
const properties = { username: { type: "string" }, visits: { type: "integer" } }
const schema: FastifySchema = {
  response: { 200: { type: "object", properties, required: ["username"] } }
}

// Both plugins declare `request.session`: these are the types of the one that is registered.
const storedOf = (request: FastifyRequest) =>
  request.session as unknown as FastifySessionObject & { user?: common.UserData }
const sealedOf = (request: FastifyRequest) =>
  request.session as unknown as SecureSession<{ readonly user: common.UserData }>

const redisStore = async (): Promise<SessionStore> => {
  const timer = process.env["BENCH_REDIS_COMMAND_TIMER"] === "off" ? { commandOptions: { timeout: 0 } } : {}
  const client = createClient({ url: common.redisUrl, ...timer })
  await client.connect()
  // Documented as compatible; the types differ in the session's class alone.
  return new RedisStore({ client, prefix: "fastify:" }) as unknown as SessionStore
}

const stored = async (scope: FastifyInstance, store: common.Store) => {
  await scope.register(cookie)
  await scope.register(session, {
    secret: common.secret,
    cookieName: common.cookieName,
    cookie: { ...common.cookie, maxAge: common.maxAgeSeconds * 1000 },
    saveUninitialized: false,
    rolling: false,
    ...(store === "redis" ? { store: await redisStore() } : {})
  })
  scope.get("/whoami", { schema }, (request, reply) => storedOf(request).user ?? reply.code(401).send())
  scope.post<{ Params: { name: string } }>("/create_session/:name", (request, reply) => {
    storedOf(request).regenerate((error) => {
      if (error) return reply.send(error)
      storedOf(request).user = { username: request.params.name }
      reply.send(common.created(request.params.name))
    })
  })
  scope.post("/update_session", (request, reply) => {
    const changed = common.visited(storedOf(request).user!)
    storedOf(request).user = changed
    return reply.send(common.updated(changed))
  })
  scope.post("/delete_session", (request, reply) => {
    storedOf(request).destroy((error) => reply.send(error ?? common.deleted))
  })
}

const sealed = async (scope: FastifyInstance) => {
  await scope.register(secureSession, {
    key: Buffer.from(common.secret.slice(0, 32)),
    cookieName: common.cookieName,
    expiry: common.maxAgeSeconds,
    cookie: { ...common.cookie, maxAge: common.maxAgeSeconds }
  })
  scope.get("/whoami", { schema }, (request, reply) => sealedOf(request).get("user") ?? reply.code(401).send())
  scope.post<{ Params: { name: string } }>("/create_session/:name", (request, reply) => {
    sealedOf(request).regenerate()
    sealedOf(request).set("user", { username: request.params.name })
    return reply.send(common.created(request.params.name))
  })
  scope.post("/update_session", (request, reply) => {
    const changed = common.visited(sealedOf(request).get("user")!)
    sealedOf(request).set("user", changed)
    return reply.send(common.updated(changed))
  })
  scope.post("/delete_session", (request, reply) => {
    sealedOf(request).delete()
    return reply.send(common.deleted)
  })
}

export const start: common.Start = async (store) => {
  const app = fastify({ logger: false, trustProxy: true })
  app.get("/bare", { schema }, () => common.bare)
  app.post("/bare", (_request, reply) => reply.send(common.posted))
  await app.register((scope) => (store === "cookie" ? sealed(scope) : stored(scope, store)))
  await app.listen({ port: 0, host: common.host })
  return app.server
}
