/** Serves an app in a process of a test's own, which ends with the test. It prints its port as soon as it answers. */
import { NodeHttpServer, NodeRuntime } from "@effect/platform-node"
import { Effect, Layer } from "effect"
import { HttpServer } from "effect/http"
import { createServer } from "node:http"

const Announced = Layer.effectDiscard(
  Effect.gen(function* () {
    const { address } = yield* HttpServer.HttpServer
    if ("port" in address) console.log(`PORT=${address.port}`)
  })
)

export const launch = (app: Layer.Layer<never, unknown, HttpServer.HttpServer>): void => {
  // A test that is killed cannot end its server; its end of the pipe closes all the same.
  process.stdin.on("end", () => process.exit()).resume()
  Announced.pipe(
    Layer.provide(app),
    Layer.provide(
      // Longer than a test pauses: a client that sends on a connection just being closed gets no answer.
      NodeHttpServer.layer(() => createServer({ keepAliveTimeout: 120_000, requestTimeout: 0 }), {
        port: 0,
        host: "127.0.0.1"
      })
    ),
    Layer.launch,
    NodeRuntime.runMain
  )
}
