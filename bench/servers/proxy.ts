/**
 * A TCP proxy that counts round trips: how often the server, having been answered (or at first), speaks again. Several
 * commands sent together are one round trip, which is what a request waits for.
 */
import { once } from "node:events"
import { connect, createServer, type AddressInfo } from "node:net"

export interface Proxy {
  readonly port: number
  readonly roundTrips: () => number
  readonly [Symbol.dispose]: () => void
}

export const startProxy = async (target: { readonly host: string; readonly port: number }): Promise<Proxy> => {
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
  const { port } = server.address() as AddressInfo // a TCP server that listens has one
  return { port, roundTrips: () => roundTrips, [Symbol.dispose]: () => server.close() }
}
