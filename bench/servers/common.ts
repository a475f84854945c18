/**
 * What all servers share, so that they differ in the framework and the session library alone.
 */
import { randomBytes } from "node:crypto"
import type { Server } from "node:http"
import type { AddressInfo } from "node:net"

/** Where sessions live: in the process, in a store beside it, or sealed inside the cookie. */
export type Store = "memory" | "redis" | "postgres" | "cookie"

/** A server file exports this as `start`; it answers with the server, which listens on a port the system chose. */
export type Start = (store: Store) => Promise<Server>

export const cookieName = "__Host-session"
export const cookie = { path: "/", httpOnly: true, secure: true, sameSite: "lax" } as const
/** 44 characters: enough for HMAC keys and for sealing alike. */
export const secret = randomBytes(32).toString("base64")
export const maxAgeSeconds = 30 * 60
export const host = "127.0.0.1"
/** The run starts a Redis of its own, and names it there for the servers. */
export const redisUrl = process.env["BENCH_REDIS_URL"] ?? "redis://127.0.0.1:1/0"
export const postgresTable = "effect_sessions_bench"
export const postgresUrl = process.env["BENCH_POSTGRES_URL"] ?? "postgres://postgres@127.0.0.1:5432/test"

/** What a session holds: `visits` is absent until the first update. */
export interface UserData {
  readonly username: string
  readonly visits?: number
}

export const visited = (user: UserData): UserData => ({ ...user, visits: (user.visits ?? 0) + 1 })

/** What the routes answer: JSON to a read, text to a write. */
export const bare: UserData = { username: "bare" }
export const posted = "posted something"
export const created = (name: string): string => `created session for ${name}`
export const updated = (user: UserData): string => `visit ${user.visits} of ${user.username}`
export const deleted = "deleted session"

export const portOf = (server: { readonly address: () => AddressInfo | string | null }): number =>
  (server.address() as AddressInfo).port // each of the servers listens on a TCP port
