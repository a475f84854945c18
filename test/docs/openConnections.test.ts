/** The recipes of docs/open-connections.md do what they say: their own code, on a real server with real clients. */
import { NodeHttpServer } from "@effect/platform-node"
import { assert, describe, it } from "@effect/vitest"
import { Context, Effect, Layer, Redacted, Stream } from "effect"
import { HttpRouter, HttpServer } from "effect/http"
import { type SessionManager } from "effect-sessions"
import { SessionTest } from "effect-sessions/testing"
import { createServer } from "node:http"
import { modulesOf } from "../support/fences.ts"

const recipe = modulesOf("docs/open-connections.md")
const { UserSession } = await recipe("session")
const { Feed } = await recipe("feed")
const { Echo } = await recipe("socket")
const { untilEnded } = await recipe("goodbye")

interface Data {
  readonly username: string
}

/** The recipes on a server, with its port and the manager. */
const serving = Effect.gen(function* () {
  const context = yield* Layer.build(
    HttpRouter.serve(Layer.mergeAll(Feed as Layer.Layer<never>, Echo as Layer.Layer<never>), {
      disableLogger: true,
      disableListenLog: true
    }).pipe(
      Layer.provideMerge(
        Layer.merge(
          SessionTest.layer(UserSession) as Layer.Layer<never>,
          NodeHttpServer.layer(createServer, { port: 0, host: "127.0.0.1", gracefulShutdownTimeout: 0 })
        )
      )
    )
  )
  const { address } = Context.get(context, HttpServer.HttpServer)
  if (address._tag !== "InetAddressV4") throw new Error(`listening on ${address._tag}`)
  const manager = Context.getUnsafe(context, UserSession.Manager) as SessionManager.SessionManager<Data, readonly []>
  const session = yield* manager.create({ username: "ada" })
  const cookie = `__Host-session=${Redacted.value(session.token)}`
  return { manager, session, cookie, host: `127.0.0.1:${address.port}` }
})

describe("docs/open-connections.md", () => {
  it.live("a feed ends with its session, and the next one is answered 401", () =>
    Effect.gen(function* () {
      const { cookie, host, manager, session } = yield* serving
      const ask = Effect.promise((signal) => fetch(`http://${host}/feed`, { headers: { cookie }, signal }))
      const response = yield* ask
      assert.strictEqual(response.status, 200)
      const reader = response.body!.getReader()
      const text = (chunk: { readonly value?: Uint8Array | undefined }) => new TextDecoder().decode(chunk.value)
      assert.match(text(yield* Effect.promise(() => reader.read())), /^data: \d+\n\n/)

      yield* manager.destroy(session.token)
      // To its end, by itself: a body that is cut off rejects.
      const rest = Effect.promise(async () => {
        while (!(await reader.read()).done);
      })
      yield* Effect.timeout(rest, "10 seconds")
      assert.strictEqual((yield* ask).status, 401)
    })
  )

  it.live("a feed says last that its session has ended", () =>
    Effect.gen(function* () {
      const session = yield* UserSession as Effect.Effect<{ readonly destroy: Effect.Effect<void> }>
      const events = Stream.succeed("data: 1\n\n").pipe(
        Stream.concat(Stream.drain(Stream.fromEffect(session.destroy))),
        Stream.concat(Stream.never)
      )
      const body = yield* untilEnded(events) as Effect.Effect<Stream.Stream<Uint8Array>>
      const all = yield* body.pipe(Stream.decodeText, Stream.mkString)
      assert.match(all, /^data: 1\n\nevent: ended\ndata: Session\w+\n\n$/)
    }).pipe(Effect.provide(SessionTest.layerVerified(UserSession, { username: "ada" }) as Layer.Layer<never>))
  )

  it.live("[R88c] a WebSocket is closed with 1008", () =>
    Effect.gen(function* () {
      const { cookie, host, manager, session } = yield* serving
      const headers = { cookie, origin: `http://${host}` }
      // Node's own takes headers, which browsers do not; its types are the browsers'.
      const socket = new WebSocket(`ws://${host}/echo`, { headers } as unknown as Array<string>)
      const next = <E extends Event>(name: string) =>
        Effect.promise(() => new Promise<E>((resolve) => socket.addEventListener(name, (event) => resolve(event as E))))
      yield* next("open")
      socket.send("hello")
      assert.strictEqual((yield* next<MessageEvent>("message")).data, "hello")

      yield* manager.revokeAll("ada")
      const closed = yield* Effect.timeout(next<CloseEvent>("close"), "10 seconds")
      assert.deepStrictEqual([closed.code, closed.reason], [1008, "session ended"])
      assert.isTrue((yield* manager.get(session.id))._tag === "None")
    })
  )
})
