/**
 * Tests of the harness: that it notices what is wrong, and measures what it says. Run with `npm test`.
 */
import assert from "node:assert/strict"
import { spawnSync } from "node:child_process"
import { once } from "node:events"
import { mkdtempSync, readFileSync, writeFileSync } from "node:fs"
import { createServer, type RequestListener, type Server } from "node:http"
import { connect as connectSocket, createServer as createTcpServer, type AddressInfo } from "node:net"
import { tmpdir } from "node:os"
import { join } from "node:path"
import { describe, it } from "node:test"
import { fileURLToPath } from "node:url"
import { closedLoop, connect, cookiesOf, openLoop, parseAnswer, request, sendOne, type Client } from "./client.ts"
import { startProxy } from "./proxy.ts"
import { checkBehaviour, forge } from "./scenarios.ts"
import type { HttpResult } from "./results.ts"
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
    it(`${subject.name} (${subject.store}) behaves, and logout revokes unless the session is in the cookie`, async () => {
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
      subjects.find(({ name }) => name === "node:http")!,
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
      assert.ok(idle.live > 0 && idle.rss > idle.live)
    } finally {
      await server.stop()
    }
  })

  it("says why a server did not start", () =>
    assert.rejects(startServer({ name: "", server: "absent", store: "none", packages: [] }, { core: 0 }), /absent/))
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

describe("table", () => {
  const figureOf = (value: number) => ({ median: value, low: value - 1, high: value + 1 })
  const environmentOf = {
    date: "2026-01-02T03:04:05.000Z",
    node: "v24.0.0",
    cpu: "a processor",
    cores: 2,
    commit: "0123456789abcdef",
    dirty: false
  }
  const kinds = ["bare", "visitor", "anonymous", "whoami", "forged", "create", "update", "destroy"]
  const subjectOf = (name: string, ours: boolean, base: number) => ({
    name,
    store: "memory" as const,
    ours,
    versions: { [name]: "1.0.0" },
    cpu: Object.fromEntries(kinds.map((kind, index) => [kind, figureOf(base + index)])),
    difference: figureOf(3),
    requestsPerSecond: figureOf(12_345),
    busy: figureOf(1),
    p50: figureOf(0.5),
    p99: figureOf(2),
    behaviour: { cookieBytes: 100, logoutRevokes: true },
    memory: { sessions: 100_000, bytesPerSession: 777, rssPerSession: 999 }
  })
  const http: HttpResult = {
    environment: environmentOf,
    options: { rounds: 3, rate: 1000 },
    subjects: [subjectOf("other", false, 27), subjectOf("ours", true, 12)],
    growth: [{ sessions: 1000, cpu: 15.25, bytesPerSession: 800 }]
  }

  const prepare = (readme: string) => {
    const folder = mkdtempSync(join(tmpdir(), "bench-"))
    const path = join(folder, "README.md")
    writeFileSync(path, readme)
    writeFileSync(join(folder, "http.json"), JSON.stringify(http))
    const script = fileURLToPath(new URL("./table.ts", import.meta.url))
    const run = (...flags: ReadonlyArray<string>) =>
      spawnSync(process.execPath, [script, "--readme", path, "--results", folder, ...flags]).status
    return { path, run }
  }

  it("writes the README's part from the results, and --check fails on any other number", () => {
    const { path, run } = prepare("before\n<!-- bench:start -->\nold\n<!-- bench:end -->\nafter\n")
    assert.equal(run("--check"), 1)
    assert.equal(run(), 0)
    assert.equal(run("--check"), 0)
    const written = readFileSync(path, "utf8")
    assert.ok(written.startsWith("before\n<!-- bench:start -->\n") && written.endsWith("<!-- bench:end -->\nafter\n"))
    // /whoami is the fourth kind: 15 of ours, 30 of the other, so ours comes first and the other's ratio is 2.
    const [own, other] = written.split("\n").filter((line) => /^\| (\*\*ours\*\*|other) \| memory/.test(line))
    assert.equal(
      own,
      "| **ours** | memory | 12.0 (11.0–13.0) | 15.0 (14.0–16.0) | 3.0 (2.0–4.0) |  | 12,345 | 0.50 / 2.00 | 777 | yes |"
    )
    assert.match(other!, /\| 30\.0 .*\| 2\.00× \|/)
    writeFileSync(path, written.replace("15.0 (", "14.0 ("))
    assert.equal(run("--check"), 1)
  })

  it("fails on a README without its marks", () => {
    assert.equal(prepare("nothing").run(), 1)
  })
})
