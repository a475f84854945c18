/**
 * Log-ins from two processes at once, against revocations, a limit, and changes of the visitor's cart.
 *
 * `node --import ./test/support/resolveSource.ts test/scale/logins.ts [--only redis|postgres|mysql] [--logins 10000]
 * [--rounds 50] [--carts 1000]` uses REDIS_URL, DATABASE_URL and MYSQL_URL, and ends with 1 if a log-in survived a
 * revocation that it began before, more or fewer sessions live than may, or an item that was answered is lost.
 */
import { parseArgs } from "node:util"
import { type Backend, races } from "../support/logInStores.ts"

const { values } = parseArgs({
  options: {
    only: { type: "string" },
    logins: { type: "string", default: "10000" },
    rounds: { type: "string", default: "50" },
    carts: { type: "string", default: "1000" }
  }
})
const [logIns, rounds, carts] = [values.logins, values.rounds, values.carts].map(Number) as [number, number, number]

// What was started is ended with this process.
for (const signal of ["SIGINT", "SIGTERM"] as const) process.once(signal, () => process.exit(1))

const backends: ReadonlyArray<Backend> = ["redis", "postgres", "mysql"]
let isGood = true
for (const backend of backends) {
  if (values.only !== undefined && values.only !== backend) continue
  const on = await races(backend)
  try {
    for (const [name, race] of Object.entries({
      [`${logIns} log-ins against revokeAll`]: () => on.revocations({ logIns, inFlight: 150 }),
      [`${rounds} rounds of 100 log-ins where 5 may live`]: () => on.limited({ rounds, atOnce: 100 }),
      [`${carts} carts with 6 items each`]: () => on.carts({ carts, inFlight: 50, items: 6 })
    })) {
      const began = performance.now()
      const { problems, ...counted } = await race()
      console.log(`${backend}: ${name}: ${JSON.stringify(counted)} in ${Math.round(performance.now() - began)} ms`)
      for (const problem of problems) console.log(`  WRONG: ${problem}`)
      if (problems.length > 0) isGood = false
    }
  } finally {
    await on.dispose()
  }
}
process.exit(isGood ? 0 : 1)
