/**
 * What a person sees who uses the library wrongly, to the letter. The tables are those of docs/errors.md, which is
 * compared with them: `node --import ./test/support/resolveSource.ts test/misuse/write.ts` writes them there.
 */
import { NodeHttpServer } from "@effect/platform-node"
import { assert, describe, it, layer } from "@effect/vitest"
import { Cause, Effect, Exit, Layer, Logger } from "effect"
import { HttpRouter, HttpServer } from "effect/http"
import { SessionMiddleware } from "effect-sessions"
import { createServer } from "node:http"
import { requests, UserSession } from "./misuse/requests.ts"
import { settings } from "./misuse/settings.ts"
import * as Stack from "./support/stack.ts"

/** The head of what is printed: without the stack and the causes that follow. */
const headOf = (text: string): string => text.replace(/(?: \{)?\n\s+(?:at (?!\[")|\[cause\]).*/s, "")

describe("what is set up wrong", () => {
  for (const { did, layer: wrong, of, sees } of settings) {
    it.effect(did, () =>
      Effect.gen(function* () {
        const exit = yield* Effect.exit(Effect.scoped(Layer.build(wrong)))
        assert.strictEqual(
          Exit.isFailure(exit) ? headOf(Cause.pretty(exit.cause)) : "it is built",
          of === undefined ? sees : `SessionConfigError: session configuration of ${of}:\n  - ${sees}`
        )
      })
    )
  }
})

describe("what a handler does wrong", () => {
  const lines: Array<string> = []
  const logger = Logger.make(({ cause, message }) => {
    lines.push(cause.reasons.length > 0 ? Cause.pretty(cause) : String(message))
  })
  const Routes = HttpRouter.addAll(requests.map(({ handler }, i) => HttpRouter.route("POST", `/${i}`, handler))).pipe(
    Layer.provide(SessionMiddleware.router(UserSession).layer)
  )
  const Server = HttpRouter.serve(Routes).pipe(
    Layer.provideMerge(NodeHttpServer.layer(createServer, { port: 0, host: "127.0.0.1" })),
    Layer.provide(Stack.http(UserSession)),
    Layer.provideMerge(Logger.layer([logger]))
  )
  layer(Server, { excludeTestServices: true })((it) => {
    requests.forEach(({ answer, did, sees }, i) => {
      it.effect(did, () =>
        Effect.gen(function* () {
          const { address } = yield* HttpServer.HttpServer
          lines.length = 0
          const url = `http://127.0.0.1:${"port" in address ? address.port : 0}/${i}`
          const answered = yield* Effect.tryPromise(async () => {
            const response = await fetch(url, { method: "POST" })
            await response.text()
            return `${response.status}${response.headers.has("set-cookie") ? ", and a cookie" : ""}`
          }).pipe(Effect.orElseSucceed(() => "cut off"))
          while (lines.length === 0) yield* Effect.sleep(1)
          assert.deepStrictEqual([answered, lines.map(headOf)], [answer, [sees]])
        })
      )
    })
  })
})
