/**
 * Tests of the client, the servers and what stands between: that they notice what is wrong, and measure what they say.
 */
import assert from "node:assert/strict"
import { once } from "node:events"
import { createServer, type RequestListener, type Server } from "node:http"
import { performance } from "node:perf_hooks"
import { connect as connectSocket, createServer as createTcpServer, type AddressInfo } from "node:net"
import { describe, it } from "node:test"
import { closedLoop, connect, cookiesOf, openLoop, parseAnswer, request, sendOne, type Client } from "./client.ts"
import type { Measured } from "./measure.ts"
import { startProxy } from "./proxy.ts"
import { windowsOf } from "./rounds.ts"
import { checkBehaviour, forge } from "./scenarios.ts"
import { startServer } from "./serverProcess.ts"
import { figure, median, quantile } from "./stats.ts"
import { subjects } from "./subjects.ts"

const listen = async (server: Server | ReturnType<typeof createTcpServer>): Promise<number> => {
  server.listen(0, "127.0.0.1")
  await once(server, "listening")
  return (server.address() as AddressInfo).port // a TCP server that listens has one
}

const withClient = async (handler: RequestListener, connections: number, use: (client: Client) => Promise<void>) => {
  const server = createServer(handler)
  const client = await connect(await listen(server), connections)
  try {
    await use(client)
  } finally {
    client.close()
    server.closeAllConnections()
    server.close()
  }
}

const get = request("GET", "/")

describe("client", () => {
  it("reads an answer with a Content-Length, and waits for all of it", () => {
    const text = "HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello"
    assert.deepEqual(parseAnswer(text)?.answer.body, "hello")
    assert.equal(parseAnswer(text)?.length, text.length)
    for (let cut = 0; cut < text.length; cut++) assert.equal(parseAnswer(text.slice(0, cut)), undefined)
  })

  it("reads a chunked answer, and waits for its last chunk", () => {
    const text = "HTTP/1.1 401 No\r\ntransfer-encoding: chunked\r\n\r\n3\r\nhel\r\n2\r\nlo\r\n0\r\n\r\n"
    assert.deepEqual(parseAnswer(text)?.answer.body, "hello")
    assert.equal(parseAnswer(text)?.answer.status, 401)
    for (let cut = 0; cut < text.length; cut++) assert.equal(parseAnswer(text.slice(0, cut)), undefined)
  })

  it("keeps the last of several cookies with one name, as a browser does", () => {
    const head = "HTTP/1.1 200 OK\r\nSet-Cookie: a=1; Path=/\r\nset-cookie: b=x=y; Secure\r\nSet-Cookie: a=2"
    assert.equal(cookiesOf({ status: 200, head, body: "" }), "a=2; b=x=y")
  })

  it("fails on a wrong status", () =>
    withClient(
      (_, response) => response.writeHead(500).end("ok"),
      1,
      (client) => assert.rejects(sendOne(client, { request: get, status: 200 }), /expected 200.*got 500/)
    ))

  it("fails on a wrong body, even after many right ones", async () => {
    let count = 0
    await withClient(
      (_, response) => response.end(count++ === 150 ? "other" : "ok"),
      4,
      (client) =>
        assert.rejects(
          closedLoop(client, () => ({ request: get, status: 200, body: "ok" }), { requests: 200 }),
          /expected 200 ok, got 200 other/
        )
    )
  })

  it("fails when the server closes a connection", () =>
    withClient(
      (_, response) => response.socket?.destroy(),
      1,
      (client) => assert.rejects(sendOne(client, { request: get }), /closed a connection|ECONNRESET/)
    ))

  it("sends exactly as many requests as it is asked to", async () => {
    let count = 0
    const handler: RequestListener = (_, response) => {
      count++
      response.end("ok")
    }
    await withClient(handler, 7, async (client) => {
      const load = await closedLoop(client, () => ({ request: get, body: "ok" }), { requests: 100 })
      assert.equal(load.requests, 100)
      assert.equal(count, 100)
    })
  })

  it("at a fixed rate, charges a stall to every request that was due during it", async () => {
    let stalled = false
    const handler: RequestListener = (_, response) => {
      if (!stalled) {
        stalled = true
        const until = performance.now() + 300
        while (performance.now() < until);
      }
      response.end("ok")
    }
    // The server stalls in this very process, so the client cannot send meanwhile either: due times must still count.
    await withClient(handler, 8, async (client) => {
      const latencies = await openLoop(client, () => ({ request: get, body: "ok" }), { rate: 200, milliseconds: 1000 })
      assert.equal(latencies.length, 200)
      const late = latencies.filter((latency) => latency > 50).length
      assert.ok(late >= 40, `${late} requests of about 50 that were due in the stall's first 250 ms`)
    })
  })
})

/** The share of the next 300 ms in which this process's event loop is busy. */
const busyNow = async (): Promise<number> => {
  const before = performance.eventLoopUtilization()
  await new Promise((resolve) => setTimeout(resolve, 300))
  return performance.eventLoopUtilization(before).utilization
}

describe("the spinning client", () => {
  const slowly: RequestListener = (_, response) => setTimeout(() => response.end("ok"), 300)
  const loops = {
    closedLoop: (client: Client) => closedLoop(client, () => ({ request: get, body: "ok" }), { requests: 2 }),
    openLoop: (client: Client) =>
      openLoop(client, () => ({ request: get, body: "ok" }), { rate: 100, milliseconds: 20 })
  }
  for (const [name, loop] of Object.entries(loops)) {
    it(`never sleeps while ${name} waits for answers, and sleeps when it has ended`, () =>
      withClient(slowly, 2, async (client) => {
        const running = loop(client)
        assert.ok((await busyNow()) > 0.9, "it slept")
        await running
        assert.ok((await busyNow()) < 0.5, "it spins on")
      }))

    it(`sleeps when ${name} has failed`, () =>
      withClient(
        (_, response) => response.end("wrong"),
        2,
        async (client) => {
          await assert.rejects(loop(client), /got 200 wrong/)
          assert.ok((await busyNow()) < 0.5, "it spins on")
        }
      ))
  }
})

describe("scenarios", () => {
  it("forges a cookie by one character", () => {
    const cookie = `__Host-session=${"A".repeat(40)}`
    const forged = forge(cookie)
    assert.equal(forged.length, cookie.length)
    assert.equal([...forged].filter((character, index) => character !== cookie[index]).length, 1)
  })

  it("refuses a server that accepts a forged cookie", async () => {
    // Keeps the session in the cookie, unsigned.
    const handler: RequestListener = (incoming, response) => {
      const [, name] = /^\/create_session\/(.*)/.exec(incoming.url!) ?? []
      const [, session] = /__Host-session=([^~]+)~/.exec(incoming.headers.cookie ?? "") ?? []
      if (name !== undefined) {
        response.setHeader("set-cookie", `__Host-session=${name}~${"A".repeat(20)}`)
        response.end(`created session for ${name}`)
      } else if (incoming.url === "/whoami") {
        if (session === undefined) response.writeHead(401).end()
        else response.end(JSON.stringify({ username: session }))
      } else response.end(JSON.stringify({ username: "bare" }))
    }
    await withClient(handler, 1, (client) => assert.rejects(checkBehaviour(client), /GET \/whoami.*expected 401/))
  })

  for (const subject of subjects.filter(({ store }) => store === "memory" || store === "cookie")) {
    it(`${subject.name} (${subject.store}) behaves, and log-out revokes unless the session is in the cookie`, async () => {
      const server = await startServer(subject, { core: 0 })
      try {
        const client = await connect(server.port, 1)
        const { logoutRevokes } = await checkBehaviour(client)
        client.close()
        assert.equal(logoutRevokes, subject.store === "memory")
      } finally {
        await server.stop()
      }
    })
  }

  it("counts the CPU time of the server alone, and of its one core", async () => {
    const server = await startServer(
      subjects.find(({ name }) => name === "iron-session")!,
      { core: 0 }
    )
    try {
      const client = await connect(server.port, 8)
      const bare = () => ({ request: request("GET", "/bare"), status: 200 })
      const before = await server.ask("usage")
      const load = await closedLoop(client, bare, { milliseconds: 500 })
      const after = await server.ask("usage")
      client.close()
      const busy = (after.cpu - before.cpu) / 1e6 / load.seconds
      assert.ok(busy > 0.1 && busy < 1.1, `${busy} of a core`)
      await new Promise((resolve) => setTimeout(resolve, 300))
      const idle = await server.ask("usage")
      assert.ok(idle.cpu - after.cpu < 100_000, `${idle.cpu - after.cpu} µs while nobody asked`)
      const { live, rss } = await server.ask("collect")
      assert.ok(live > 0 && rss > live)
    } finally {
      await server.stop()
    }
  })

  it("says why a server did not start", () =>
    assert.rejects(startServer({ name: "", server: "absent", store: "memory", packages: [] }, { core: 0 }), /absent/))
})

describe("a pass", () => {
  it("updates and destroys each session it creates, once", async () => {
    const seen: Record<string, Array<string>> = { create: [], update: [], destroy: [] }
    const handler: RequestListener = (incoming, response) => {
      const [, name] = /^\/create_session\/(.*)/.exec(incoming.url!) ?? []
      const [, session] = /__Host-session=([^~]+)~?/.exec(incoming.headers.cookie ?? "") ?? []
      const known = session !== undefined && incoming.headers.cookie!.endsWith("~AAAAAAAAAAAAAAAAAAAA")
      if (name !== undefined) {
        seen["create"]!.push(name)
        response.setHeader("set-cookie", `__Host-session=${name}~${"A".repeat(20)}`)
        response.end(`created session for ${name}`)
      } else if (incoming.url === "/update_session") {
        seen["update"]!.push(session!)
        response.end(`visit 1 of ${session}`)
      } else if (incoming.url === "/delete_session") {
        seen["destroy"]!.push(session!)
        response.end("deleted session")
      } else if (incoming.url !== "/whoami") response.end(JSON.stringify({ username: "bare" }))
      else if (known) response.end(JSON.stringify({ username: session }))
      else response.writeHead(401).end()
    }
    await withClient(handler, 8, async (client) => {
      let cpu = 0
      // Each reading is 1000 µs after the last.
      const ask = async () => ({ cpu: (cpu += 1000) })
      const subject = subjects.find(({ store }) => store === "memory")!
      const server = { subject, process: { port: 0, ask, stop: async () => {} } } as unknown as Measured // only "usage" is asked
      const windows = await windowsOf(server, client, { window: 20, sessions: { requests: 50 } })
      const kinds = ["anonymous", "bare", "create", "destroy", "forged", "update", "visitor", "whoami"]
      assert.deepEqual(Object.keys(windows).toSorted(), kinds)
      assert.equal(windows.create!.requests, 50)
      assert.equal(windows.update!.requests, 50)
      assert.equal(windows.destroy!.requests, 50)
      assert.equal(windows.create!.cpu, 1000)
    })
    assert.equal(new Set(seen["create"]).size, 250)
    assert.deepEqual(seen["update"]!.toSorted(), seen["create"]!.toSorted())
    assert.deepEqual(seen["destroy"]!.toSorted(), seen["create"]!.toSorted())
  })
})

describe("proxy", () => {
  it("counts waits for the store: commands sent together are one", async () => {
    const store = createTcpServer((socket) =>
      socket.on("data", (chunk) => {
        setTimeout(() => socket.write(chunk), 50)
      })
    )
    const proxy = await startProxy({ host: "127.0.0.1", port: await listen(store) })
    const socket = connectSocket({ port: proxy.port, host: "127.0.0.1", noDelay: true })
    try {
      for (let i = 0; i < 5; i++) {
        socket.write("a")
        await once(socket, "data")
      }
      assert.equal(proxy.roundTrips(), 5)
      socket.write("b")
      await new Promise((resolve) => setTimeout(resolve, 5))
      socket.write("c")
      await once(socket, "data")
      assert.equal(proxy.roundTrips(), 6)
    } finally {
      socket.destroy()
      proxy.close()
      store.close()
    }
  })
})

describe("stats", () => {
  it("takes the median, quantiles, and the spread", () => {
    assert.equal(median([3, 1, 2]), 2)
    assert.equal(median([4, 1, 2, 3]), 2.5)
    const hundred = Array.from({ length: 100 }, (_, index) => index + 1)
    assert.equal(quantile(hundred, 0.5), 50)
    assert.equal(quantile(hundred, 0.99), 99)
    assert.equal(quantile([7], 0.99), 7)
    assert.deepEqual(figure([2, 9, 4]), { median: 4, low: 2, high: 9 })
  })
})
