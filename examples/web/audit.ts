/** Who was logged in, from where, and why that ended; and what else an administrator should see. */
import { Clock, Context, Effect, Layer } from "effect"
import { SqlClient, type SqlError } from "effect/sql"
import type { Session } from "effect-sessions"

export interface Entry {
  /** Milliseconds since 1970. */
  readonly at: number
  readonly event: string
  readonly name: string
  readonly session: string | null
  readonly device: string | null
  readonly address: string | null
}

const began = "logged in"

export class Audit extends Context.Service<
  Audit,
  {
    readonly note: (event: string, name: string) => Effect.Effect<void>
    /** For `onEvent`. */
    readonly session: <A, R extends ReadonlyArray<Session.Tagged>>(
      event: Session.SessionEvent<A, R>,
      nameOf: (data: A) => string | undefined
    ) => Effect.Effect<void>
    readonly latest: Effect.Effect<ReadonlyArray<Entry>>
  }
>()("shop/Audit") {
  static readonly layer = Layer.effect(
    Audit,
    Effect.gen(function* () {
      const sql = yield* SqlClient.SqlClient
      yield* sql`CREATE TABLE IF NOT EXISTS audit (
        at INTEGER NOT NULL, event TEXT NOT NULL, name TEXT NOT NULL, session TEXT, device TEXT, address TEXT
      ) STRICT`
      yield* sql`CREATE INDEX IF NOT EXISTS audit_session ON audit (session)`

      const write = (entry: (at: number) => Effect.Effect<unknown, SqlError.SqlError>) =>
        Effect.flatMap(Clock.currentTimeMillis, entry).pipe(
          // A table that is full or missing stops no log-in.
          Effect.catchCause((cause) => Effect.logError("no entry in the audit", cause))
        )

      return {
        note: (event, name) => write((at) => sql`INSERT INTO audit ${sql.insert({ at, event, name })}`),
        session: (event, nameOf) => {
          if (event._tag === "Created") {
            const { client, data, id: session } = event.session
            const name = nameOf(data)
            const { address = null, label: device = null } = client
            return name === undefined
              ? Effect.void
              : write(
                  (at) => sql`INSERT INTO audit ${sql.insert({ at, event: began, name, session, device, address })}`
                )
          }
          // Strangers bring about as many refusals as they like: those are for counters, `SessionMetrics`.
          if (event._tag !== "Ended") return Effect.void
          // It knows the id alone; whose it was, and where, stands in the row of the log-in, and outlives the account.
          return write(
            (at) => sql`INSERT INTO audit (at, event, name, session, device, address)
            SELECT ${at}, ${`ended: ${event.why}`}, name, session, device, address FROM audit
            WHERE session = ${event.id} AND event = ${began} LIMIT 1`
          )
        },
        latest: Effect.orDie(sql<Entry>`SELECT * FROM audit ORDER BY at DESC, rowid DESC LIMIT 100`)
      }
    })
  )
}
