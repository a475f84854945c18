/**
 * A Redis of the run's own: nobody else's is touched, and it shares the client's core, not the servers'.
 */
import { spawn, spawnSync } from "node:child_process"
import { once } from "node:events"
import { connect, createServer, type AddressInfo } from "node:net"

export interface PrivateRedis {
  readonly url: string
  readonly stop: () => Promise<void>
}

/**
 * The shell keeps Redis until its own standard input ends, which happens however the run ends, SIGKILL included. The
 * temporary folder stays empty, as nothing is saved.
 */
const script = `
folder=$(mktemp -d -t bench-redis-XXXXXX)
taskset -c "$1" redis-server --port "$2" --bind 127.0.0.1 --save "" --appendonly no --dir "$folder" >/dev/null 2>&1 &
read -r _
kill $!
wait
rmdir "$folder"
`

const freePort = async (): Promise<number> => {
  const server = createServer().listen(0, "127.0.0.1")
  await once(server, "listening")
  const { port } = server.address() as AddressInfo // a TCP server that listens has one
  server.close()
  await once(server, "close")
  return port
}

const answers = (port: number): Promise<boolean> =>
  new Promise((resolve) => {
    const socket = connect(port, "127.0.0.1")
    const settle = (answer: boolean) => {
      socket.destroy()
      resolve(answer)
    }
    socket.once("connect", () => settle(true)).once("error", () => settle(false))
  })

/** Starts it on a free port; `undefined` where there is no `redis-server`. */
export const startRedis = async (core: number): Promise<PrivateRedis | undefined> => {
  if (spawnSync("redis-server", ["--version"]).error !== undefined) return undefined
  const port = await freePort()
  // Detached, so that Ctrl-C ends the run alone, and the shell can still clean up.
  const shell = spawn("sh", ["-c", script, "sh", String(core), String(port)], {
    stdio: ["pipe", "ignore", "ignore"],
    detached: true
  })
  const stop = async () => {
    if (shell.exitCode !== null) return
    const gone = once(shell, "exit")
    shell.stdin.end()
    await gone
  }
  for (let attempt = 0; attempt < 100; attempt++) {
    if (await answers(port)) return { url: `redis://127.0.0.1:${port}/0`, stop }
    await new Promise((resolve) => setTimeout(resolve, 50))
  }
  await stop()
  throw new Error("redis-server did not answer in 5 seconds")
}

/**
 * Puts the address of a Redis of the run's own into BENCH_REDIS_URL, which the servers inherit, unless the user named one
 * there or there is no `redis-server`. Answers with what ends it.
 */
export const provideRedis = async (core: number): Promise<() => Promise<void>> => {
  const redis = process.env["BENCH_REDIS_URL"] === undefined ? await startRedis(core) : undefined
  if (redis === undefined) return async () => {}
  process.env["BENCH_REDIS_URL"] = redis.url
  return async () => {
    delete process.env["BENCH_REDIS_URL"]
    await redis.stop()
  }
}
