/**
 * The parts of a request, each by itself: `npm run micro`. Reads the sources, internal modules included.
 *
 * Parts that are effects are run with `Effect.runSync`, whose own cost is the first line.
 */
import * as NodeCrypto from "@effect/platform-node/NodeCrypto"
import * as cookie from "cookie"
import * as DateTime from "effect/DateTime"
import * as Effect from "effect/Effect"
import * as Cookies from "effect/http/Cookies"
import * as Headers from "effect/http/Headers"
import * as HttpServerResponse from "effect/http/HttpServerResponse"
import * as Layer from "effect/Layer"
import * as Redacted from "effect/Redacted"
import * as Schema from "effect/Schema"
import { randomBytes } from "node:crypto"
import { parseArgs } from "node:util"
import { Bench } from "tinybench"
import * as CookieHeader from "../src/internal/frontend/cookieHeader.ts"
import * as SessionData from "../src/internal/manager/sessionData.ts"
import * as MemoryStore from "../src/internal/backend/memoryStore.ts"
import * as TokenCrypto from "../src/internal/token/tokenCrypto.ts"
import * as Session from "../src/Session.ts"
import * as SessionManager from "../src/SessionManager.ts"
import { SessionBackend, type SessionRecord } from "../src/SessionBackend.ts"
import * as SessionKeys from "../src/SessionKeys.ts"
import * as SessionToken from "../src/internal/token/token.ts"
import * as SessionVerifier from "../src/SessionVerifier.ts"
import { environment, resultPath, saveResult, versionsOf } from "./environment.ts"
import type { MicroResult } from "./results.ts"

const { values: flags } = parseArgs({
  options: { time: { type: "string", default: "500" }, out: { type: "string", default: resultPath("micro") } }
})

const UserData = Schema.Struct({ username: Schema.String })
class UserSession extends Session.Service<UserSession>()("bench/UserSession", {
  data: UserData,
  principal: (data) => data.username
}) {}

const store = MemoryStore.make({ maxSessions: 10_000_000, maxBytes: 2 ** 40 })
const secret = Redacted.make(randomBytes(32).toString("base64"))
const context = await Effect.runPromise(
  Layer.build(
    SessionManager.layer(UserSession).pipe(
      Layer.provideMerge(SessionVerifier.layerExists(UserSession)),
      Layer.provideMerge(Layer.succeed(SessionBackend, store)),
      Layer.provideMerge(SessionKeys.layer(secret)),
      Layer.provideMerge(NodeCrypto.layer)
    )
  ).pipe(Effect.scoped)
)
const run = Effect.runSyncWith(context)
const prepare = Effect.runPromiseWith(context)

const manager = run(UserSession.Manager)
const session = await prepare(manager.create({ username: "ada" }))
const token = Redacted.value(session.token)
const forged = Redacted.make(`${token.slice(0, -2)}${token.at(-2) === "A" ? "B" : "A"}${token.at(-1)}`)
const tokens = SessionToken.make(
  await prepare(
    Effect.flatMap(SessionKeys.SessionKeys, ({ signers }) => signers(SessionToken.purpose("bench/UserSession")))
  )
)
const sha256 = await prepare(TokenCrypto.sha256)
const codec = SessionData.make(UserSession)
const text = JSON.stringify({ username: "ada" })

const name = "__Host-session"
const oneCookie = `${name}=${token}`
const tenCookies = [...Array.from({ length: 9 }, (_, i) => `preference-${i}=${"v".repeat(24)}`), oneCookie].join("; ")

// Enough records that a look-up is not always of the one in the cache.
const ids: Array<string> = []
let now = 0
const record = (id: string, principal: string): SessionRecord => ({
  namespace: "bench/UserSession",
  id,
  secretHash: "h".repeat(43),
  version: 1,
  principal,
  data: text,
  dataVersion: 1,
  extension: "{}",
  createdAt: now,
  authenticatedAt: now,
  lastSeenAt: now,
  idleTimeout: 3_600_000,
  idleExpiresAt: now + 3_600_000,
  absoluteExpiresAt: now + 86_400_000,
  persistent: true
})
const newId = (): string => randomBytes(16).toString("base64url")
for (let i = 0; i < 100_000; i++) {
  const id = newId()
  ids.push(id)
  run(store.create(record(id, id)))
}
let turn = 0
const anyId = (): string => ids[(turn = (turn + 7919) % 100_000)]!

const browserHeaders = {
  host: "app.test",
  cookie: oneCookie,
  "user-agent": "Mozilla/5.0 (X11; Linux x86_64; rv:140.0) Gecko/20100101 Firefox/140.0",
  accept: "text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8",
  "accept-language": "en-US,en;q=0.5",
  "accept-encoding": "gzip, deflate, br, zstd",
  referer: "https://app.test/",
  connection: "keep-alive",
  "sec-fetch-dest": "document",
  "sec-fetch-mode": "navigate",
  "sec-fetch-site": "same-origin",
  "sec-fetch-user": "?1",
  priority: "u=0, i"
}
const response = HttpServerResponse.jsonUnsafe({ username: "ada" })
const twoHeaders = { vary: "Cookie", "cache-control": "no-store" }

const bench = new Bench({ time: Number(flags.time), warmupTime: Number(flags.time) / 2 })
bench
  .add("Effect.runSync alone", () => run(Effect.void))
  .add("cookie, 1 in the header: ours", () => CookieHeader.values(oneCookie, name))
  .add("cookie, 1 in the header: npm cookie", () => cookie.parseCookie(oneCookie)[name])
  .add("cookie, 1 in the header: Effect's", () => Cookies.parseHeader(oneCookie)[name])
  .add("cookie, 10 in the header: ours", () => CookieHeader.values(tenCookies, name))
  .add("cookie, 10 in the header: npm cookie", () => cookie.parseCookie(tenCookies)[name])
  .add("cookie, 10 in the header: Effect's", () => Cookies.parseHeader(tenCookies)[name])
  .add("Effect: Redacted.make", () => Redacted.make(token))
  .add("Effect: DateTime.makeUnsafe", () => DateTime.makeUnsafe(turn++))
  .add("Effect: Headers.fromInput, a browser's 13", () => Headers.fromInput(browserHeaders))
  .add("Effect: setHeaders, two on JSON", () => HttpServerResponse.setHeaders(response, twoHeaders))
  .add("token: check", () => run(tokens.check(session.token)))
  .add("token: check, forged", () => run(Effect.exit(tokens.check(forged))))
  .add("token: hash of the secret", () => run(sha256(token.slice(35, 78))))
  .add("data: decode", () => codec.decode({ data: text, dataVersion: 1 }))
  .add("data: encode", () => codec.encode({ username: "ada" }))
  .add("memory backend: read", () => run(store.read("bench/UserSession", anyId())))
  .add("memory backend: update", () => {
    const id = anyId()
    const found = run(store.read("bench/UserSession", id))
    if (found._tag === "None") throw new Error("a record has gone")
    return run(
      store.update("bench/UserSession", id, found.value.version, { data: text, lastSeenAt: now, idleExpiresAt: now })
    )
  })
  .add("memory backend: touch", () => {
    now++
    return run(store.touch("bench/UserSession", anyId(), { lastSeenAt: now, idleExpiresAt: now + 3_600_000 }))
  })
  .add("a new id, for comparison with the next two", () => newId())
  .add("memory backend: create and delete, ever new users", () => {
    const id = newId()
    run(store.create(record(id, id)))
    return run(store.delete("bench/UserSession", id))
  })
  .add("memory backend: create and delete, one user", () => {
    const id = newId()
    run(store.create(record(id, "grace")))
    return run(store.delete("bench/UserSession", id))
  })
  .add("manager: resolve, all of the above that a read needs", () => run(manager.resolve(session.token)))

await bench.run()

const parts = bench.tasks.map((task) => {
  if (task.result.state !== "completed") throw new Error(`${task.name} did not complete`)
  const { latency } = task.result
  return { name: task.name, nanoseconds: Math.round(latency.p50 * 1e6), mean: Math.round(latency.mean * 1e6) }
})
const width = Math.max(...parts.map((part) => part.name.length))
console.log(`${"".padEnd(width)}  median ns    mean ns`)
for (const part of parts) {
  console.log(`${part.name.padEnd(width)}  ${String(part.nanoseconds).padStart(9)}  ${String(part.mean).padStart(9)}`)
}
const result: MicroResult = {
  environment: environment(),
  versions: versionsOf(["effect", "cookie", "tinybench"]),
  parts
}
saveResult(flags.out, result)
