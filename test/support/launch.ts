/** Runs a server in a process of its own, on any port, which it prints as soon as it listens. */
import { NodeHttpServer, NodeRuntime } from "@effect/platform-node"
import { Effect, Layer } from "effect"
import { HttpServer } from "effect/http"
import { createServer } from "node:http"

// Longer than a test pauses: a client that sends on a connection just being closed gets no answer.
const Node = NodeHttpServer.layer(() => createServer({ keepAliveTimeout: 120_000, requestTimeout: 0 }), {
  port: 0,
  host: "127.0.0.1"
})

const Announced = Layer.effectDiscard(
  Effect.gen(function* () {
    const { address } = yield* HttpServer.HttpServer
    if ("port" in address) console.log(`PORT=${address.port}`)
  })
)

export const launch = <E>(server: Layer.Layer<never, E, Layer.Success<typeof Node>>): void => {
  // A test that is killed cannot end its server; its end of the pipe closes all the same.
  process.stdin.on("end", () => process.exit()).resume()
  // It says so once the server has its routes.
  Announced.pipe(Layer.provide(server), Layer.provide(Node), Layer.launch, NodeRuntime.runMain)
}
