import { getIronSession, type SessionOptions } from "iron-session"
import { once } from "node:events"
import { createServer, type IncomingMessage, type ServerResponse } from "node:http"
import * as common from "./common.ts"

const options: SessionOptions = {
  password: common.secret,
  cookieName: common.cookieName,
  ttl: common.maxAgeSeconds,
  cookieOptions: { ...common.cookie, maxAge: common.maxAgeSeconds }
}

const send = (response: ServerResponse, status: number, type: string, body: string) => {
  response.writeHead(status, { "content-type": type, "content-length": body.length })
  response.end(body)
}
const json = (response: ServerResponse, value: unknown) =>
  send(response, 200, "application/json", JSON.stringify(value))
const text = (response: ServerResponse, body: string) => send(response, 200, "text/plain", body)

const handleSession = async (request: IncomingMessage, response: ServerResponse, path: string) => {
  const session = await getIronSession<{ user: common.UserData }>(request, response, options)
  if (path === "/whoami") {
    return session.user === undefined ? send(response, 401, "text/plain", "") : json(response, session.user)
  }
  if (path === "/update_session") {
    session.user = common.visited(session.user!)
    await session.save()
    return text(response, common.updated(session.user))
  }
  if (path === "/delete_session") {
    session.destroy()
    return text(response, common.deleted)
  }
  const name = decodeURIComponent(path.slice("/create_session/".length))
  session.user = { username: name }
  await session.save()
  text(response, common.created(name))
}

export const start: common.Start = async () => {
  const server = createServer((request, response) => {
    const path = request.url ?? "/"
    if (path !== "/bare") void handleSession(request, response, path)
    else if (request.method === "POST") text(response, common.posted)
    else json(response, common.bare)
  })
  server.listen(0, common.host)
  await once(server, "listening")
  return server
}
