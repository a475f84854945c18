/**
 * Log-ins in two processes on one store, against what ends sessions, and against changes of what the visitor had.
 * `test/scale/logins.ts` does the same with more of them, and on MySQL.
 */
import { afterAll, assert, beforeAll, it } from "@effect/vitest"
import { type Backend, races } from "./support/logInStores.ts"
import { databaseUrl, hasRedisServer, listens, needing } from "./support/processes.ts"

const suite = (describe: ReturnType<typeof needing>, backend: Backend) =>
  describe(`log-ins in two processes on one ${backend}`, { timeout: 120_000 }, () => {
    let on: Awaited<ReturnType<typeof races>>
    beforeAll(async () => {
      on = await races(backend)
    })
    afterAll(() => on?.dispose())

    it("[R49] [R73] no session stands whose log-in began before a revocation, and those that began after it do", async () => {
      const { problems, ...counted } = await on.revocations({ logIns: 1000, inFlight: 100 })
      assert.deepStrictEqual(problems, [], JSON.stringify(counted))
      // They did meet.
      assert.isAbove(counted.superseded, 0)
      assert.isAbove(counted.later, 0)
    })

    it("[R51] of 100 log-ins at once where 5 sessions may live, 5 do, or 6 until the next log-in", async () => {
      const { problems, ...counted } = await on.limited({ rounds: 3, atOnce: 100 })
      assert.deepStrictEqual(problems, [], JSON.stringify(counted))
    })

    it("[R46] no item that was added to a cart, and answered, is lost by a log-in beside it", async () => {
      const { problems, ...counted } = await on.carts({ carts: 200, inFlight: 50, items: 6 })
      assert.deepStrictEqual(problems, [], JSON.stringify(counted))
      // Some came before the log-in, and others after it.
      assert.isAbove(counted.answered, 200)
      assert.isAbove(counted.refused, 0)
    })
  })

const withRedis = needing(hasRedisServer(), "there is no redis-server on the PATH to start")
const withPostgres = needing(await listens(databaseUrl, 5432), "no Postgres at DATABASE_URL, nor at 127.0.0.1:5432")
suite(withRedis, "redis")
suite(withPostgres, "postgres")
