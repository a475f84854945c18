/**
 * A small HTTP/1.1 client over keep-alive connections, which checks every answer. It spins while a load runs: README.md says
 * why.
 */
import { connect as connectSocket } from "node:net"

export interface Answer {
  readonly status: number
  readonly head: string
  readonly body: string
}

/** A request, and what must come back. */
export interface Exchange {
  readonly request: string
  /** Any status when left out. */
  readonly status?: number
  /** The whole body; any body when left out. */
  readonly body?: string
  readonly onAnswer?: (answer: Answer) => void
}

export type Next = () => Exchange

export const request = (method: string, path: string, cookie?: string): string =>
  `${method} ${path} HTTP/1.1\r\nHost: bench.test\r\nX-Forwarded-Proto: https\r\n` +
  (cookie === undefined ? "" : `Cookie: ${cookie}\r\n`) +
  (method === "POST" ? "Content-Length: 0\r\n\r\n" : "\r\n")

/** The answer at the start of `text`, and how long it is; `undefined` while it has not arrived whole. */
export const parseAnswer = (text: string): { readonly answer: Answer; readonly length: number } | undefined => {
  const headEnd = text.indexOf("\r\n\r\n")
  if (headEnd < 0) return undefined
  const head = text.slice(0, headEnd)
  const status = Number(head.slice(9, 12))
  let position = headEnd + 4
  const contentLength = /\r\ncontent-length: *(\d+)/i.exec(head)
  if (contentLength !== null) {
    const end = position + Number(contentLength[1])
    return text.length < end ? undefined : { answer: { status, head, body: text.slice(position, end) }, length: end }
  }
  if (!/\r\ntransfer-encoding: *chunked/i.test(head)) throw new Error(`neither Content-Length nor chunks: ${head}`)
  let body = ""
  while (true) {
    const lineEnd = text.indexOf("\r\n", position)
    if (lineEnd < 0) return undefined
    const size = Number.parseInt(text.slice(position, lineEnd), 16)
    const next = lineEnd + 2 + size + 2
    if (text.length < next) return undefined
    if (size === 0) return { answer: { status, head, body }, length: next }
    body += text.slice(lineEnd + 2, lineEnd + 2 + size)
    position = next
  }
}

/** The cookies an answer sets, as the next request sends them back: of several with one name, the last. */
export const cookiesOf = (answer: Answer): string => {
  const all = answer.head.matchAll(/\r\nset-cookie: *([^=;\r]+)=([^;\r]*)/gi)
  const cookies = new Map(Array.from(all, ([, name, value]) => [name, value]))
  return Array.from(cookies, ([name, value]) => `${name}=${value}`).join("; ")
}

const line = (exchange: Exchange | undefined): string | undefined => exchange?.request.split("\r\n", 1)[0]

const assertAnswer = (exchange: Exchange, answer: Answer): void => {
  const { body = answer.body, status = answer.status } = exchange
  if (answer.status === status && answer.body === body) return
  const got = `${answer.status} ${answer.body.slice(0, 200)}`
  throw new Error(`wrong answer to ${line(exchange)}: expected ${status} ${body}, got ${got}`)
}

interface Connection {
  readonly send: (exchange: Exchange, done: () => void) => void
  readonly close: () => void
}

/** Connections to one server. The first wrong answer or broken connection fails whatever is running. */
export interface Client {
  readonly connections: ReadonlyArray<Connection>
  readonly failure: Promise<never>
  readonly close: () => void
  readonly [Symbol.dispose]: () => void
}

const open = (port: number, fail: (error: unknown) => void): Promise<Connection> =>
  new Promise((resolve, reject) => {
    let exchange: Exchange | undefined
    let done: () => void = () => {}
    let received = ""
    let closing = false
    const onChunk = (size: number, buffer: Uint8Array): boolean => {
      try {
        received += (buffer as Buffer).toString("latin1", 0, size) // the buffer given in `onread` below
        const parsed = parseAnswer(received)
        if (parsed === undefined) return true
        if (exchange === undefined || parsed.length !== received.length) throw new Error("more than was asked for")
        const answered = exchange
        exchange = undefined
        received = ""
        assertAnswer(answered, parsed.answer)
        answered.onAnswer?.(parsed.answer)
        done()
      } catch (error) {
        fail(error)
      }
      return true
    }
    const onread = { buffer: Buffer.allocUnsafe(65_536), callback: onChunk }
    const socket = connectSocket({ port, host: "127.0.0.1", noDelay: true, onread })
    const send: Connection["send"] = (next, whenDone) => {
      exchange = next
      done = whenDone
      socket.write(next.request, "latin1")
    }
    const close = () => {
      closing = true
      socket.destroy()
    }
    socket
      .once("connect", () => resolve({ send, close }))
      .setTimeout(10_000, () => exchange && fail(new Error(`no answer in 10 seconds to ${line(exchange)}`)))
      .on("error", (error) => {
        reject(error)
        fail(error)
      })
      .on("close", () => closing || fail(new Error("the server closed a connection")))
  })

/** Opens `count` connections to what is named `of` where it fails. */
export const connect = async (port: number, count: number, of = "the server"): Promise<Client> => {
  const { promise: failure, reject } = Promise.withResolvers<never>()
  failure.catch(() => {})
  const fail = (cause: unknown) => reject(new Error(`${of}: ${String(cause)}`, { cause }))
  const connections = await Promise.all(Array.from({ length: count }, () => open(port, fail)))
  const close = () => connections.forEach((connection) => connection.close())
  return { connections, failure, close, [Symbol.dispose]: close }
}

export interface Load {
  readonly requests: number
  readonly seconds: number
}

/** Loads until `milliseconds` have passed or `requests` have been sent, whichever comes first. */
export const closedLoop = async (
  client: Client,
  next: Next,
  until: { readonly milliseconds?: number; readonly requests?: number }
): Promise<Load> => {
  const { milliseconds = Number.POSITIVE_INFINITY, requests: limit = Number.POSITIVE_INFINITY } = until
  const { promise, resolve } = Promise.withResolvers<Load>()
  const started = performance.now()
  let sent = 0
  let running = client.connections.length
  for (const connection of client.connections) {
    const step = () => {
      if (sent < limit && performance.now() < started + milliseconds) {
        sent++
        connection.send(next(), step)
      } else if (--running === 0) resolve({ requests: sent, seconds: (performance.now() - started) / 1000 })
    }
    step()
  }
  let isRunning = true
  const spin = () => {
    if (isRunning) setImmediate(spin)
  }
  spin()
  try {
    return await Promise.race([promise, client.failure])
  } finally {
    isRunning = false
  }
}

/** Sends one request and waits for its answer. */
export const sendOne = (client: Client, exchange: Exchange): Promise<unknown> =>
  closedLoop(client, () => exchange, { requests: 1 })
