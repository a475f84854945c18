/** Some of the faults, for a short time each. `npm run test:faults` runs all of them, and longer. */
import { afterAll, assert, beforeAll, it } from "@effect/vitest"
import { faults, type Laboratory, openLaboratory, type Store } from "./faults/faults.ts"
import { hasMariaDbServer } from "./support/mariadb.ts"
import { hasPostgresServer, hasRedisServer, needing } from "./support/processes.ts"

const suite = (describe: ReturnType<typeof needing>, store: Store, names: ReadonlyArray<string>) =>
  describe(`faults of ${store}`, { timeout: 120_000 }, () => {
    let laboratory: Laboratory
    beforeAll(async () => {
      laboratory = await openLaboratory(store)
    }, 120_000)
    afterAll(() => laboratory?.dispose())

    for (const [seed, name] of names.entries()) {
      const fault = faults.find((fault) => fault.store === store && fault.name === name)
      it(`${fault?.rows} ${name}: answers in time, accepts no ended session, undoes no logout, and recovers`, async () => {
        assert.isDefined(fault)
        const result = await laboratory.run(fault, { millis: 2500, perSecond: 50, seed })
        assert.deepStrictEqual(result.violations, [])
        assert.isAbove(result.requests, 100)
      })
    }
  })

const withRedis = needing(hasRedisServer(), "there is no redis-server on the PATH to start")
const withPostgres = needing(hasPostgresServer(), "there is no Postgres in /usr/lib/postgresql to start")
const withMariaDb = needing(hasMariaDbServer(), "there is no MariaDB server to start")
suite(withRedis, "redis", [
  "killed, restarted empty",
  "frozen and thawed",
  "connections reset at byte k",
  "out of memory"
])
suite(withRedis, "redis with AOF", ["killed, restarted from its AOF"])
suite(withPostgres, "postgres", [
  "killed, restarted, recovered",
  "frozen and thawed",
  "connections reset at byte k",
  "table locked"
])
suite(withMariaDb, "mariadb", [
  "killed, restarted, recovered",
  "frozen and thawed",
  "connections reset at byte k",
  "table locked"
])
