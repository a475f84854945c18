/** A real server on a port of its own, and clients that send what they are told to, byte by byte. */
import { NodeHttpServer } from "@effect/platform-node"
import { Context, Effect, Layer } from "effect"
import type { Scope } from "effect"
import { HttpRouter, HttpServer } from "effect/http"
import { createServer } from "node:http"
import type { Server } from "node:http"
import type { Http2Server } from "node:http2"
import { connect } from "node:net"

export const listen = <E>(
  routes: Layer.Layer<never, E, HttpRouter.HttpRouter | HttpRouter.Request<"Error", unknown>>,
  make: () => Server | Http2Server = createServer,
  /** What the server itself is given, references such as `Headers.CurrentRedactedNames`. */
  references: Layer.Layer<never> = Layer.empty
): Effect.Effect<number, never, Scope.Scope> =>
  Effect.map(
    Layer.build(
      HttpRouter.serve(routes, { disableLogger: true, disableListenLog: true }).pipe(
        Layer.provide(references),
        Layer.provideMerge(
          NodeHttpServer.layer(make as typeof createServer, { port: 0, host: "127.0.0.1", gracefulShutdownTimeout: 0 })
        ),
        Layer.orDie
      )
    ),
    (context) => {
      // The routes' own errors, which become responses, are all that is left in its type.
      const { address } = Context.get(context as Context.Context<HttpServer.HttpServer>, HttpServer.HttpServer)
      if (address._tag !== "InetAddressV4") throw new Error(`listening on ${address._tag}`)
      return address.port
    }
  )

/** Sends these bytes over a connection of its own, and answers what came back until it was closed. */
export const raw = (port: number, bytes: Buffer): Effect.Effect<string> =>
  Effect.callback<string>((resume) => {
    const chunks: Array<Buffer> = []
    const socket = connect({ port, host: "127.0.0.1" }, () => socket.write(bytes))
    const done = () => resume(Effect.succeed(Buffer.concat(chunks).toString("latin1")))
    socket.on("data", (chunk) => chunks.push(chunk))
    socket.on("close", done)
    // What was received before a reset is the answer.
    socket.on("error", done)
    return Effect.sync(() => socket.destroy())
  })
