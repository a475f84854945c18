import secureSession, { type Session as SecureSession } from "@fastify/secure-session"
import fastify, { type FastifyRequest } from "fastify"
import { Buffer } from "node:buffer"
import * as common from "./common.ts"

/** Both Fastify plugins here declare `request.session`: this is the type of the one this file registers. */
const sessionOf = (request: FastifyRequest) =>
  request.session as unknown as SecureSession<{ readonly user: common.UserData }>

export const start: common.Start = async () => {
  const app = fastify({ logger: false, trustProxy: true })
  app.get("/bare", { schema: common.userJsonSchema }, () => common.bare)
  await app.register(async (scope) => {
    await scope.register(secureSession, {
      key: Buffer.from(common.secret.slice(0, 32)),
      cookieName: common.cookieName,
      expiry: common.maxAgeSeconds,
      cookie: { path: "/", httpOnly: true, secure: true, sameSite: "lax", maxAge: common.maxAgeSeconds }
    })
    scope.get("/visitor", { schema: common.userJsonSchema }, () => common.bare)
    scope.get("/whoami", { schema: common.userJsonSchema }, (request, reply) => {
      return sessionOf(request).get("user") ?? reply.code(401).send()
    })
    scope.post<{ Params: { name: string } }>("/create_session/:name", (request, reply) => {
      sessionOf(request).regenerate()
      sessionOf(request).set("user", { username: request.params.name })
      return reply.send(common.created(request.params.name))
    })
    scope.post("/update_session", (request, reply) => {
      const user = sessionOf(request).get("user")
      if (user === undefined) return reply.code(401).send()
      const changed = common.visited(user)
      sessionOf(request).set("user", changed)
      return reply.send(common.updated(changed))
    })
    scope.post("/delete_session", (request, reply) => {
      sessionOf(request).delete()
      return reply.send(common.deleted)
    })
  })
  await app.listen({ port: 0, host: common.host })
  return common.portOf(app.server)
}
