/**
 * What a person sees who uses the library wrongly, to the letter. The rows are in test/misuse, and make the tables of
 * docs/errors.md: test/misuse/document.ts writes them there. Stores that are servers: misuse.integration.test.ts.
 */
import { NodeHttpServer } from "@effect/platform-node"
import { afterAll, assert, beforeAll, describe, it, layer } from "@effect/vitest"
import { Cause, Effect, Exit, Layer, Logger } from "effect"
import { HttpRouter, HttpServer } from "effect/http"
import { SessionMiddleware } from "effect-sessions"
import { once } from "node:events"
import { readFileSync, rmSync, writeFileSync } from "node:fs"
import { createServer } from "node:http"
import type { AddressInfo } from "node:net"
import { join } from "node:path"
import { document } from "./misuse/document.ts"
import { check, install } from "./misuse/installed.ts"
import { headOf } from "./misuse/head.ts"
import { programs, run } from "./misuse/programs.ts"
import { requests, UserSession } from "./misuse/requests.ts"
import { settings, several } from "./misuse/settings.ts"
import { fileOf, missing, prelude, refused } from "./misuse/types.ts"
import * as Stack from "./support/stack.ts"

describe("what is set up wrong", () => {
  for (const { did, layer: wrong, of, sees } of [...settings, several]) {
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

describe("what does not compile, or does not start", () => {
  let folder: string
  beforeAll(() => {
    folder = install()
  }, 120_000)
  afterAll(() => rmSync(folder, { recursive: true, force: true }))

  it("is told by the compiler", { timeout: 120_000 }, () => {
    const all = [...missing, ...refused]
    const files = all.map((row, i) => [`row${i}.ts`, fileOf(row)] as const)
    const messages = check(folder, { "prelude.ts": prelude, ...Object.fromEntries(files) })
    assert.isUndefined(messages.get("prelude.ts"))
    all.forEach((row, i) => {
      const said = messages.get(`row${i}.ts`) ?? "it compiles"
      if (i >= missing.length) assert.strictEqual(said, row.sees, row.did)
      else {
        // The first layer or effect that the message names.
        const [, needs] = /(?:Layer<never|Effect<number), [^,]*, ([^,]*)>(?:\) =>|' is not)/.exec(said) ?? [said, said]
        assert.strictEqual(needs, row.sees, row.did)
      }
    })
  })

  it("ends the process with 1, and a message that says why", { timeout: 120_000 }, async () => {
    const other = createServer().listen(0)
    await once(other, "listening")
    // Listening on a port, not on a path.
    const { port } = other.address() as AddressInfo
    const ended = programs.map(async (program, i) => {
      const file = `program${i}.ts`
      if ("code" in program.run) writeFileSync(join(folder, file), program.run.code)
      const { code, output } = await run(program, folder, file, port)
      // Node shows the properties of an error behind its message.
      const lines = output.split("\n").map((line) => line.replace(/^\[[\d:.]+\] \w+ \(#\d+\): /, ""))
      // Behind the message of an error stand its properties.
      const text = lines.map((line) => line.replace(/ *\{?$/, "")).join("\n")
      assert.include(`\n${text}\n`, `\n${program.sees}\n`, program.did)
      assert.strictEqual(code, 1, program.did)
    })
    await Promise.all(ended).finally(() => other.close())
  })
})

it("docs/errors.md has these tables: if not, run test/misuse/document.ts", () => {
  const { expected, written } = document()
  assert.strictEqual(written, expected)
  assert.include(written, several.sees)
  const redacted = readFileSync(new URL("../src/internal/token/redacted.ts", import.meta.url), "utf8")
  assert.include(redacted, /^a session token cannot be opened: .*$/m.exec(written)![0])
})
