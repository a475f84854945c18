/**
 * A TCP proxy that counts round trips: how often the server, having been answered (or at first), speaks again. Several
 * commands sent together are one round trip, which is what a request waits for.
 */
import { once } from "node:events"
import { connect, createServer } from "node:net"
import { portOf } from "./common.ts"

export const startProxy = async (target: { readonly host: string; readonly port: number }) => {
  let roundTrips = 0
  const server = createServer((client) => {
    const store = connect(target.port, target.host)
    let waiting = false
    client.on("data", (chunk) => {
      if (!waiting) roundTrips++
      waiting = true
      store.write(chunk)
    })
    store.on("data", (chunk) => {
      waiting = false
      client.write(chunk)
    })
    client.on("error", () => {}).on("close", () => store.destroy())
    store.on("error", () => {}).on("close", () => client.destroy())
  })
  server.listen(0, "127.0.0.1")
  await once(server, "listening")
  return { port: portOf(server), roundTrips: () => roundTrips, [Symbol.dispose]: () => server.close() }
}
