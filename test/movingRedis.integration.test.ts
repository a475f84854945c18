/** A Redis that moves, for a short time each. `npm run test:cluster` runs all moves, and longer. */
import { afterAll, assert, beforeAll, it } from "@effect/vitest"
import { moves, openLaboratory, type Conditions, type Laboratory, type Setting } from "./faults/moves.ts"
import { hasHaproxy } from "./support/haproxy.ts"
import { hasRedisServer, needing } from "./support/processes.ts"

const short = { perSecond: 200, slots: 300, times: 1 }

const suite = (describe: ReturnType<typeof needing>, setting: Setting, names: ReadonlyArray<string>) =>
  describe(`a Redis that moves: ${setting}`, { timeout: 120_000 }, () => {
    let laboratory: Laboratory
    beforeAll(async () => {
      laboratory = await openLaboratory(setting)
    }, 120_000)
    afterAll(() => laboratory?.dispose())

    for (const [seed, name] of names.entries()) {
      const move = moves.find((move) => move.setting === setting && move.name === name)
      it(`[R78] [R81] ${name}: undoes no log-out, loses no update, and recovers`, async () => {
        assert.isDefined(move)
        const conditions: Conditions = { ...short, seed }
        const result = await laboratory.run(move, conditions)
        assert.deepStrictEqual(result.violations, [])
        assert.isAbove(result.requests, 100)
        if (setting === "cluster") assert.isAbove(result.readsOfHealthy, 20)
        // It takes five. Without what the guide's configuration says of connections it would take most of a minute.
        if (setting === "haproxy") assert.isBelow(result.outage, 25_000)
        console.log(`${setting}: ${name}: ${Math.round(result.outage)} ms until the last 503`)
      })
    }
  })

const withRedis = needing(hasRedisServer(), "there is no redis-server on the PATH to start")
const withHaproxy = needing(
  hasRedisServer() && hasHaproxy(),
  "there is no redis-server or haproxy on the PATH to start"
)
suite(withRedis, "cluster", ["slots resharded", "CLUSTER FAILOVER", "a master killed", "a master frozen"])
suite(withRedis, "sentinel", ["the master killed", "the master frozen"])
suite(withHaproxy, "haproxy", ["the master killed, its replica promoted", "the master frozen, its replica promoted"])
