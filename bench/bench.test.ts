/**
 * Tests of what the figures' honesty rests on: that the harness notices what is wrong, measures what it says, and that the
 * documents say what was measured.
 */
import assert from "node:assert/strict"
import { spawnSync } from "node:child_process"
import { once } from "node:events"
import { cpSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs"
import { createServer, type RequestListener } from "node:http"
import { tmpdir } from "node:os"
import { join } from "node:path"
import { performance } from "node:perf_hooks"
import { setTimeout as sleep } from "node:timers/promises"
import { describe, it } from "node:test"
import { closedLoop, connect, parseAnswer, request, sendOne } from "./client.ts"
import { summarize, summarizeRound, type Findings, type Sample } from "./measure.ts"
import { portOf } from "./servers/common.ts"
import { startServer } from "./servers/process.ts"
import { bareRead, checkBehaviour } from "./servers/requests.ts"
import { builds, counterpart, label, subjects, type Subject } from "./servers/subjects.ts"
import type { Result } from "./table.ts"

const serve = async (handler: RequestListener, connections: number) => {
  const server = createServer(handler).listen(0, "127.0.0.1")
  await once(server, "listening")
  const client = await connect(portOf(server), connections)
  return Object.assign(client, {
    [Symbol.dispose]: () => [client.close(), server.closeAllConnections(), server.close()]
  })
}

const get = { request: request("GET", "/"), status: 200, body: "ok" }

describe("client", () => {
  for (const [how, text] of [
    ["with a Content-Length", "HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello"],
    ["in chunks", "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n3\r\nhel\r\n2\r\nlo\r\n0\r\n\r\n"]
  ] as const) {
    it(`reads an answer ${how}, and waits for all of it`, () => {
      const { answer, length } = parseAnswer(text)!
      assert.deepEqual([answer.status, answer.body, length], [200, "hello", text.length])
      for (let cut = 0; cut < text.length; cut++) assert.equal(parseAnswer(text.slice(0, cut)), undefined)
    })
  }

  for (const [what, handler, error] of [
    ["a wrong status", (_, response) => response.writeHead(500).end("ok"), /expected 200 ok, got 500 ok/],
    ["a wrong body", (_, response) => response.end("other"), /expected 200 ok, got 200 other/],
    ["a closed connection", (_, response) => response.socket?.destroy(), /closed a connection|ECONNRESET/]
  ] as ReadonlyArray<readonly [string, RequestListener, RegExp]>) {
    it(`fails on ${what}, even after many right answers`, async () => {
      let count = 0
      const first: RequestListener = (request, response) =>
        count++ < 150 ? response.end("ok") : handler(request, response)
      using client = await serve(first, 4)
      await assert.rejects(
        closedLoop(client, () => get, { requests: 200 }),
        error
      )
    })
  }

  it("sends exactly as many requests as it is asked to", async () => {
    let count = 0
    const handler: RequestListener = (_, response) => {
      count++
      response.end("ok")
    }
    using client = await serve(handler, 7)
    await closedLoop(client, () => get, { requests: 100 })
    assert.equal(count, 100)
  })

  it("spins while it waits for answers, and sleeps when it has ended or failed", async () => {
    /** The share of the next 300 ms in which this process's event loop is busy. */
    const busy = async () => {
      const before = performance.eventLoopUtilization()
      await sleep(300)
      return performance.eventLoopUtilization(before).utilization
    }
    for (const answer of ["ok", "wrong"]) {
      const slowly: RequestListener = (_, response) => setTimeout(() => response.end(answer), 300)
      using client = await serve(slowly, 2)
      const ended = Promise.allSettled([closedLoop(client, () => get, { requests: 2 })])
      assert.ok((await busy()) > 0.9, "it slept")
      assert.equal((await ended)[0].status, answer === "ok" ? "fulfilled" : "rejected")
      assert.ok((await busy()) < 0.5, "it spins on")
    }
  })
})

describe("a server", () => {
  it("that accepts a forged cookie is refused", async () => {
    /** Keeps the session in the cookie, unsigned. */
    const handler: RequestListener = ({ headers, method, url = "" }, response) => {
      const [, created] = /^\/create_session\/(.*)/.exec(url) ?? []
      const [, username] = /__Host-session=([^~]+)~/.exec(headers.cookie ?? "") ?? []
      if (created !== undefined) {
        response.setHeader("set-cookie", `__Host-session=${created}~${"A".repeat(20)}`)
        response.end(`created session for ${created}`)
      } else if (url !== "/whoami") response.end(method === "POST" ? "posted something" : '{"username":"bare"}')
      else if (username === undefined) response.writeHead(401).end()
      else response.end(JSON.stringify({ username }))
    }
    using client = await serve(handler, 1)
    await assert.rejects(checkBehaviour(client), /GET \/whoami.*expected 401/)
  })

  for (const subject of subjects.filter(({ store }) => store === "memory" || store === "cookie")) {
    it(`behaves: ${label(subject)}; log-out revokes unless the session is in the cookie; idle connections stay`, async () => {
      await using server = await startServer(subject, 0)
      using client = await connect(server.port, 1)
      assert.equal((await checkBehaviour(client)).revokes, subject.store === "memory")
      await sendOne(client, { ...bareRead, onAnswer: ({ head }) => assert.match(head, /keep-alive: timeout=60/i) })
    })
  }

  it("is charged its own CPU time alone, of its one core", async () => {
    await using server = await startServer({ server: "iron-session", store: "cookie", env: {} }, 0)
    using client = await connect(server.port, 8)
    const before = await server.ask("cpu")
    const { seconds } = await closedLoop(client, () => ({ request: request("GET", "/bare") }), { milliseconds: 500 })
    const used = await server.ask("cpu")
    const busy = (used - before) / 1e6 / seconds
    assert.ok(busy > 0.05 && busy < 1.1, `${busy} of a core`)
    await sleep(300)
    assert.ok((await server.ask("cpu")) - used < 100_000, "while it was not asked")
  })

  it("that does not start says why", () =>
    assert.rejects(startServer({ server: "absent", store: "memory", env: {} }, 0), /absent/))
})

describe("a round", () => {
  const named = (name: string): Subject => subjects.find((subject) => label(subject) === name)!
  const ours = named("effect-sessions, memory")
  const anonymous = named("effect-sessions, no principal, memory")
  const peer = named("@fastify/session, memory")

  it("takes medians of its windows, and compares within a pass: reads with ours, writes with ours without a principal", () => {
    /** Passes of what bare requests, reads and writes cost. */
    const found = (subject: Subject, ...passes: ReadonlyArray<readonly [number, number, number]>): Findings => ({
      subject,
      passes: passes.map((costs) => {
        const samples = costs.map((micros) => ({ requests: 100, seconds: 0.1, cpu: 100 * micros }))
        const [bare, read, write] = samples as [Sample, Sample, Sample]
        return { bare, post: bare, whoami: read, forged: read, create: write, update: write, destroy: write }
      })
    })
    const all = [
      found(ours, [5, 10, 90], [10, 20, 90], [50, 100, 90]),
      found(anonymous, [5, 10, 50], [10, 20, 60], [50, 100, 200]),
      found(peer, [5, 30, 25], [10, 20, 30], [50, 30, 100])
    ]
    const costs = summarizeRound(all[2]!, all)
    assert.deepEqual([costs.bare, costs.whoami, costs.create, costs.perSecond], [10, 30, 30, 1000])
    assert.equal(costs["whoami over"], 10) // of 25, 10 and -20
    assert.equal(costs["whoami ratio"], 1) // of 3, 1 and 0.3
    assert.equal(costs["create ratio"], 0.5)
    assert.equal(costs["create over ratio"], 20 / 50)
    assert.equal(summarizeRound(all[0]!, all)["whoami ratio"], undefined)
    assert.deepEqual(summarize([{ bare: 3 }, { bare: 9 }, { bare: 4 }]), { bare: [4, 3, 9] })
  })

  it("compares with ours on the same store, a sealed cookie with ours in memory, a build with the first one", () => {
    assert.equal(counterpart(named("@fastify/session, redis"), "reads", subjects), named("effect-sessions, redis"))
    assert.equal(counterpart(named("iron-session, cookie"), "writes", subjects), anonymous)
    assert.equal(counterpart(peer, "writes", [peer, ours]), ours)
    assert.equal(counterpart(anonymous, "writes", subjects), undefined)
    const two = builds(["/a", "/b"])
    const second = two.find((subject) => label(subject) === "effect-sessions, build 2, memory")!
    assert.equal(counterpart(second, "writes", two)?.env["BENCH_DIST"], "/a")
    assert.equal(second.env["BENCH_DIST"], "/b")
  })
})

for (const value of ["0", "1.5"]) {
  it(`--passes=${value} is refused`, () => {
    const { status, stderr } = spawnSync(process.execPath, [join(import.meta.dirname, "run.ts"), `--passes=${value}`])
    assert.equal(status, 1)
    assert.match(stderr.toString(), /--passes must be a whole number from 1/)
  })
}

it("--check fails when a document has another digit than results.json", () => {
  const folder = mkdtempSync(join(tmpdir(), "bench-"))
  try {
    // Without a package beside it: the gate checks the documents without any.
    const files = ["bench/table.ts", "bench/results.json", "bench/RESULTS.md", "README.md", "docs/performance.md"]
    for (const file of files) cpSync(join(import.meta.dirname, "..", file), join(folder, file))
    writeFileSync(join(folder, "package.json"), `{ "type": "module" }`)
    const run = (...flags: ReadonlyArray<string>) =>
      spawnSync(process.execPath, [join(folder, "bench/table.ts"), ...flags]).status
    assert.equal(run(), 0)
    const [, , ...made] = files
    const result: Result = JSON.parse(readFileSync(join(folder, "bench/results.json"), "utf8"))
    const figure = ` ${Math.floor(result.subjects[0]!.costs.whoami![0])}`
    for (const file of made) {
      assert.equal(run("--check"), 0)
      const text = readFileSync(join(folder, file), "utf8")
      writeFileSync(join(folder, file), text.replace(figure, `${figure}0`))
      assert.equal(run("--check"), 1, file)
      writeFileSync(join(folder, file), text)
    }
    writeFileSync(join(folder, "README.md"), "without its marks")
    assert.equal(run(), 1)
  } finally {
    rmSync(folder, { recursive: true })
  }
})
