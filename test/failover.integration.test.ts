/** What failover undoes, on three of the set-ups. `npm run test:failover` has the others, and makes the documents' table. */
import { assert, it } from "@effect/vitest"
import { type Outcome, run, type Setup, setups } from "./failover/setups.ts"
import { hasPostgresServer, hasRedisServer, needing } from "./support/processes.ts"

const measured = (store: Setup["store"], name: string, seconds = 1): Promise<Outcome> => {
  const setup = setups.find((setup) => setup.store === store && setup.name.startsWith(name) && setup.what === "closed")
  assert.isDefined(setup)
  return run(setup, { seconds, limit: 100_000 })
}

const withRedis = needing(hasRedisServer(), "there is no redis-server on the PATH to start")
const withPostgres = needing(hasPostgresServer(), "there is no Postgres in /usr/lib/postgresql to start")

withRedis("failover of Redis", { timeout: 120_000 }, () => {
  it("undoes acknowledged log-outs where replication is asynchronous, and the measurement sees them", async () => {
    const { lost, refused, undone } = await measured("redis", "asynchronous")
    assert.isAbove(undone, 10)
    assert.isAbove(lost, 5)
    assert.strictEqual(refused, 0)
  })

  it("undoes none with min-replicas, which refuses them", async () => {
    const { logOuts, refused, undone } = await measured("redis", "`min-replicas")
    // What was on its way at the very moment of the cut may be among them.
    assert.isAtMost(undone, 2)
    assert.isAbove(logOuts, 10)
    assert.isAbove(refused, 10)
  })
})

withPostgres("failover of Postgres", { timeout: 120_000 }, () => {
  it("undoes none where replication is synchronous, not even one that was refused first and acknowledged later", async () => {
    const { logOuts, note, refused, secondUndone, undone } = await measured("postgres", "`synchronous_standby_names", 3)
    assert.deepStrictEqual([undone, secondUndone], [0, 0])
    assert.isAbove(logOuts, 10)
    assert.isAbove(refused, 0)
    // The promoted one waits for a standby of its own until it is told that there is none.
    assert.match(note!, /a log-in 503 after .*; with the setting cleared 200 after/)
  })
})
