/** The link on which a replica follows its primary, and two ways to lose it. */
import { once } from "node:events"
import { type AddressInfo, connect, createServer, type Server, type Socket } from "node:net"

/**
 * `closed`: connections are reset, so the primary knows at once. `silent`: nothing arrives any more and nobody is told,
 * as when a switch dies or a firewall drops.
 */
export type Cut = "closed" | "silent"

export class Link {
  readonly port: number
  readonly #server: Server
  readonly #target: number
  readonly #sockets = new Set<Socket>()
  #cut: Cut | undefined

  private constructor(server: Server, target: number) {
    this.#server = server
    this.#target = target
    // It listens on a port, not on a path.
    this.port = (server.address() as AddressInfo).port
    server.on("connection", (socket) => this.#serve(socket))
  }

  /** A port that leads to another one on this machine. */
  static async to(target: number): Promise<Link> {
    const server = createServer().listen(0, "127.0.0.1")
    await once(server, "listening")
    return new Link(server, target)
  }

  #keep(socket: Socket): void {
    this.#sockets.add(socket)
    socket
      .setNoDelay(true)
      .on("error", () => {})
      .on("close", () => this.#sockets.delete(socket))
  }

  #serve(replica: Socket): void {
    this.#keep(replica)
    if (this.#cut === "closed") return void replica.resetAndDestroy()
    // It is accepted and hears nothing.
    if (this.#cut === "silent") return void replica.resume()
    const primary = connect({ port: this.#target, host: "127.0.0.1" })
    this.#keep(primary)
    for (const [from, to] of [
      [replica, primary],
      [primary, replica]
    ] as const) {
      // Nobody hears of an end on a link that has gone silent.
      from
        .on("data", (data) => this.#cut === undefined && to.write(data))
        .on("close", () => this.#cut === undefined && to.destroy())
    }
  }

  cut(how: Cut): void {
    this.#cut = how
    if (how === "closed") for (const socket of this.#sockets) socket.resetAndDestroy()
  }

  async dispose(): Promise<void> {
    const closed = once(this.#server, "close")
    this.#server.close()
    for (const socket of this.#sockets) socket.destroy()
    await closed
  }
}
