/**
 * What the texts of this folder say in figures: Effect as it is beside the changed copy of `patched.ts`, in turns.
 *
 * `node --expose-gc docs/upstream/measure.ts [words] [--write]` measures the texts whose file name holds these words.
 * `--write` puts the figures into the texts. Times are of the processor, all threads, so the garbage collector's too.
 */
import type * as DateTime from "effect/DateTime"
import type * as Effect from "effect/Effect"
import type * as Pool from "effect/Pool"
import type * as Redacted from "effect/Redacted"
import type * as Schema from "effect/Schema"
import type * as Base64Url from "effect/encoding/Base64Url"
import type * as Headers from "effect/http/Headers"
import type * as HttpServerResponse from "effect/http/HttpServerResponse"
import { parseArgs } from "node:util"
import { closedLoop, connect, request } from "../../bench/client.ts"
import { startSessionServer } from "../../test/support/processes.ts"
import { figure, measuredBy, median, table, writeInto } from "../../test/scale/page.ts"
import { experiment } from "./effect-pool.ts"
import { both } from "./patched.ts"

const { positionals, values } = parseArgs({ allowPositionals: true, options: { write: { type: "boolean" } } })

// -----------------------------------------------------------------------------
// Functions, in turns
// -----------------------------------------------------------------------------

/** One operation in two ways. */
interface Pair {
  readonly name: string
  readonly today: () => unknown
  readonly changed: () => unknown
}

let sink: unknown
/** Nanoseconds of the processor a call. */
const cost = (f: () => unknown, calls: number): number => {
  const used = process.cpuUsage()
  for (let i = 0; i < calls; i++) sink = f()
  const { system, user } = process.cpuUsage(used)
  return ((user + system) * 1000) / calls
}

const turns = 21
const compare = (pairs: ReadonlyArray<Pair>): ReadonlyArray<string> =>
  table(
    ["CPU ns a call", "today", "changed", "of today's"],
    pairs.map(({ changed, name, today }) => {
      // Twice, for the optimizing compiler.
      for (const _ of [1, 2]) for (const f of [today, changed]) cost(f, 20_000)
      const calls = Math.max(20_000, Math.round(3e7 / cost(today, 20_000)))
      const times: { readonly today: Array<number>; readonly changed: Array<number> } = { today: [], changed: [] }
      for (let turn = 0; turn < turns; turn++) {
        const order = turn % 2 === 0 ? (["today", "changed"] as const) : (["changed", "today"] as const)
        for (const which of order) {
          globalThis.gc?.()
          times[which].push(cost(which === "today" ? today : changed, calls))
        }
      }
      const ratio = median(times.changed.map((time, i) => time / times.today[i]!))
      return [name, figure(median(times.today)), figure(median(times.changed)), `${Math.round(100 * ratio)} %`]
    })
  )

// -----------------------------------------------------------------------------
// The texts
// -----------------------------------------------------------------------------

const response = async () => {
  const variants = [
    ["node:http", "plain"],
    ["node:http, `strictContentLength`", "strict"],
    ["`NodeHttpServer`", "today"],
    ["`NodeHttpServer`, changed", "changed"]
  ] as const
  const servers = await Promise.all(
    variants.map(([, VARIANT]) =>
      startSessionServer({ VARIANT, NODE_ENV: "production" }, "../../docs/upstream/server.ts")
    )
  )
  try {
    const clients = await Promise.all(servers.map(({ port }) => connect(port, 32)))
    const exchange = { request: request("GET", "/"), status: 200, body: JSON.stringify({ username: "ada" }) }
    const cpu = async (i: number) => {
      const { body } = await servers[i]!.send("GET", "/used")
      return (JSON.parse(body) as { readonly cpuMicros: number }).cpuMicros
    }
    const window = async (i: number, requests: number) => {
      const before = await cpu(i)
      await closedLoop(clients[i]!, () => exchange, { requests })
      return ((await cpu(i)) - before) / requests
    }
    const times = variants.map((): Array<number> => [])
    for (const [i] of variants.entries()) await window(i, 10_000)
    for (let turn = 0; turn < turns; turn++) {
      const order = turn % 2 === 0 ? [0, 1, 2, 3] : [3, 2, 1, 0]
      for (const i of order) times[i]!.push(await window(i, 2000))
    }
    for (const client of clients) client.close()
    const ratio = (i: number, to: number) =>
      `${Math.round(100 * median(times[i]!.map((time, j) => time / times[to]![j]!)))} %`
    return table(
      ["server", "CPU µs a request", "of the one above"],
      variants.map(([name], i) => [name, figure(median(times[i]!)), i % 2 === 0 ? "" : ratio(i, i - 1)])
    )
  } finally {
    await Promise.all(servers.map((server) => server.stop()))
  }
}

const token = `v1.${"a".repeat(30)}.${"b".repeat(43)}.${"c".repeat(43)}`

const browser = {
  host: "app.test",
  cookie: `session=${token}`,
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

const requestHeaders = async () => {
  const { changed, today } = await both<typeof Headers>("effect/http/Headers")
  const { fromLowerCase } = changed as unknown as { readonly fromLowerCase: typeof changed.fromInput }
  return compare([
    {
      name: "all 13 of a browser's, and the cookie of them",
      today: () => today.fromInput(browser)["cookie"],
      changed: () => fromLowerCase(browser)["cookie"]
    },
    {
      name: "the cookie alone, asked of Node's object",
      today: () => today.fromInput(browser)["cookie"],
      changed: () => browser["cookie"]
    }
  ])
}

const setHeaders = async () => {
  const { changed, today } = await both<typeof HttpServerResponse>("effect/http/HttpServerResponse")
  const two = { vary: "Cookie", "cache-control": "no-store" }
  const of = (module: typeof today) => {
    const response = module.jsonUnsafe({ username: "ada" })
    return () => module.setHeaders(response, two)
  }
  const twice = () => {
    const response = today.jsonUnsafe({ username: "ada" })
    return () => today.setHeader(today.setHeader(response, "vary", "Cookie"), "cache-control", "no-store")
  }
  return compare([
    { name: "`setHeaders`, two on a JSON response", today: of(today), changed: of(changed) },
    { name: "beside it: today's `setHeader` twice", today: of(today), changed: twice() }
  ])
}

const dateTime = async () => {
  const { changed, today } = await both<typeof DateTime>("effect/DateTime")
  let now = Date.now()
  const fields = (module: typeof today) => () => module.toPartsUtc(module.makeUnsafe(now++)).hour
  return compare([
    {
      name: "`makeUnsafe` of a number",
      today: () => today.makeUnsafe(now++),
      changed: () => changed.makeUnsafe(now++)
    },
    { name: "and its hour", today: fields(today), changed: fields(changed) }
  ])
}

const redacted = async () => {
  const { changed, today } = await both<typeof Redacted>("effect/Redacted")
  const kept = (module: typeof today) => {
    const ring = Array.from({ length: 100_000 }, () => module.make(token))
    let turn = 0
    return () => (ring[turn++ % ring.length] = module.make(token))
  }
  const opened = (module: typeof today) => () => module.value(module.make(token))
  return compare([
    { name: "`make`", today: () => today.make(token), changed: () => changed.make(token) },
    { name: "`make` and `value`", today: opened(today), changed: opened(changed) },
    { name: "`make`, 100,000 of them alive", today: kept(today), changed: kept(changed) }
  ])
}

const base64Url = async () => {
  const { changed, today } = await both<typeof Base64Url>("effect/encoding/Base64Url")
  return compare(
    [16, 32].map((size) => {
      const bytes = Uint8Array.from({ length: size }, (_, i) => i * 37)
      if (changed.encode(bytes) !== today.encode(bytes)) throw new Error("the changed one encodes otherwise")
      return { name: `${size} bytes`, today: () => today.encode(bytes), changed: () => changed.encode(bytes) }
    })
  )
}

const optionalKeys = async () => {
  const { changed, today } = await both<typeof Schema>("effect/Schema")
  const decode = (module: typeof today, absent: number) => {
    const optional = Object.fromEntries(
      Array.from({ length: absent }, (_, i) => [`o${i}`, module.optionalKey(module.String)])
    )
    const of = module.decodeUnknownSync(module.Struct({ a: module.String, b: module.Number, ...optional }))
    const input = { a: "a", b: 1 }
    return () => of(input)
  }
  return compare(
    [0, 2, 6].map((absent) => ({
      name: `two keys, and ${absent} absent ones`,
      today: decode(today, absent),
      changed: decode(changed, absent)
    }))
  )
}

const pool = async () => {
  const effect = await both<typeof Effect>("effect/Effect")
  const pools = await both<typeof Pool>("effect/Pool")
  const rows: Array<ReadonlyArray<string | number>> = []
  for (const which of ["today", "changed"] as const) {
    for (const borrowers of [10, 100, 250, 500]) {
      const { acquires, answered, blocked, cpu, queued } = await experiment(effect[which], pools[which], borrowers)
      rows.push([`${borrowers}, ${which}`, acquires, queued, answered, blocked, cpu])
    }
  }
  return table(
    ["borrowers", "acquires", "queued resizes", "all answered after, ms", "longest block, ms", "CPU, ms"],
    rows
  )
}

const texts = {
  "response-write": response,
  "request-headers": requestHeaders,
  "set-headers": setHeaders,
  "base64-url": base64Url,
  "date-time": dateTime,
  redacted,
  "optional-keys": optionalKeys,
  "effect-pool": pool
}

for (const [name, measure] of Object.entries(texts)) {
  if (!positionals.every((word) => name.includes(word))) continue
  const text = [...(await measure()), "", measuredBy("node --expose-gc docs/upstream/measure.ts")]
  console.log(`${name}\n\n${text.join("\n")}\n`)
  if (values.write === true) writeInto(`docs/upstream/${name}.md`, "written by measure.ts", text)
}
process.exit(sink === undefined ? 1 : 0)
