/**
 * Tests of the profile: how functions are grouped and times summed up, and that a server can be asked for them.
 */
import assert from "node:assert/strict"
import { describe, it } from "node:test"
import { fileURLToPath } from "node:url"
import { closedLoop, connect } from "./client.ts"
import { compareFunctions, compareGroups, groupOf, groups, selfTimes } from "./profiling.ts"
import { bareExchange } from "./scenarios.ts"
import { startServer } from "./serverProcess.ts"
import { subjects } from "./subjects.ts"

const root = fileURLToPath(new URL("../", import.meta.url))

describe("groupOf", () => {
  const cases: ReadonlyArray<readonly [string, string, string]> = [
    ["writev", "", "system calls that write"],
    ["writeUtf8String", "", "system calls that write"],
    ["writeLatin1String", "", "system calls that write"],
    ["(program)", "", "V8 and native code"],
    ["(garbage collector)", "", "V8 and native code"],
    ["oneShotDigest", "", "crypto"],
    ["digest", "", "crypto"],
    ["createHmac", "node:crypto:200", "crypto"],
    ["update", "node:internal/crypto/hash:10", "crypto"],
    ["digest", "effect/dist/crypto/Mac.js:1", "crypto"],
    ["writeHead", "node:_http_server:300", "Node's JavaScript"],
    ["nextTick", "node:internal/process/task_queues:1", "Node's JavaScript"],
    ["toHandled", "effect/dist/http/HttpEffect.js:1", "Effect: HTTP"],
    ["handler", "@effect/platform-node/dist/NodeHttpServer.js:1", "Effect: HTTP"],
    ["encode", "effect/dist/SchemaParser.js:855", "Effect: Schema"],
    ["go", "effect/dist/SchemaAST.js:1", "Effect: Schema"],
    ["to", "effect/dist/internal/schema/to-codec.js:1", "Effect: Schema"],
    ["makeUtc", "effect/dist/internal/dateTime.js:152", "Effect: data types"],
    ["make", "effect/dist/Redacted.js:1", "Effect: data types"],
    ["runLoop", "effect/dist/internal/effect.js:453", "Effect: runtime"],
    ["get", "effect/dist/Context.js:1", "Effect: runtime"],
    ["pipe", "effect/dist/Function.js:1", "Effect: runtime"],
    ["resolve", "dist/SessionManager.js:185", "effect-sessions"],
    ["write", "@redis/client/dist/lib/client/socket.js:1", "database clients"],
    ["query", "pg/lib/client.js:1", "database clients"],
    ["run", "@effect/sql-pg/dist/PgClient.js:1", "database clients"],
    ["compile", "effect/dist/sql/Statement.js:1", "database clients"],
    ["", "fastify/lib/reply.js:1", "everything else"],
    ["json", "bench/servers/iron-session.ts:1", "everything else"]
  ]
  for (const [name, location, group] of cases) {
    it(`puts ${name} ${location} into "${group}"`, () => assert.equal(groupOf({ name, location }), group))
  }
})

describe("selfTimes", () => {
  const node = (id: number, functionName: string, url = "", lineNumber = 0) => ({
    id,
    callFrame: { functionName, scriptId: "0", url, lineNumber, columnNumber: 0 }
  })

  it("sums up by function, from the package or the repository on, and leaves idle time out", () => {
    const nodes = [
      node(1, "(idle)"),
      node(2, "run", "file:///somewhere/node_modules/effect/dist/Context.js", 11),
      node(3, "run", "file:///somewhere/node_modules/effect/dist/Context.js", 11),
      node(4, "", `file://${root}dist/Session.js`, 4)
    ]
    // Each time stands before its sample; a sample counts until the next one.
    const times = selfTimes({
      nodes,
      startTime: 0,
      endTime: 155,
      samples: [2, 1, 3, 4, 4],
      timeDeltas: [5, 10, 20, 30, 90]
    })
    assert.deepEqual(times, [
      { name: "run", location: "effect/dist/Context.js:12", micros: 10 + 30 },
      { name: "(anonymous)", location: "dist/Session.js:5", micros: 90 }
    ])
  })
})

describe("comparing", () => {
  const kind = {
    requests: 10,
    times: [
      { name: "writev", location: "", micros: 30 },
      { name: "a", location: "dist/a.js:1", micros: 50 },
      { name: "a", location: "dist/a.js:1", micros: 50 }
    ]
  }
  const against = { requests: 5, times: [{ name: "writev", location: "", micros: 10 }] }

  it("gives microseconds a request of each group, for both and the difference", () => {
    const rows = compareGroups(kind, against)
    assert.deepEqual(
      rows.map(({ name }) => name),
      groups
    )
    assert.deepEqual(rows[0], { name: "system calls that write", kind: 3, against: 2, difference: 1 })
    assert.deepEqual(rows.find(({ name }) => name === "effect-sessions")!.difference, 10)
  })

  it("lists the functions whose times differ most, and no more than asked for", () => {
    assert.deepEqual(compareFunctions(kind, against, 1), [
      { name: "a dist/a.js:1", kind: 10, against: 0, difference: 10 }
    ])
    assert.equal(compareFunctions(kind, against, 20).length, 2)
  })
})

describe("a server", () => {
  it("profiles itself, again and again, and is idle when nobody asks", async () => {
    const server = await startServer(
      subjects.find(({ name }) => name === "iron-session")!,
      { core: 0 }
    )
    try {
      const client = await connect(server.port, 8)
      const sums: Array<number> = []
      for (const milliseconds of [400, 0, 400]) {
        await server.ask("startProfile")
        await closedLoop(client, () => bareExchange, { milliseconds })
        const times = await server.ask("stopProfile")
        sums.push(times.reduce((sum, { micros }) => sum + micros, 0))
        if (milliseconds > 0) assert.ok(times.some((time) => groupOf(time) === "Node's JavaScript"))
      }
      client.close()
      const [first, nothing, last] = sums
      assert.ok(first! > 50_000 && last! > 50_000, `${sums}`)
      assert.ok(nothing! < first! / 2, `${sums}`)
    } finally {
      await server.stop()
    }
  })
})
