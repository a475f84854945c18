/** Feeds of `feedServer.ts`, as a client has them open, and when they end. */
import { Agent, request } from "node:http"
import { newSecret, type SessionServer, startSessionServer } from "./processes.ts"

export interface Feed {
  readonly cookie: string
  readonly isOpen: () => boolean
  /** When it ended, by this process's `performance.now`. */
  readonly ended: Promise<number>
  readonly close: () => void
}

export interface Used {
  readonly reads: number
  readonly cpuMicros: number
  readonly heapBytes: number
}

const agent = new Agent({ keepAlive: false, maxSockets: Infinity })

/** Opens a feed, and answers once its first event is there. */
export const open = (server: SessionServer, path: "/feed" | "/plain", cookie: string): Promise<Feed> =>
  new Promise((resolve, reject) => {
    const { promise: ended, resolve: end } = Promise.withResolvers<number>()
    let isOpen = true
    const asked = request({ agent, host: "127.0.0.1", port: server.port, path, headers: { cookie } }, (response) => {
      if (response.statusCode !== 200) {
        response.resume()
        return reject(new Error(`the feed answered ${response.statusCode}`))
      }
      response.once("data", () => resolve({ cookie, isOpen: () => isOpen, ended, close: () => asked.destroy() }))
      response.on("data", () => {})
      response.on("error", () => {})
      response.on("close", () => {
        isOpen = false
        end(performance.now())
      })
    })
    asked.on("error", reject)
    asked.end()
  })

/** Runs `f` for 0 up to `count`, so many at a time, and answers what it answers. */
export const each = async <A>(count: number, atOnce: number, f: (i: number) => Promise<A>): Promise<Array<A>> => {
  const answers: Array<A> = []
  let next = 0
  const worker = async () => {
    while (next < count) {
      const i = next++
      answers[i] = await f(i)
    }
  }
  await Promise.all(Array.from({ length: atOnce }, worker))
  return answers
}

/** Logs somebody in, and answers the cookie. */
export const logIn = async (server: SessionServer, name: string): Promise<string> => {
  const { cookie, status } = await server.send("POST", `/login/${name}`)
  if (status !== 200 || cookie === undefined) throw new Error(`the log-in answered ${status}`)
  return cookie
}

/** Ends a session at a server, and answers how long after the answer its feed ended, in milliseconds. */
export const logOut = async (server: SessionServer, feed: Feed): Promise<number> => {
  const { status } = await server.send("POST", "/logout", feed.cookie)
  if (status !== 200) throw new Error(`the log-out answered ${status}`)
  const answered = performance.now()
  // A feed may end before the answer is here.
  return Math.max(0, (await feed.ended) - answered)
}

export const used = async (server: SessionServer): Promise<Used> =>
  JSON.parse((await server.send("GET", "/used")).body) as Used

/** Servers on one store, with one secret and one definition. */
export const serversOn = (
  count: number,
  env: Record<string, string>
): Promise<readonly [SessionServer, ...Array<SessionServer>]> => {
  const shared = { SESSION_SECRET: newSecret(), SESSION_NAME: `test/feeds/${crypto.randomUUID()}`, ...env }
  // One at least.
  return Promise.all(Array.from({ length: count }, () => startSessionServer(shared, "feedServer.ts"))) as Promise<
    [SessionServer, ...Array<SessionServer>]
  >
}
