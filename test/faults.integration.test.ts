/** Some of the faults, for a short time each. `npm run test:faults` runs all of them, and longer. */
import { afterAll, assert, beforeAll, it } from "@effect/vitest"
import { faults, type Laboratory, openLaboratory, type Store } from "./faults/faults.ts"
import { hasMariaDbServer } from "./support/mariadb.ts"
import { floods, runFlood } from "./faults/flood.ts"
import { hasPostgresServer, hasRedisServer, needing, OwnPostgres } from "./support/processes.ts"

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
  "table locked",
  "too many connections"
])
suite(withMariaDb, "mariadb", [
  "killed, restarted, recovered",
  "frozen and thawed",
  "connections reset at byte k",
  "table locked"
])

withPostgres("floods of requests on a Postgres that fails", { timeout: 240_000 }, () => {
  let postgres: OwnPostgres
  beforeAll(async () => {
    postgres = await OwnPostgres.start()
  }, 120_000)
  afterAll(() => postgres?.dispose())

  const flood = (name: string) =>
    runFlood(
      postgres,
      floods.find((flood) => flood.name === name)!,
      { millis: 2500, perSecond: 300, blockLimit: 400 }
    )

  for (const name of ["no connection is granted", "stopped (SIGSTOP)", "killed, restarted"]) {
    it(`[R78] [R79] ${name}: every answer is in time, the process is never blocked, and it recovers`, async () => {
      const { rates, samples, violations } = await flood(name)
      assert.deepStrictEqual(violations, [])
      assert.isAbove(samples.filter(({ status }) => status === 503).length, 0)
      assert.isAbove(rates[2], rates[0] / 4)
    })
  }

  it("[R78] [R79] three connections of ten serve about what a pool of three does, where more come than can be served", async () => {
    const three = await flood("a pool of three, overloaded")
    const ofTen = await flood("three connections of ten, overloaded")
    assert.deepStrictEqual([...three.violations, ...ofTen.violations], [])
    assert.isAbove(ofTen.rates[1], three.rates[1] / 3)
  })
})
