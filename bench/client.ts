/**
 * A small HTTP/1.1 client over keep-alive connections that checks every answer. It loads a server in two ways:
 *
 * - `closedLoop`: each connection sends its next request when the answer to the last has come (as fast as it goes);
 * - `openLoop`: requests start at fixed times whatever the server does, and an answer's latency counts from the moment
 *   its request was due, so that a stall is paid for by all the requests it held up.
 *
 * While a loop runs, the client spins and never sleeps. A sleeping client's core has to be woken by an interrupt for each
 * write of the server, which in a virtual machine costs the server's process 10 to 15 µs of system time a request, and
 * the more the faster the server is.
 */
import { connect as connectSocket, type Socket } from "node:net"

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
  const bodyStart = headEnd + 4
  const contentLength = /\r\ncontent-length: *(\d+)/i.exec(head)
  if (contentLength !== null) {
    const end = bodyStart + Number(contentLength[1])
    return text.length < end ? undefined : { answer: { status, head, body: text.slice(bodyStart, end) }, length: end }
  }
  if (!/\r\ntransfer-encoding: *chunked/i.test(head)) {
    if (status === 204) return { answer: { status, head, body: "" }, length: bodyStart }
    throw new Error(`an answer with neither Content-Length nor chunks: ${head}`)
  }
  let body = ""
  let position = bodyStart
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
  const cookies = new Map<string, string>()
  for (const [, name, value] of answer.head.matchAll(/\r\nset-cookie: *([^=;\r]+)=([^;\r]*)/gi))
    cookies.set(name!, value!)
  return [...cookies].map(([name, value]) => `${name}=${value}`).join("; ")
}

const assertAnswer = (exchange: Exchange, answer: Answer): void => {
  const { body = answer.body, status = answer.status } = exchange
  if (answer.status === status && answer.body === body) return
  throw new Error(
    `wrong answer to ${exchange.request.split("\r\n", 1)[0]}: expected ${status} ${body}, ` +
      `got ${answer.status} ${answer.body.slice(0, 200)}`
  )
}

interface Connection {
  readonly socket: Socket
  send: (exchange: Exchange, done: () => void) => void
}

/** Connections to one server. The first wrong answer or broken connection fails whatever is running. */
export interface Client {
  readonly connections: ReadonlyArray<Connection>
  readonly failure: Promise<never>
  readonly close: () => void
}

export const connect = async (port: number, count: number): Promise<Client> => {
  let fail!: (error: unknown) => void
  let closing = false
  const failure = new Promise<never>((_, reject) => {
    fail = reject
  })
  failure.catch(() => {})

  const open = (): Promise<Connection> =>
    new Promise((resolve, reject) => {
      let exchange: Exchange | undefined
      let done: () => void = () => {}
      let received = ""
      const onChunk = (size: number, buffer: Uint8Array): boolean => {
        try {
          received += (buffer as Buffer).toString("latin1", 0, size) // the buffer given in `onread` below
          const parsed = parseAnswer(received)
          if (parsed === undefined) return true
          if (exchange === undefined || parsed.length !== received.length) throw new Error("an answer nobody asked for")
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
      const socket = connectSocket({
        port,
        host: "127.0.0.1",
        noDelay: true,
        onread: { buffer: Buffer.allocUnsafe(65_536), callback: onChunk }
      })
      socket.once("connect", () =>
        resolve({
          socket,
          send: (next, whenDone) => {
            exchange = next
            done = whenDone
            socket.write(next.request, "latin1")
          }
        })
      )
      socket.setTimeout(10_000, () => {
        if (exchange !== undefined)
          fail(new Error(`no answer in 10 seconds to ${exchange.request.split("\r\n", 1)[0]}`))
      })
      socket.on("error", (error) => {
        reject(error)
        fail(error)
      })
      socket.on("close", () => {
        if (!closing) fail(new Error("the server closed a connection"))
      })
    })

  const connections: Array<Connection> = []
  while (connections.length < count) {
    const batch = Array.from({ length: Math.min(100, count - connections.length) }, open)
    connections.push(...(await Promise.all(batch)))
  }
  return {
    connections,
    failure,
    close: () => {
      closing = true
      for (const connection of connections) connection.socket.destroy()
    }
  }
}

export interface Load {
  readonly requests: number
  readonly seconds: number
}

/** Loads until `milliseconds` have passed or `requests` have been sent, whichever comes first. */
export const closedLoop = (
  client: Client,
  next: Next,
  until: { readonly milliseconds?: number; readonly requests?: number }
): Promise<Load> => {
  const started = performance.now()
  const deadline = started + (until.milliseconds ?? Number.POSITIVE_INFINITY)
  const limit = until.requests ?? Number.POSITIVE_INFINITY
  let sent = 0
  let answered = 0
  let running = 0
  let spinning = true
  const spin = () => {
    if (spinning) setImmediate(spin)
  }
  spin()
  const finished = new Promise<Load>((resolve) => {
    const runner = (connection: Connection) => {
      const step = () => {
        if (sent >= limit || performance.now() >= deadline) {
          running--
          if (running === 0) resolve({ requests: answered, seconds: (performance.now() - started) / 1000 })
          return
        }
        sent++
        connection.send(next(), onDone)
      }
      const onDone = () => {
        answered++
        step()
      }
      return step
    }
    const steps = client.connections.map(runner)
    running = steps.length
    for (const step of steps) step()
  })
  return Promise.race([finished, client.failure]).finally(() => {
    spinning = false
  })
}

/** Sends one request and waits for its answer. */
export const sendOne = (client: Client, exchange: Exchange): Promise<unknown> =>
  closedLoop(client, () => exchange, { requests: 1 })

/** Starts `rate` requests a second for `milliseconds`; answers with their latencies in milliseconds, sorted. */
export const openLoop = (
  client: Client,
  next: Next,
  options: { readonly rate: number; readonly milliseconds: number }
): Promise<ReadonlyArray<number>> => {
  const total = Math.floor((options.rate * options.milliseconds) / 1000)
  const interval = 1000 / options.rate
  const latencies: Array<number> = []
  const idle = [...client.connections]
  let spinning = true
  const finished = new Promise<ReadonlyArray<number>>((resolve) => {
    const started = performance.now()
    let sent = 0
    // Nor would timers do to start requests: they are a millisecond coarse, more than most answers take.
    const tick = () => {
      const now = performance.now()
      while (sent < total && started + sent * interval <= now && idle.length > 0) {
        const due = started + sent * interval
        const connection = idle.pop()!
        sent++
        connection.send(next(), () => {
          latencies.push(performance.now() - due)
          idle.push(connection)
          if (latencies.length === total) resolve(latencies.sort((a, b) => a - b))
        })
      }
      if (spinning) setImmediate(tick)
    }
    tick()
  })
  return Promise.race([finished, client.failure]).finally(() => {
    spinning = false
  })
}
