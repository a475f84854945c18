/** Very many sessions, put into a store by its own means: creating them one by one takes an hour. */
import * as Effect from "effect/Effect"
import type * as SqlClient from "effect/sql/SqlClient"
import { connect } from "node:net"
import { once } from "node:events"
import * as RedisKeys from "../../src/internal/backend/redisKeys.ts"
import * as RedisRecord from "../../src/internal/backend/redisRecord.ts"
import * as SessionBackendSql from "../../src/SessionBackendSql.ts"
import { record } from "./measure.ts"

/** The idle timeout of all sessions here, and how long they live at most. */
const idle = 1_800_000
const life = 43_200_000

/**
 * Ids are random, and the sessions of the principal `one`, and the expired ones, lie all over the table. Of the others
 * three have one principal. Answers when those that have not expired do.
 */
export const postgres = Effect.fnUntraced(function* (
  sql: SqlClient.SqlClient,
  {
    expired = 0,
    ofOne = 0,
    sessions
  }: { readonly sessions: number; readonly expired?: number; readonly ofOne?: number }
) {
  const now = Date.now()
  const live = now + idle
  const [, ...indexes] = SessionBackendSql.ddl({ dialect: "pg" })
  for (const name of ["newest", "sweep"]) yield* sql.unsafe(`DROP INDEX effect_sessions_${name}`)
  yield* sql.unsafe("ALTER TABLE effect_sessions DROP CONSTRAINT effect_sessions_pkey")
  yield* sql.unsafe(`
    INSERT INTO effect_sessions
    SELECT 'scale', left(md5(random()::text), 22), lpad(i::text, 43, '0'), 1,
      CASE WHEN random() < ${ofOne / sessions} THEN 'one' ELSE 'user-' || (i / 3) END,
      lpad(i::text, 150, '0'), 1, '{}', ${now} - (random() * 4e7)::bigint, ${now - 60_000}, ${now - 60_000}, ${idle},
      idle_expires_at, ${now + life}, 1, (idle_expires_at + 899999) / 900000 * 900000
    FROM (
      SELECT i, CASE WHEN random() < ${expired / sessions} THEN ${now} - 7200000 - (random() * 3.6e7)::bigint
        ELSE ${live} END AS idle_expires_at
      FROM generate_series(1, ${sessions}) i OFFSET 0
    ) AS rows`)
  yield* sql.unsafe("ALTER TABLE effect_sessions ADD PRIMARY KEY (namespace, id)")
  for (const statement of indexes) yield* sql.unsafe(statement)
  yield* sql.unsafe("VACUUM ANALYZE effect_sessions")
  return live
})

/** As above, in the backend's own format, past its scripts: three commands a session. Answers ids of some. */
export const redis = async (port: number, prefix: string, sessions: number): Promise<ReadonlyArray<string>> => {
  const keys = RedisKeys.make(prefix)
  const command = (...parts: ReadonlyArray<string>) =>
    `*${parts.length}\r\n${parts.map((part) => `$${Buffer.byteLength(part)}\r\n${part}\r\n`).join("")}`
  const now = Date.now()
  const end = String(now + life).padStart(16, "0")
  const each = Math.ceil(sessions / 100_000)
  const ids: Array<string> = []
  const socket = connect(port, "127.0.0.1")
  let tail = ""
  let errors = 0
  socket.on("data", (data) => {
    const text = data.toString("latin1")
    errors += text.split("\n-").length - 1
    tail = (tail + text).slice(-100)
  })
  for (let i = 0; i < sessions;) {
    let chunk = ""
    for (const stop = Math.min(sessions, i + 1000); i < stop; i++) {
      const one = record({ principal: `user-${Math.floor(i / 3)}`, createdAt: now - 60_000, lastSeenAt: now - 60_000 })
      const index = keys.index(one.namespace, one.principal!)
      chunk += command(
        "SET",
        keys.record(one.namespace, one.id),
        `${end}:${RedisRecord.toText(one)}`,
        "PX",
        String(idle)
      )
      chunk += command("ZADD", index, "0", RedisKeys.entry(one))
      chunk += command("PEXPIRE", index, String(life))
      if (i % each === 0) ids.push(one.id)
    }
    if (!socket.write(chunk)) await once(socket, "drain")
  }
  socket.write(command("ECHO", "seeded"))
  while (!tail.includes("seeded")) await once(socket, "data")
  socket.destroy()
  if (errors > 0) throw new Error(`Redis refused ${errors} commands`)
  return ids
}
