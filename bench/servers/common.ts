/**
 * What all servers share, so that they differ in the framework and the session library alone.
 */
import { randomBytes } from "node:crypto"
import type { AddressInfo } from "node:net"

/** Where sessions live: in the process, in a store beside it, or sealed inside the cookie. */
export type Store = "memory" | "redis" | "postgres" | "cookie"

/** A server file exports this as `start`; it answers with the port it listens on. */
export type Start = (store: Store) => Promise<number>

export const cookieName = "__Host-session"
/** 44 characters: enough for HMAC keys and for sealing alike. */
export const secret = randomBytes(32).toString("base64")
export const maxAgeSeconds = 30 * 60
export const host = "127.0.0.1"
/** Asked for late: the runner starts a Redis of its own, and puts its address there, after this file has been loaded. */
export const redisUrl = (): string => process.env["BENCH_REDIS_URL"] ?? "redis://127.0.0.1:6379/13"
export const postgresTable = "effect_sessions_bench"
export const postgresUrl = process.env["BENCH_POSTGRES_URL"] ?? "postgres://postgres@127.0.0.1:5432/test"

/** What a session holds: `visits` is absent until the first update. */
export interface UserData {
  readonly username: string
  readonly visits?: number
}

export const visited = (user: UserData): UserData => ({ ...user, visits: (user.visits ?? 0) + 1 })

export const created = (name: string): string => `created session for ${name}`
export const updated = (user: UserData): string => `visit ${user.visits} of ${user.username}`
export const deleted = "deleted session"
/** The body of the routes that need no session, in the shape of the one that does. */
export const bare: UserData = { username: "bare" }

/** Fastify serialises by schema when it has one. */
export const userJsonSchema: { readonly response: unknown } = {
  response: {
    200: {
      type: "object",
      properties: { username: { type: "string" }, visits: { type: "integer" } },
      required: ["username"]
    }
  }
}

export const portOf = (server: { readonly address: () => AddressInfo | string | null }): number => {
  const address = server.address()
  if (address === null || typeof address === "string") throw new Error("the server does not listen on a port")
  return address.port
}
