/**
 * Tests of the stores beside the servers: the run's own Redis, and what happens without one.
 */
import assert from "node:assert/strict"
import { spawn, spawnSync } from "node:child_process"
import { once } from "node:events"
import { mkdtempSync, readFileSync, rmSync } from "node:fs"
import { connect, createServer, type AddressInfo } from "node:net"
import { tmpdir } from "node:os"
import { join } from "node:path"
import { after, describe, it } from "node:test"
import { startRedis } from "./redis.ts"
import type { HttpResult } from "./results.ts"

const answers = (port: number): Promise<boolean> =>
  new Promise((resolve) => {
    const socket = connect(port, "127.0.0.1")
    socket.once("connect", () => resolve(true)).once("error", () => resolve(false))
    socket.once("connect", () => socket.destroy())
  })

const answersNoMore = async (port: number): Promise<boolean> => {
  for (let attempt = 0; attempt < 60; attempt++) {
    if (!(await answers(port))) return true
    await new Promise((resolve) => setTimeout(resolve, 50))
  }
  return false
}

const hasRedis = spawnSync("redis-server", ["--version"]).error === undefined

describe("the run's own Redis", { skip: !hasRedis && "there is no redis-server" }, () => {
  it("is on the core it is told, and gone when stopped", async () => {
    const redis = (await startRedis(1))!
    const port = Number(new URL(redis.url).port)
    try {
      assert.ok(await answers(port))
      const find = `taskset -c -p $(pgrep -f "^redis-server 127.0.0.1:${port}")`
      assert.match(spawnSync("sh", ["-c", find]).stdout.toString(), /list: 1\n$/)
    } finally {
      await redis.stop()
    }
    assert.equal(await answers(port), false)
  })

  for (const [how, ending] of [
    ["ends by itself", "process.exit(0)"],
    ["is killed", "process.kill(process.pid, 'SIGKILL')"]
  ]) {
    it(`is gone when the run ${how}`, async () => {
      const code = `import { startRedis } from "./redis.ts"
        console.log((await startRedis(1)).url)
        setTimeout(() => ${ending}, 300)`
      const run = spawn(process.execPath, ["--input-type=module", "-e", code], {
        cwd: import.meta.dirname,
        stdio: ["ignore", "pipe", "inherit"]
      })
      const [line] = await once(run.stdout, "data")
      const port = Number(new URL(String(line).trim()).port)
      assert.ok(await answers(port))
      await once(run, "exit")
      assert.ok(await answersNoMore(port), "Redis is still there")
    })
  }
})

describe("a store that is missing", () => {
  /** A port where nobody listens. */
  const closedPort = async (): Promise<number> => {
    const server = createServer().listen(0, "127.0.0.1")
    await once(server, "listening")
    const { port } = server.address() as AddressInfo // a TCP server that listens has one
    server.close()
    return port
  }
  const run = async (only: string) => {
    const folder = mkdtempSync(join(tmpdir(), "bench-"))
    after(() => rmSync(folder, { recursive: true }))
    const out = join(folder, "http.json")
    const flags =
      "--rounds 1 --passes 1 --warmup 20 --window 20 --rate-time 20 --rate-passes 1 --memory 0 --at= --growth="
    const port = await closedPort()
    const { status, stdout } = spawnSync(
      process.execPath,
      [join(import.meta.dirname, "run.ts"), "--only", only, "--out", out, ...flags.split(" ")],
      {
        env: {
          ...process.env,
          BENCH_REDIS_URL: `redis://127.0.0.1:${port}/0`,
          BENCH_POSTGRES_URL: `postgres://postgres@127.0.0.1:${port}/test`
        }
      }
    )
    return { status, stdout: stdout.toString(), result: (): HttpResult => JSON.parse(readFileSync(out, "utf8")) }
  }

  it("leaves out the subjects that need it, and says so", async () => {
    const { result, status, stdout } = await run("postgres|express.*redis|iron-session")
    assert.equal(status, 0, stdout)
    const { leftOut, subjects } = result()
    assert.deepEqual(
      subjects.map(({ name }) => name),
      ["iron-session"]
    )
    assert.deepEqual(
      leftOut.map(({ subject }) => subject),
      ["effect-sessions (postgres)", "express-session (redis)"]
    )
    assert.match(stdout, /left out: effect-sessions \(postgres\), as no Postgres answers/)
    assert.match(stdout, /left out: express-session \(redis\), as .* no Redis answers/)
  })

  it("fails when nothing is left", async () => {
    assert.notEqual((await run("postgres")).status, 0)
  })
})
