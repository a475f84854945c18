/** Users and their passwords, in a table of the application's own. */
import { Context, Effect, Layer, Option, Redacted } from "effect"
import { Kdf, Mac, SecureRandom } from "effect/crypto"
import { Base64 } from "effect/encoding"
import { RateLimiter } from "effect/persistence"
import { SqlClient } from "effect/sql"
import { SessionError } from "effect-sessions"

export interface User {
  readonly id: string
  readonly name: string
}

type Role = "customer" | "admin"
type Password = Redacted.Redacted<string>

/**
 * What each name may be tried with: guessing is slow, and a user who mistypes is not locked out. A stranger who guesses on
 * purpose does lock them out for a while; sessions that there are go on. Limit addresses, too, where you know them.
 */
const attempts = { window: "15 minutes", limit: 20 } as const

export class Users extends Context.Service<
  Users,
  {
    /** `None`: the name is taken. */
    readonly add: (name: string, password: Password) => Effect.Effect<Option.Option<User>>
    /** The one administrator, with this password from now on, and a new id: sessions from before are refused. */
    readonly putAdministrator: (name: string, password: Password) => Effect.Effect<void>
    /** The user, if this is their password and they have this role. */
    readonly check: (name: string, password: Password, role?: Role) => Effect.Effect<Option.Option<User>>
    readonly setPassword: (id: string, password: Password) => Effect.Effect<void>
    readonly remove: (id: string) => Effect.Effect<void>
    readonly customers: Effect.Effect<ReadonlyArray<User>>
    /** Whether a session may stand: that of a visitor, or of a user who is there. */
    readonly verify: (id: string | undefined) => Effect.Effect<void, SessionError.SessionRefused>
  }
>()("shop/Users") {
  static readonly layer = Layer.effect(
    Users,
    Effect.gen(function* () {
      const sql = yield* SqlClient.SqlClient
      const kdf = yield* Kdf.Kdf
      const random = yield* SecureRandom.SecureRandom
      const limiter = yield* RateLimiter.RateLimiter
      yield* sql`CREATE TABLE IF NOT EXISTS users (
        id TEXT PRIMARY KEY,
        name TEXT NOT NULL UNIQUE COLLATE NOCASE,
        role TEXT NOT NULL,
        salt BLOB NOT NULL,
        hash BLOB NOT NULL
      ) STRICT`

      // PBKDF2-HMAC-SHA-256 with 600,000 rounds (OWASP). On Node 24.7 and later `Kdf.argon2id()` is the better choice.
      const hash = (password: Password, salt: Uint8Array) =>
        Effect.orDie(
          kdf.derive(Kdf.pbkdf2Sha256, new TextEncoder().encode(Redacted.value(password)), { salt, length: 32 })
        )
      const hashed = (password: Password) =>
        Effect.flatMap(random.randomBytes(16), (salt) => Effect.map(hash(password, salt), (hash) => ({ salt, hash })))
      const row = (name: string, role: Role, password: Password) =>
        Effect.map(Effect.all([random.uuidV4(), hashed(password)]), ([id, hashed]) => ({ id, name, role, ...hashed }))
      // Compared with where there is no such user, so that the time an answer takes does not tell.
      const nobody = yield* hashed(Redacted.make(Base64.encode(yield* random.randomBytes(32))))

      const mayTry = (name: string) =>
        limiter.consume({ ...attempts, key: name.toLowerCase() }).pipe(
          Effect.as(true),
          Effect.catchTag("RateLimiterError", () => Effect.succeed(false))
        )

      return {
        add: (name, password) =>
          Effect.gen(function* () {
            const user = yield* row(name, "customer", password)
            const rows = yield* sql`INSERT INTO users ${sql.insert(user)} ON CONFLICT (name) DO NOTHING RETURNING id`
            return rows.length === 0 ? Option.none() : Option.some({ id: user.id, name })
          }).pipe(Effect.orDie),
        putAdministrator: (name, password) =>
          Effect.gen(function* () {
            yield* sql`INSERT INTO users ${sql.insert(yield* row(name, "admin", password))}
              ON CONFLICT (name) DO UPDATE SET id = excluded.id, role = excluded.role, salt = excluded.salt, hash = excluded.hash`
          }).pipe(Effect.orDie),
        check: (name, password, role = "customer") =>
          Effect.gen(function* () {
            if (!(yield* mayTry(name))) return Option.none()
            const [known] = yield* sql<User & typeof nobody>`SELECT id, name, salt, hash FROM users
              WHERE name = ${name} AND role = ${role}`
            const { hash: expected, salt } = known ?? nobody
            const isRight = Mac.timingSafeEqual(yield* hash(password, salt), expected)
            return known !== undefined && isRight ? Option.some({ id: known.id, name: known.name }) : Option.none()
          }).pipe(Effect.orDie),
        setPassword: (id, password) =>
          Effect.flatMap(hashed(password), (row) => sql`UPDATE users SET ${sql.update(row)} WHERE id = ${id}`).pipe(
            Effect.orDie
          ),
        remove: (id) => Effect.orDie(sql`DELETE FROM users WHERE id = ${id}`),
        customers: Effect.orDie(sql<User>`SELECT id, name FROM users WHERE role = 'customer' ORDER BY name`),
        verify: (id) =>
          id === undefined
            ? Effect.void
            : Effect.flatMap(Effect.orDie(sql`SELECT 1 FROM users WHERE id = ${id}`), (rows) =>
                rows.length > 0 ? Effect.void : new SessionError.SessionRefused({ message: "the account is gone" })
              )
      }
    })
  ).pipe(Layer.provide(RateLimiter.layer.pipe(Layer.provide(RateLimiter.layerStoreMemory))))
}
