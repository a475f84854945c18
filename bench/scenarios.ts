/**
 * The requests that are measured, and what must come back.
 */
import { closedLoop, cookiesOf, request, sendOne, type Client, type Exchange, type Next } from "./client.ts"
import { bare, created, deleted, updated, visited, type UserData } from "./servers/common.ts"

export interface LiveSession {
  readonly user: UserData
  readonly cookie: string
}

/** A route outside the session's reach: what the framework alone costs. */
export const bareExchange: Exchange = { request: request("GET", "/bare"), status: 200, body: JSON.stringify(bare) }

/** A visitor without a cookie, on a route that has a session at hand and does not ask for it. */
export const visitorExchange: Exchange = {
  request: request("GET", "/visitor"),
  status: 200,
  body: JSON.stringify(bare)
}

/** A visitor without a cookie, on a route that wants one. */
export const anonymousExchange: Exchange = { request: request("GET", "/whoami"), status: 401 }

export const whoami = ({ cookie, user }: LiveSession): Exchange => ({
  request: request("GET", "/whoami", cookie),
  status: 200,
  body: JSON.stringify(user)
})

/**
 * The cookies with one character near the end replaced, well before the last one (whose spare bits some decoders
 * ignore): the signature or the sealed data no longer fit.
 */
export const forge = (cookie: string): string => {
  const at = cookie.length - 12
  return cookie.slice(0, at) + (cookie[at] === "A" ? "B" : "A") + cookie.slice(at + 1)
}

export const forged = ({ cookie }: LiveSession): Exchange => ({
  request: request("GET", "/whoami", forge(cookie)),
  status: 401
})

let names = 0

export const create = (onCreated: (session: LiveSession) => void): Exchange => {
  const name = `user-${names++}`
  return {
    request: request("POST", `/create_session/${name}`),
    status: 200,
    body: created(name),
    onAnswer: (answer) => {
      const cookie = cookiesOf(answer)
      if (cookie === "") throw new Error(`no cookie came with a new session:\n${answer.head}`)
      onCreated({ user: { username: name }, cookie })
    }
  }
}

export const update = ({ cookie, user }: LiveSession, onUpdated?: (session: LiveSession) => void): Exchange => {
  const changed = visited(user)
  return {
    request: request("POST", "/update_session", cookie),
    status: 200,
    body: updated(changed),
    // A sealed session comes back in a new cookie.
    onAnswer: (answer) => onUpdated?.({ user: changed, cookie: cookiesOf(answer) || cookie })
  }
}

export const destroy = ({ cookie }: LiveSession): Exchange => ({
  request: request("POST", "/delete_session", cookie),
  status: 200,
  body: deleted
})

/** Takes the exchanges one after the other, over and over. */
export const cycle = (exchanges: ReadonlyArray<Exchange>): Next => {
  let index = 0
  return () => {
    const exchange = exchanges[index]!
    index = (index + 1) % exchanges.length
    return exchange
  }
}

export const createSessions = async (client: Client, count: number): Promise<Array<LiveSession>> => {
  const sessions: Array<LiveSession> = []
  await closedLoop(client, () => create((session) => sessions.push(session)), { requests: count })
  return sessions
}

export interface Behaviour {
  readonly cookieBytes: number
  /** Whether a cookie captured before logout is refused after it. */
  readonly logoutRevokes: boolean
}

/** Walks a session through its life once and checks each step, so that nothing broken is measured. */
export const checkBehaviour = async (client: Client): Promise<Behaviour> => {
  let session: LiveSession | undefined
  const keep = (value: LiveSession) => {
    session = value
  }
  await sendOne(client, bareExchange)
  await sendOne(client, visitorExchange)
  await sendOne(client, anonymousExchange)
  await sendOne(client, create(keep))
  const { cookie } = session!
  if (!cookie.startsWith("__Host-session=")) throw new Error(`another cookie than the one agreed on: ${cookie}`)
  await sendOne(client, whoami(session!))
  await sendOne(client, forged(session!))
  await sendOne(client, update(session!, keep))
  await sendOne(client, whoami(session!))
  await sendOne(client, destroy(session!))
  let logoutRevokes = false
  await sendOne(client, {
    request: request("GET", "/whoami", session!.cookie),
    onAnswer: ({ status }) => {
      logoutRevokes = status === 401
    }
  })
  return { cookieBytes: cookie.length, logoutRevokes }
}
