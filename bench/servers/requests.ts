/**
 * What every server is asked, and what must come back.
 */
import {
  closedLoop,
  cookiesOf,
  request,
  sendOne,
  type Answer,
  type Client,
  type Exchange,
  type Next
} from "../client.ts"
import { bare, cookieName, created, deleted, posted, updated, visited, type UserData } from "./common.ts"

export interface LiveSession {
  readonly user: UserData
  readonly cookie: string
}

const read = (path: string, user: UserData, cookie?: string): Exchange => {
  return { request: request("GET", path, cookie), status: 200, body: JSON.stringify(user) }
}
const write = (path: string, body: string, cookie?: string): Exchange => {
  return { request: request("POST", path, cookie), status: 200, body }
}
const refused = (cookie?: string): Exchange => ({ request: request("GET", "/whoami", cookie), status: 401 })

/** Outside the session's reach: what the framework alone costs a read, and a write. */
export const bareRead = read("/bare", bare)
export const bareWrite = write("/bare", posted)

export const whoami = ({ cookie, user }: LiveSession): Exchange => read("/whoami", user, cookie)

/**
 * The cookies with one character near the end replaced, well before the last one (whose spare bits some decoders
 * ignore): the signature or the sealed data no longer fit.
 */
export const forge = (cookie: string): string => {
  const at = cookie.length - 12
  return cookie.slice(0, at) + (cookie[at] === "A" ? "B" : "A") + cookie.slice(at + 1)
}

export const forged = ({ cookie }: LiveSession): Exchange => refused(forge(cookie))

let names = 0

export const create = (onCreated: (session: LiveSession) => void): Exchange => {
  const username = `user-${names++}`
  const onAnswer = (answer: Answer) => {
    const cookie = cookiesOf(answer)
    if (!cookie.startsWith(`${cookieName}=`)) throw new Error(`not the cookie agreed on:\n${answer.head}`)
    onCreated({ user: { username }, cookie })
  }
  return { ...write(`/create_session/${username}`, created(username)), onAnswer }
}

export const update = ({ cookie, user }: LiveSession, onUpdated?: (session: LiveSession) => void): Exchange => {
  const changed = visited(user)
  // A sealed session comes back in a new cookie.
  const onAnswer = (answer: Answer) => onUpdated?.({ user: changed, cookie: cookiesOf(answer) || cookie })
  return { ...write("/update_session", updated(changed), cookie), onAnswer }
}

export const destroy = ({ cookie }: LiveSession): Exchange => write("/delete_session", deleted, cookie)

/** A request of each session, one after the other, over and over. */
export const cycle = (live: ReadonlyArray<LiveSession>, toExchange: (session: LiveSession) => Exchange): Next => {
  const exchanges = live.map((session) => toExchange(session))
  let index = 0
  return () => exchanges[index++ % exchanges.length]!
}

export const createSessions = async (client: Client, requests: number): Promise<Array<LiveSession>> => {
  const live: Array<LiveSession> = []
  await closedLoop(client, () => create((session) => live.push(session)), { requests })
  return live
}

export interface Behaviour {
  readonly cookieBytes: number
  /** Whether a cookie captured before log-out is refused after it. */
  readonly revokes: boolean
}

/** Walks a session through its life once and checks each step, so that nothing broken is measured. */
export const checkBehaviour = async (client: Client): Promise<Behaviour> => {
  const [session] = await createSessions(client, 1)
  let last = session!
  const renewed = update(last, (session) => (last = session))
  for (const exchange of [bareRead, bareWrite, refused(), whoami(last), forged(last), renewed]) {
    await sendOne(client, exchange)
  }
  await sendOne(client, whoami(last))
  await sendOne(client, destroy(last))
  let revokes = false
  const again = request("GET", "/whoami", last.cookie)
  await sendOne(client, { request: again, onAnswer: ({ status }) => (revokes = status === 401) })
  return { cookieBytes: session!.cookie.length, revokes }
}
