/**
 * What is measured: each is a file beside this one, started with a store and an environment.
 */
import type { Store } from "./common.ts"

export interface Subject {
  readonly name: string
  readonly server: string
  readonly store: Store
  readonly env: Readonly<Record<string, string>>
}

const ours = "effect-sessions"
/** Neither fence nor limit: what peers' writes are compared with, as they count no user's sessions either. */
const anonymous = `${ours}, no principal`

const fastify = "@fastify/session"
const subject = (server: string, store: Store, name = server, env: Subject["env"] = {}): Subject => {
  return { name, server, store, env }
}

export const subjects: ReadonlyArray<Subject> = [
  subject(ours, "memory"),
  subject(ours, "memory", `${ours}, no limit`, { BENCH_LIMIT: "none" }),
  subject(ours, "memory", anonymous, { BENCH_PRINCIPAL: "none" }),
  subject(ours, "redis"),
  subject(ours, "redis", `${ours}, no limit`, { BENCH_LIMIT: "none" }),
  subject(ours, "redis", anonymous, { BENCH_PRINCIPAL: "none" }),
  subject(ours, "postgres"),
  subject("fastify", "memory", fastify),
  subject("fastify", "redis", fastify),
  // As ours, which has a deadline of its own, has it.
  subject("fastify", "redis", `${fastify}, client's timer off`, { BENCH_REDIS_COMMAND_TIMER: "off" }),
  subject("express-session", "memory"),
  subject("express-session", "redis"),
  subject("fastify", "cookie", "@fastify/secure-session"),
  subject("iron-session", "cookie"),
  subject("hono-sessions", "memory")
]

export const label = ({ name, store }: Pick<Subject, "name" | "store">): string => `${name}, ${store}`

/** Ours and the fastest peer with a store. */
export const quick = subjects.filter(
  ({ name, store }) => store === "memory" && [ours, anonymous, fastify].includes(name)
)

/** Ours from several builds, each compared with the first one. */
export const builds = (dists: ReadonlyArray<string>): ReadonlyArray<Subject> =>
  dists.flatMap((dist, i) =>
    subjects
      .filter(({ name }) => name === ours)
      .map(({ server, store }) =>
        subject(server, store, i === 0 ? ours : `${ours}, build ${i + 1}`, { BENCH_DIST: dist })
      )
  )

/**
 * Ours on the same store, which a subject's reads or writes are compared with. A sealed cookie has no store: it stands
 * beside ours in memory.
 */
export const counterpart = (subject: Subject, kind: "reads" | "writes", among: ReadonlyArray<Subject>) => {
  const store = subject.store === "cookie" ? "memory" : subject.store
  const named = (name: string) => among.find((other) => other.store === store && other.name === name)
  const found = (kind === "writes" ? named(anonymous) : undefined) ?? named(ours)
  return found === subject ? undefined : found
}
