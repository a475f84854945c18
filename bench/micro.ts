/**
 * The parts of a request, each by itself in a loop: `npm run micro`, with `-- --time MS` for each. Reads the sources, internal
 * modules included, and prints medians. What is an effect is run with `Effect.runSync`, whose own cost is the first line.
 */
import * as NodeCrypto from "@effect/platform-node/NodeCrypto"
import { Effect, Layer, Option, Redacted, Schema } from "effect"
import { randomBytes } from "node:crypto"
import { parseArgs } from "node:util"
import { Bench } from "tinybench"
import { Session, SessionBackend, SessionKeys, SessionManager, SessionVerifier } from "../src/index.ts"
import * as MemoryStore from "../src/internal/backend/memoryStore.ts"
import * as SessionData from "../src/internal/manager/sessionData.ts"
import * as SessionToken from "../src/internal/token/token.ts"
import { forge } from "./servers/requests.ts"

const { values: flags } = parseArgs({ options: { time: { type: "string", default: "500" } } })

const namespace = "bench/UserSession"
class UserSession extends Session.Service<UserSession>()(namespace, {
  data: Schema.Struct({ username: Schema.String }),
  principal: (data) => data.username
}) {}

const store = MemoryStore.make({ maxSessions: 10_000_000, maxBytes: 2 ** 40 })
const context = SessionManager.layer(UserSession).pipe(
  Layer.provideMerge(SessionVerifier.layerExists(UserSession)),
  Layer.provideMerge(Layer.succeed(SessionBackend.SessionBackend, store)),
  Layer.provideMerge(SessionKeys.layer(Redacted.make(randomBytes(32).toString("base64")))),
  Layer.provideMerge(NodeCrypto.layer),
  Layer.build,
  Effect.scoped
)
const services = await Effect.runPromise(context)
const run = Effect.runSyncWith(services)

const manager = run(UserSession.Manager)
const session = await Effect.runPromiseWith(services)(manager.create({ username: "ada" }))
const text = Redacted.value(session.token)
const forged = Redacted.make(forge(text))
const keys = Effect.flatMap(SessionKeys.SessionKeys, ({ signers }) => signers(SessionToken.purpose(namespace)))
const tokens = SessionToken.make(await Effect.runPromiseWith(services)(keys))
const codec = SessionData.make(UserSession)

const template = Option.getOrThrow(run(store.read(namespace, session.id)))
const newId = (): string => randomBytes(16).toString("base64url")
// Enough records that a look-up is not always of the one in the cache.
const ids = Array.from({ length: 100_000 }, newId)
for (const id of ids) run(store.create({ ...template, id, principal: id }))
let turn = 0
const anyId = (): string => ids[(turn = (turn + 7919) % ids.length)]!
const created = () => run(manager.create({ username: newId() }))

const bench = new Bench({ time: Number(flags.time), warmupTime: Number(flags.time) / 2 })
  .add("Effect.runSync alone", () => run(Effect.void))
  .add("token: check", () => run(tokens.check(session.token)))
  .add("token: check, forged", () => run(Effect.exit(tokens.check(forged))))
  .add("data: decode", () => codec.decode({ data: template.data, dataVersion: template.dataVersion }))
  .add("data: encode", () => codec.encode({ username: "ada" }))
  .add("memory backend: read", () => run(store.read(namespace, anyId())))
  .add("memory backend: read and update", () => {
    const { data, id, idleExpiresAt, lastSeenAt, version } = Option.getOrThrow(run(store.read(namespace, anyId())))
    return run(store.update(namespace, id, version, { data, lastSeenAt, idleExpiresAt }))
  })
  .add("a new id, for comparison with what follows", newId)
  .add("memory backend: create and delete", () => {
    const id = newId()
    run(store.create({ ...template, id, principal: id }))
    return run(store.delete(namespace, id))
  })
  .add("manager: resolve, which is a read", () => run(manager.resolve(session.token)))
  .add("manager: modify", () => run(manager.modify(session.token, (data) => [undefined, data])))
  .add("manager: create and destroy", () => run(manager.destroy(created().token)))
await bench.run()

for (const { name, result } of bench.tasks) {
  if (result.state !== "completed") throw new Error(`${name} did not complete`)
  console.log(`${name.padEnd(42)} ${(result.latency.p50 * 1e6).toFixed(0).padStart(7)} ns`)
}
