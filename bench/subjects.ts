import type { Store } from "./servers/common.ts"

export interface Subject {
  readonly name: string
  /** The file in servers/, and the store it is started with. */
  readonly server: string
  readonly store: Store
  /** Packages whose versions the result names. */
  readonly packages: ReadonlyArray<string>
  readonly env?: Readonly<Record<string, string>>
  readonly ours?: true
}

const effect = ["effect", "@effect/platform-node"]

export const subjects: ReadonlyArray<Subject> = [
  { name: "effect-sessions", server: "effect-sessions", store: "memory", packages: effect, ours: true },
  { name: "effect-sessions", server: "effect-sessions", store: "redis", packages: [...effect, "redis"], ours: true },
  {
    name: "effect-sessions",
    server: "effect-sessions",
    store: "postgres",
    packages: [...effect, "@effect/sql-pg"],
    ours: true
  },
  {
    name: "@fastify/session",
    server: "fastify-session",
    store: "memory",
    packages: ["fastify", "@fastify/session", "@fastify/cookie"]
  },
  {
    name: "@fastify/session",
    server: "fastify-session",
    store: "redis",
    packages: ["fastify", "@fastify/session", "@fastify/cookie", "connect-redis", "redis"]
  },
  {
    // As ours, which has a deadline of its own, has it.
    name: "@fastify/session, client's timer off",
    server: "fastify-session",
    store: "redis",
    packages: ["fastify", "@fastify/session", "@fastify/cookie", "connect-redis", "redis"],
    env: { BENCH_REDIS_COMMAND_TIMER: "off" }
  },
  {
    name: "@fastify/secure-session",
    server: "fastify-secure-session",
    store: "cookie",
    packages: ["fastify", "@fastify/secure-session"]
  },
  { name: "express-session", server: "express-session", store: "memory", packages: ["express", "express-session"] },
  {
    name: "express-session",
    server: "express-session",
    store: "redis",
    packages: ["express", "express-session", "connect-redis", "redis"]
  },
  { name: "koa-session", server: "koa-session", store: "memory", packages: ["koa", "@koa/router", "koa-session"] },
  { name: "koa-session", server: "koa-session", store: "cookie", packages: ["koa", "@koa/router", "koa-session"] },
  {
    name: "hono-sessions",
    server: "hono-sessions",
    store: "memory",
    packages: ["hono", "@hono/node-server", "hono-sessions"]
  },
  { name: "iron-session", server: "iron-session", store: "cookie", packages: ["iron-session"] }
]

export const label = ({ name, store }: Pick<Subject, "name" | "store">): string => `${name} (${store})`

/** Ours on the same store, to compare with. A sealed cookie has no store: it stands beside ours in memory. */
export const counterpart = (subject: Subject, among: ReadonlyArray<Subject>): Subject | undefined => {
  if (subject.ours === true) return undefined
  const store = subject.store === "cookie" ? "memory" : subject.store
  return among.find((other) => other.ours === true && other.store === store)
}

/** What `--quick` measures: ourselves and the fastest server-side peer. */
export const quick: ReadonlyArray<Subject> = subjects.filter(
  ({ server, store }) => store === "memory" && (server === "effect-sessions" || server === "fastify-session")
)
