/** Two server processes on one store. */
import { PgClient } from "@effect/sql-pg"
import { afterAll, assert, beforeAll, it } from "@effect/vitest"
import { ManagedRuntime, Redacted } from "effect"
import { SqlClient } from "effect/sql"
import { randomBytes } from "node:crypto"
import { setTimeout as pause } from "node:timers/promises"
import { createClient } from "redis"
import * as NodeMysqlClient from "effect-sessions/NodeMysqlClient"
import { mysqlUrl } from "./support/mariadb.ts"
import {
  databaseUrl,
  listens,
  needing,
  newSecret,
  redisUrl,
  type SessionServer,
  startSessionServer
} from "./support/processes.ts"

const name = `test/twoProcesses/${randomBytes(6).toString("hex")}`
const touchInterval = 3000
const namespace = Buffer.from(name).toString("base64url")

interface Store {
  readonly backend: "redis" | "postgres" | "mysql"
  /** How many records there are of this run. */
  readonly records: () => Promise<number>
  /** How many writes have changed a record since `watch`. */
  readonly watch: () => Promise<() => Promise<number>>
  readonly clear: () => Promise<void>
}

const redisStore = async (): Promise<Store> => {
  const client = createClient({ url: redisUrl })
  await client.connect()
  const keys = async (kind: "s" | "*") => {
    const found: Array<string> = []
    const options = { MATCH: `effect-sessions:${kind}:${namespace}:*`, COUNT: 1000 }
    for await (const page of client.scanIterator(options)) found.push(...page)
    return found
  }
  return {
    backend: "redis",
    records: async () => (await keys("s")).length,
    watch: async () => {
      const monitor = createClient({ url: redisUrl })
      await monitor.connect()
      const seen: Array<string> = []
      await monitor.monitor((line) => seen.push(String(line)))
      return async () => {
        await client.sendCommand(["ECHO", namespace])
        while (!seen.some((line) => line.includes('"ECHO"') && line.includes(namespace))) await pause(5)
        monitor.destroy()
        // What a script does is marked "lua"; what changes a record is its SET or SETRANGE.
        return seen.filter((line) => line.includes(" lua] ") && /"SET(RANGE)?"/i.test(line) && line.includes(namespace))
          .length
      }
    },
    clear: async () => {
      const left = await keys("*")
      if (left.length > 0) await client.unlink(left)
      client.destroy()
    }
  }
}

const postgresStore = async (): Promise<Store> => {
  const runtime = ManagedRuntime.make(PgClient.layer({ url: Redacted.make(databaseUrl), maxConnections: 1 }))
  const query = (statement: string) =>
    runtime.runPromise(SqlClient.SqlClient.use((sql) => sql.unsafe<{ readonly count?: bigint }>(statement)))
  const count = (statement: string) => query(statement).then(([row]) => Number(row!.count))
  const trigger = `watch_${randomBytes(6).toString("hex")}`
  return {
    backend: "postgres",
    records: () => count(`SELECT count(*) FROM effect_sessions WHERE namespace = '${name}'`),
    watch: async () => {
      await query(`CREATE TABLE ${trigger} (at timestamptz)`)
      await query(
        `CREATE FUNCTION ${trigger}() RETURNS trigger LANGUAGE plpgsql AS
         $$ BEGIN INSERT INTO ${trigger} VALUES (now()); RETURN NULL; END $$`
      )
      await query(
        `CREATE TRIGGER ${trigger} AFTER UPDATE ON effect_sessions FOR EACH ROW
         WHEN (NEW.namespace = '${name}') EXECUTE FUNCTION ${trigger}()`
      )
      return async () => {
        const writes = await count(`SELECT count(*) FROM ${trigger}`)
        await query(`DROP TRIGGER ${trigger} ON effect_sessions`)
        await query(`DROP FUNCTION ${trigger}`)
        await query(`DROP TABLE ${trigger}`)
        return writes
      }
    },
    clear: async () => {
      await query(`DELETE FROM effect_sessions WHERE namespace = '${name}'`)
      await runtime.dispose()
    }
  }
}

const mysqlStore = async (): Promise<Store> => {
  const runtime = ManagedRuntime.make(NodeMysqlClient.layer({ url: Redacted.make(mysqlUrl), maxConnections: 1 }))
  const query = (statement: string) =>
    runtime.runPromise(SqlClient.SqlClient.use((sql) => sql.unsafe<{ readonly count?: number }>(statement).unprepared))
  const count = (statement: string) => query(statement).then(([row]) => Number(row!.count))
  const trigger = `watch_${randomBytes(6).toString("hex")}`
  return {
    backend: "mysql",
    records: () => count(`SELECT COUNT(*) AS count FROM effect_sessions WHERE namespace = '${name}'`),
    watch: async () => {
      await query(`CREATE TABLE ${trigger} (at BIGINT)`)
      await query(
        `CREATE TRIGGER ${trigger} AFTER UPDATE ON effect_sessions FOR EACH ROW
         INSERT INTO ${trigger} SELECT NEW.last_seen_at WHERE NEW.namespace = '${name}'`
      )
      return async () => {
        const writes = await count(`SELECT COUNT(*) AS count FROM ${trigger}`)
        await query(`DROP TRIGGER ${trigger}`)
        await query(`DROP TABLE ${trigger}`)
        return writes
      }
    },
    clear: async () => {
      await query(`DELETE FROM effect_sessions WHERE namespace = '${name}'`)
      await runtime.dispose()
    }
  }
}

const suite = (describe: ReturnType<typeof needing>, backend: Store["backend"], open: () => Promise<Store>) =>
  describe(`two processes on one ${backend}`, { timeout: 120_000 }, () => {
    const env = {
      SESSION_BACKEND: backend,
      SESSION_SECRET: newSecret(),
      SESSION_NAME: name,
      REDIS_URL: redisUrl,
      DATABASE_URL: databaseUrl,
      MYSQL_URL: mysqlUrl,
      TOUCH_INTERVAL: `${touchInterval} millis`,
      // A slow machine is not what is tested here.
      BACKEND_TIMEOUT: "20 seconds"
    }
    let one: SessionServer
    let other: SessionServer
    let store: Store
    beforeAll(async () => {
      const servers = await Promise.all([startSessionServer(env), startSessionServer(env)])
      one = servers[0]
      other = servers[1]
      store = await open()
    })
    afterAll(async () => {
      await Promise.all([one, other].map((server) => server?.stop()))
      await store?.clear()
    })

    let logins = 0
    const login = async (server: SessionServer): Promise<string> => {
      const { cookie, status } = await server.send("POST", `/login/user${++logins}`)
      assert.strictEqual(status, 200)
      assert.match(cookie!, /^session=v1\./)
      return cookie!
    }

    it("[R69] a login on one is known to the other, and a logout refuses its very next request", async () => {
      const cookie = await login(one)
      const known = await other.send("GET", "/whoami", cookie)
      assert.deepStrictEqual([known.status, JSON.parse(known.body)], [200, { username: `user${logins}`, marks: [] }])
      const rotated = await other.send("POST", "/rotate", cookie)
      assert.strictEqual(rotated.status, 200)
      assert.strictEqual((await one.send("GET", "/whoami", cookie)).status, 401)
      assert.strictEqual((await one.send("GET", "/whoami", rotated.cookie)).status, 200)
      assert.strictEqual((await one.send("POST", "/logout", rotated.cookie)).status, 200)
      assert.strictEqual((await other.send("GET", "/whoami", rotated.cookie)).status, 401)
      assert.strictEqual((await other.send("POST", "/mark/late", rotated.cookie)).status, 401)
    })

    it("[R70] of 25 updates on each at once, all 50 are kept", async () => {
      const cookie = await login(one)
      const marks = Array.from({ length: 50 }, (_, i) => `m${i}`)
      const answers = await Promise.all(
        marks.map((mark, i) => [one, other][i % 2]!.send("POST", `/mark/${mark}`, cookie))
      )
      assert.deepStrictEqual(
        answers.map(({ status }) => status),
        marks.map(() => 200)
      )
      for (const server of [one, other]) {
        const { body } = await server.send("GET", "/whoami", cookie)
        assert.sameMembers((JSON.parse(body) as { marks: Array<string> }).marks, marks)
      }
      await one.send("POST", "/logout", cookie)
    })

    it("[R69] of 200 logouts that race with requests on the other, none is undone", async () => {
      const records = await store.records()
      let refused = 0
      for (let round = 0; round < 200; round += 10) {
        await Promise.all(
          Array.from({ length: 10 }, async () => {
            const cookie = await login(one)
            const racing = [
              other.send("POST", "/mark/a", cookie),
              other.send("GET", "/whoami", cookie),
              other.send("POST", "/mark/b", cookie),
              one.send("POST", "/mark/c", cookie),
              other.send("POST", "/rotate", cookie)
            ]
            const logout = await one.send("POST", "/logout", cookie)
            assert.strictEqual(logout.status, 200)
            const next = await Promise.all([other, one].map((server) => server.send("GET", "/whoami", cookie)))
            assert.deepStrictEqual(
              next.map(({ status }) => status),
              [401, 401]
            )
            const answers = await Promise.all(racing)
            for (const { status } of answers) assert.include([200, 401], status)
            refused += answers.filter(({ status }) => status === 401).length
            // Neither the old token nor one that a rotation handed out meanwhile.
            for (const given of [cookie, ...answers.flatMap(({ cookie }) => cookie ?? [])]) {
              assert.strictEqual((await other.send("GET", "/whoami", given)).status, 401)
            }
          })
        )
      }
      // They did meet, and nothing is left in the store.
      assert.isAbove(refused, 0)
      assert.isBelow(refused, 1000)
      assert.strictEqual(await store.records(), records)
    })

    it("[R84c] 1,000 requests of one session at once touch it once an interval, and once more a process at most", async () => {
      const cookie = await login(one)
      await pause(touchInterval + 100)
      const writes = await store.watch()
      const began = performance.now()
      const answers = await Promise.all(
        Array.from({ length: 1000 }, (_, i) =>
          i === 500 ? one.send("POST", "/mark/kept", cookie) : [one, other][i % 2]!.send("GET", "/whoami", cookie)
        )
      )
      const intervals = Math.ceil((performance.now() - began) / touchInterval)
      assert.deepStrictEqual([...new Set(answers.map(({ status }) => status))], [200])
      const touches = (await writes()) - 1
      assert.isAtLeast(touches, 1)
      assert.isAtMost(touches, 3 * intervals)
      const { body } = await other.send("GET", "/whoami", cookie)
      assert.deepStrictEqual((JSON.parse(body) as { marks: Array<string> }).marks, ["kept"])
      await one.send("POST", "/logout", cookie)
    })
  })

const withRedis = needing(await listens(redisUrl, 6379), "no Redis at REDIS_URL, nor at 127.0.0.1:6379")
const withPostgres = needing(await listens(databaseUrl, 5432), "no Postgres at DATABASE_URL, nor at 127.0.0.1:5432")
const withMysql = needing(await listens(mysqlUrl, 3306), "no MySQL or MariaDB at MYSQL_URL, nor at 127.0.0.1:3306")
suite(withRedis, "redis", redisStore)
suite(withPostgres, "postgres", postgresStore)
suite(withMysql, "mysql", mysqlStore)
