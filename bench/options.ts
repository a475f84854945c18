/**
 * The flags of `run.ts`.
 */
import { parseArgs } from "node:util"

const help = `node run.ts [flags]
  --quick              two subjects, one round, in about a minute; writes results/quick.json
  --only PATTERN       subjects whose label matches, e.g. "effect|fastify"
  --rounds N           rounds, each with new processes (3; quick 1)
  --warmup MS          load before measuring, for each kind of request (1500)
  --passes N           passes over all servers in a round (8)
  --window MS          length of a window, one for each kind of request in a pass (150)
  --sessions N         sessions that are created, updated and destroyed in a pass; /whoami asks with their cookies (400)
  --connections N      connections of the main measurement (64)
  --rate N             requests a second of the latency measurement (1000)
  --rate-time MS       its length in a pass (500)
  --rate-passes N      passes of it in a round (3)
  --at N,N             connections to repeat /whoami with, in half as many passes (1,10,1000; quick none)
  --memory N           live sessions to measure memory with (100000; quick none)
  --growth N,N         sessions in memory to measure ours with (1000,10000,100000,1000000; quick none)
  --server-core N      core of the servers (0)
  --client-core N      core of this process, which is the client, and of the Redis it starts (1)
  --out FILE           where the result goes (results/http.json)`

const numbers = (text: string): ReadonlyArray<number> => text.split(",").filter(Boolean).map(Number)

/** Reads them from the command line; with `--help`, prints what there is and ends the process. */
export const readOptions = () => {
  const { values: flags } = parseArgs({
    options: {
      help: { type: "boolean", default: false },
      quick: { type: "boolean", default: false },
      only: { type: "string", default: "" },
      rounds: { type: "string" },
      warmup: { type: "string", default: "1500" },
      passes: { type: "string", default: "8" },
      window: { type: "string", default: "150" },
      sessions: { type: "string", default: "400" },
      connections: { type: "string", default: "64" },
      rate: { type: "string", default: "1000" },
      "rate-time": { type: "string", default: "500" },
      "rate-passes": { type: "string", default: "3" },
      at: { type: "string" },
      memory: { type: "string" },
      growth: { type: "string" },
      "server-core": { type: "string", default: "0" },
      "client-core": { type: "string", default: "1" },
      out: { type: "string" }
    }
  })
  if (flags.help) {
    console.log(help)
    process.exit(0)
  }
  const { out, quick } = flags
  return {
    quick,
    out,
    only: new RegExp(flags.only),
    rounds: Number(flags.rounds ?? (quick ? 1 : 3)),
    warmup: Number(flags.warmup),
    passes: Number(flags.passes),
    window: Number(flags.window),
    sessions: Number(flags.sessions),
    connections: Number(flags.connections),
    rate: Number(flags.rate),
    rateTime: Number(flags["rate-time"]),
    ratePasses: Number(flags["rate-passes"]),
    at: numbers(flags.at ?? (quick ? "" : "1,10,1000")),
    memory: Number(flags.memory ?? (quick ? 0 : 100_000)),
    growth: numbers(flags.growth ?? (quick ? "" : "1000,10000,100000,1000000")),
    serverCore: Number(flags["server-core"]),
    clientCore: Number(flags["client-core"])
  }
}

export type Options = ReturnType<typeof readOptions>
