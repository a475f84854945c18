import { assert, describe, it } from "@effect/vitest"
import * as Clock from "effect/Clock"
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import * as Layer from "effect/Layer"
import * as Option from "effect/Option"
import { clockSlack, SessionBackend, type SessionRecord } from "../src/SessionBackend.ts"
import * as SessionBackendTest from "../src/testing/SessionBackendTest.ts"

/** What can be wrong with a backend, and the cases that must find it out. */
const bugs = {
  "create is an upsert": ["[R5] create never replaces a record"],
  "create checks, then sets": ["[R5] of 100 concurrent creates of one id exactly one succeeds"],
  "create writes the index entry before it looks for the record": [
    "[R5] a create that was refused leaves no trace in the listing"
  ],
  "create loses the index entry of a principal known before": [
    "a principal whose records were deleted can log in again"
  ],
  "update ignores the version": [
    "[R70] update at another version changes nothing and answers the record as stale",
    "[R70] 50 concurrent writers that try again on stale keep all 50 updates"
  ],
  "update checks the version, then sets": [
    "[R70] of 20 concurrent updates from one version exactly one succeeds",
    "[R70] 50 concurrent writers that try again on stale keep all 50 updates",
    "[R70] of a rotation and an update from one version one succeeds, and the other sees it",
    "[R69] update against delete: when both have answered, the record is gone"
  ],
  "update stores the patched copy of its caller": [
    "[R71] update of a record that is not there answers gone and stores nothing"
  ],
  "update forgets to count": [
    "update at the expected version applies the patch, adds one to the version and answers the record"
  ],
  "update takes an empty text for absent": ["an empty text and a zero in a patch are values, not absent"],
  "update moves the times backwards": ["update moves lastSeenAt and idleExpiresAt only forward, each by itself"],
  "update moves the absolute deadline": [
    "[R43] update leaves what the patch does not name, and never moves what must stay"
  ],
  "stale answers the record as the caller knew it": [
    "[R70] update at another version changes nothing and answers the record as stale"
  ],
  "touch reads, then writes back": [
    "[R69] touch against delete: when both have answered, the record is gone",
    "[R84c] a touch and an update at the same time are both kept"
  ],
  "touch moves backwards": [
    "touch answers unchanged, and changes nothing, unless lastSeenAt is later than the one stored",
    "touch never moves idleExpiresAt backwards"
  ],
  "touch never sets the times back": [
    "touch sets both times back where lastSeenAt is more than clockSlack ahead",
    "a session that was set back can be touched like any other, and by several at once",
    "a record whose times were set back is swept at its new deadline"
  ],
  "touch sets only lastSeenAt back": ["touch sets both times back where lastSeenAt is more than clockSlack ahead"],
  "times are set back a millisecond too early": [
    "touch leaves both times where lastSeenAt is ahead by clockSlack at most",
    "update leaves both times where lastSeenAt is ahead by clockSlack at most"
  ],
  "update never sets the times back": [
    "update sets both times back where lastSeenAt is more than clockSlack ahead, with all it changes"
  ],
  "update sets only lastSeenAt back": [
    "update sets both times back where lastSeenAt is more than clockSlack ahead, with all it changes"
  ],
  "a sweep goes by the latest deadline a record has had": [
    "a record whose times were set back is swept at its new deadline"
  ],
  "touch counts as an update": ["[R84c] touch does not make an update stale, nor does an update undo a touch"],
  "delete ignores the principal": ["delete for a principal removes only a record of theirs"],
  "delete only hides, and a write shows again": ["[R69] late writes after delete never bring a record back"],
  "delete leaves the index entry": ["a principal whose records were deleted can log in again"],
  "deleteByPrincipal ignores except": ["[R49] deleteByPrincipal spares the one id excepted"],
  "deleteByPrincipal ignores its limit": [
    "[R49] deleteByPrincipal in batches deletes the latest created first, to the last"
  ],
  "deleteByPrincipal begins with the oldest": [
    "[R49] deleteByPrincipal in batches deletes the latest created first, to the last"
  ],
  "deleteByPrincipal says there is no more after a full batch": [
    "[R49] deleteByPrincipal in batches deletes the latest created first, to the last",
    "[R49] deleteByPrincipal in batches comes to an end beside the one id excepted"
  ],
  "deleteByPrincipal sees more in the one excepted": [
    "[R49] deleteByPrincipal in batches comes to an end beside the one id excepted"
  ],
  "deleteByPrincipal answers what it looked at": ["concurrent deleteByPrincipal count every record once"],
  "deleteByPrincipal answers no principal": [
    "[R49] deleteByPrincipal answers what it deleted: namespace, id and principal"
  ],
  "a walk begins with the oldest": ["a walk answers the latest created first, whatever was touched or updated since"],
  "deleteByPrincipal leaves one behind": [
    "[R49] deleteByPrincipal removes all records of the principal, counts them, and leaves all others"
  ],
  "principals are compared without case": ["[R67] no two principals are taken for one another, and none for a pattern"],
  "namespace and principal are joined by a colon": ["[R67] namespace and principal never run into one another"],
  "the namespace is ignored": ["one id in two namespaces is two records"],
  "paging counts instead of remembering": [
    "a walk skips and repeats nothing when records come and go between its pages"
  ],
  "paging repeats the record at the cursor": [
    "a walk in pages of any size answers every record exactly once, always in the same order"
  ],
  "read expires records by a clock of its own": [
    "[R44] read, update, touch and create go by the record, not by its deadlines"
  ],
  "a sweep leaves no slack": ["[R42] deleteExpired takes what is overdue, and nothing that a clock may be wrong about"],
  "a sweep has a millisecond too little slack": [
    "[R42] deleteExpired takes what is overdue, and nothing that a clock may be wrong about"
  ],
  "a sweep waits for more than half an hour": [
    "[R42] deleteExpired takes what is overdue, and nothing that a clock may be wrong about"
  ],
  "the absolute deadline is not swept": [
    "[R42] deleteExpired takes what is overdue, and nothing that a clock may be wrong about"
  ],
  "a scan finds records of other namespaces": [
    "scan answers every record of its namespace, with or without a principal, and no other"
  ],
  "a scan takes the namespace for a prefix": [
    "scan answers every record of its namespace, with or without a principal, and no other"
  ],
  "a scan finds no anonymous records": [
    "scan answers every record of its namespace, with or without a principal, and no other"
  ],
  "a scan hides expired records": ["scan answers expired records, which only a deletion takes away"],
  "a scan has no limit": ["scan in pages of any size, which hold no more, answers every record"],
  "a scan skips a record between two pages": ["scan in pages of any size, which hold no more, answers every record"],
  "a scan counts instead of remembering": [
    "a record that is there during the whole walk is found, whatever comes and goes between its pages"
  ],
  "a scan never ends": ["scan of a namespace without records answers none, and comes to an end"],
  "a scan keeps its place in the store": ["two walks at once are not in each other's way"],
  "a sweep has no limit": ["deleteExpired takes at most as many as it is told, and says which, to the last"],
  "a sweep says there is no more after a full batch": [
    "deleteExpired takes at most as many as it is told, and says which, to the last"
  ],
  "a sweep finds the same live records for ever": ["deleteExpired comes to an end beside many that it must leave"],
  "a sweep answers no principal": [
    "deleteExpired removes expired records of every namespace, with or without a principal"
  ],
  "a sweep selects, then deletes": ["deleteExpired against touch: a record that was touched stays, the other is gone"],
  "a sweep leaves the index entry": ["[R69] what is swept leaves no ghost, neither in the listing nor for late writes"],
  "a sweep does nothing": ["deleteExpired removes expired records of every namespace, with or without a principal"],
  "data is parsed and written anew": ["[R65] data and extension come back as they were, character by character"],
  "data is cut at 65,535 characters": ["[R66] data may be 64 KiB, of one-byte or of four-byte characters"],
  "numbers are rounded to 32 bits": ["numbers far beyond 32 bits come back exactly"],
  "records are kept by reference": [
    "[R8] what the caller does to a record or patch after handing it over changes nothing stored"
  ],
  "records are answered by reference": ["[R8] what the caller does to an answer changes nothing stored"]
} as const satisfies Record<string, ReadonlyArray<string>>

type Bug = keyof typeof bugs

/** A backend in memory, right but for the bug asked for. Its operations yield at the start, so that they interleave. */
const reference = (bug?: Bug): Layer.Layer<SessionBackend> =>
  Layer.sync(SessionBackend, () => {
    const has = (candidate: Bug): boolean => bug === candidate
    const slack = Duration.toMillis(clockSlack) - (has("times are set back a millisecond too early") ? 1 : 0)
    const records = new Map<string, SessionRecord>()
    const index = new Map<string, Set<string>>()
    const hidden = new Map<string, SessionRecord>()
    const latest = new Map<string, number>()
    /** Where the last walk over all is. */
    let place = ""

    const key = (namespace: string, id: string) => (has("the namespace is ignored") ? id : `${namespace}\n${id}`)
    const owner = (namespace: string, principal: string) => {
      if (has("the namespace is ignored")) return principal
      if (has("namespace and principal are joined by a colon")) return `${namespace}:${principal}`
      const name = has("principals are compared without case") ? principal.toLowerCase() : principal
      return JSON.stringify([namespace, name])
    }
    const text = (value: string) => {
      if (has("data is cut at 65,535 characters")) return value.slice(0, 65_535)
      if (!has("data is parsed and written anew") || value === "") return value
      return JSON.stringify(JSON.parse(value))
    }
    const int = (value: number) => (has("numbers are rounded to 32 bits") ? value % 2 ** 32 : value)
    const copy = (record: SessionRecord): SessionRecord => ({
      ...record,
      data: text(record.data),
      idleTimeout: int(record.idleTimeout)
    })
    const answer = (record: SessionRecord) => (has("records are answered by reference") ? record : { ...record })
    const enter = (record: SessionRecord) => {
      if (record.principal === undefined) return
      const name = owner(record.namespace, record.principal)
      if (!index.has(name)) index.set(name, new Set())
      else if (has("create loses the index entry of a principal known before") && index.get(name)!.size === 0) return
      index.get(name)!.add(key(record.namespace, record.id))
    }
    const remove = (record: SessionRecord, leaveEntry: boolean) => {
      const at = key(record.namespace, record.id)
      hidden.set(at, record)
      if (record.principal !== undefined && !leaveEntry) {
        index.get(owner(record.namespace, record.principal))?.delete(at)
      }
      return records.delete(at)
    }
    /** The entries of a principal, the latest created first, each with its place in a walk. */
    const of = (namespace: string, principal: string) =>
      [...(index.get(owner(namespace, principal)) ?? [])]
        .map((at) => {
          const record = records.get(at)
          const createdAt = String(record?.createdAt ?? 0).padStart(16, "0")
          return { at, record, place: `${createdAt} ${at}` }
        })
        .toSorted((a, b) => (a.place < b.place ? 1 : -1))

    return SessionBackend.of({
      create: (record) =>
        Effect.gen(function* () {
          yield* Effect.yieldNow
          const at = key(record.namespace, record.id)
          if (has("create writes the index entry before it looks for the record")) enter(record)
          const taken = records.has(at) && !has("create is an upsert")
          if (has("create checks, then sets")) yield* Effect.yieldNow
          if (taken) return "exists"
          records.set(at, has("records are kept by reference") ? record : copy(record))
          latest.set(at, Math.min(record.idleExpiresAt, record.absoluteExpiresAt))
          enter(record)
          return "created"
        }),

      read: (namespace, id) =>
        Effect.gen(function* () {
          yield* Effect.yieldNow
          const found = Option.fromUndefinedOr(records.get(key(namespace, id)))
          const now = yield* Clock.currentTimeMillis
          return has("read expires records by a clock of its own")
            ? Option.filter(found, (record) => now < Math.min(record.idleExpiresAt, record.absoluteExpiresAt))
            : Option.map(found, answer)
        }),

      update: (namespace, id, expectedVersion, patch) =>
        Effect.gen(function* () {
          yield* Effect.yieldNow
          const at = key(namespace, id)
          if (has("delete only hides, and a write shows again") && hidden.has(at)) records.set(at, hidden.get(at)!)
          const current = records.get(at)
          if (current === undefined) {
            if (has("update stores the patched copy of its caller")) {
              const made = { ...patch, namespace, id, principal: undefined, version: 1 }
              records.set(at, made as unknown as SessionRecord)
            }
            return { _tag: "gone" }
          }
          if (current.version !== expectedVersion && !has("update ignores the version")) {
            const version = has("stale answers the record as the caller knew it") ? expectedVersion : current.version
            return { _tag: "stale", record: { ...answer(current), version } }
          }
          if (has("update checks the version, then sets")) yield* Effect.yieldNow
          const isAhead = current.lastSeenAt > patch.lastSeenAt + slack && !has("update never sets the times back")
          const replace = (_: number, next: number) => next
          const later = has("update moves the times backwards") || isAhead ? replace : Math.max
          const or = <A>(next: A | undefined, old: A): A =>
            next === undefined || (has("update takes an empty text for absent") && next === "") ? old : next
          const record = copy({
            ...current,
            version: current.version + (has("update forgets to count") ? 0 : 1),
            secretHash: or(patch.secretHash, current.secretHash),
            data: or(patch.data, current.data),
            dataVersion: or(patch.dataVersion, current.dataVersion),
            extension: or(patch.extension, current.extension),
            lastSeenAt: later(current.lastSeenAt, patch.lastSeenAt),
            idleExpiresAt: has("update sets only lastSeenAt back")
              ? Math.max(current.idleExpiresAt, patch.idleExpiresAt)
              : later(current.idleExpiresAt, patch.idleExpiresAt),
            absoluteExpiresAt: current.absoluteExpiresAt + (has("update moves the absolute deadline") ? 1 : 0)
          })
          records.set(at, record)
          return { _tag: "updated", record: answer(record) }
        }),

      touch: (namespace, id, { idleExpiresAt, lastSeenAt }) =>
        Effect.gen(function* () {
          yield* Effect.yieldNow
          const at = key(namespace, id)
          const current = records.get(at)
          if (current === undefined) return "gone"
          const isAhead = current.lastSeenAt > lastSeenAt + slack && !has("touch never sets the times back")
          const backwards = has("touch moves backwards") || isAhead
          if (lastSeenAt <= current.lastSeenAt && !backwards) return "unchanged"
          if (has("touch reads, then writes back")) yield* Effect.yieldNow
          records.set(at, {
            ...current,
            version: current.version + (has("touch counts as an update") ? 1 : 0),
            lastSeenAt,
            idleExpiresAt:
              backwards && !has("touch sets only lastSeenAt back")
                ? idleExpiresAt
                : Math.max(current.idleExpiresAt, idleExpiresAt)
          })
          return "touched"
        }),

      delete: (namespace, id, options) =>
        Effect.gen(function* () {
          yield* Effect.yieldNow
          const record = records.get(key(namespace, id))
          if (record === undefined) return false
          const asked = options?.principal
          if (asked !== undefined && asked !== record.principal && !has("delete ignores the principal")) return false
          return remove(record, has("delete leaves the index entry"))
        }),

      deleteByPrincipal: (namespace, principal, { except, limit }) =>
        Effect.gen(function* () {
          yield* Effect.yieldNow
          const found = of(namespace, principal)
          if (has("deleteByPrincipal leaves one behind") && found.length > 3) found.pop()
          if (has("deleteByPrincipal begins with the oldest")) found.reverse()
          const left = found.filter(
            ({ record }) => record === undefined || record.id !== except || has("deleteByPrincipal ignores except")
          )
          const batch = has("deleteByPrincipal ignores its limit") ? left : left.slice(0, limit)
          const claims = has("deleteByPrincipal answers what it looked at")
          if (claims) yield* Effect.yieldNow
          const deleted = batch.filter(({ at, record }) => {
            if (record !== undefined) return remove(record, false) || claims
            // An entry that outlived its record: this store counts entries.
            return index.get(owner(namespace, principal))!.delete(at)
          })
          const all = has("deleteByPrincipal sees more in the one excepted") ? found : left
          return {
            deleted: deleted.map(({ at, record }) => ({
              namespace,
              id: record?.id ?? at,
              principal: has("deleteByPrincipal answers no principal") ? undefined : principal
            })),
            more: all.length > batch.length && !has("deleteByPrincipal says there is no more after a full batch")
          }
        }),

      listByPrincipal: (namespace, principal, { after, limit }) =>
        Effect.gen(function* () {
          yield* Effect.yieldNow
          const all = of(namespace, principal)
          if (has("a walk begins with the oldest")) all.reverse()
          const counting = has("paging counts instead of remembering")
          const repeats = has("paging repeats the record at the cursor")
          const found = all.findIndex(({ place }) => place === after)
          const isPassed = (place: string) => after !== undefined && (repeats ? place > after : place >= after)
          const start = counting
            ? Number(after ?? 0)
            : has("a walk begins with the oldest")
              ? found + 1
              : all.filter(({ place }) => isPassed(place)).length
          const page = all.slice(start, start + limit)
          const next = counting ? String(start + limit) : page.at(-1)?.place
          return {
            records: page.flatMap(({ record }) => (record === undefined ? [] : [answer(record)])),
            next: start + limit < all.length ? next : undefined
          }
        }),

      scan: (namespace, { after, limit }) =>
        Effect.gen(function* () {
          yield* Effect.yieldNow
          const now = yield* Clock.currentTimeMillis
          const isFound = (record: SessionRecord) =>
            (record.namespace === namespace ||
              has("a scan finds records of other namespaces") ||
              (has("a scan takes the namespace for a prefix") && record.namespace.startsWith(namespace))) &&
            !(has("a scan finds no anonymous records") && record.principal === undefined) &&
            !(has("a scan hides expired records") && record.idleExpiresAt < Math.max(now, 7_200_000))
          const all = [...records.values()].filter(isFound).toSorted((a, b) => (a.id < b.id ? -1 : 1))
          const counting = has("a scan counts instead of remembering")
          const own = has("a scan keeps its place in the store") && after !== undefined ? place : after
          const rest = counting ? all.slice(Number(own ?? 0)) : all.filter(({ id }) => own === undefined || id > own)
          const page = has("a scan has no limit") ? rest : rest.slice(0, limit)
          const skipped = has("a scan skips a record between two pages") ? rest[limit]?.id : undefined
          place = counting ? String(Number(own ?? 0) + page.length) : (skipped ?? page.at(-1)?.id ?? "")
          const isMore = rest.length > page.length || has("a scan never ends")
          return { records: page.map(answer), next: isMore ? place : undefined }
        }),

      deleteExpired: ({ limit, now }) =>
        Effect.gen(function* () {
          yield* Effect.yieldNow
          if (has("a sweep does nothing")) return { deleted: [], more: false }
          const margin = has("a sweep leaves no slack")
            ? 0
            : has("a sweep has a millisecond too little slack")
              ? Duration.toMillis(clockSlack) - 1
              : Duration.toMillis(has("a sweep waits for more than half an hour") ? "31 minutes" : clockSlack)
          const isExpired = (record: SessionRecord) => {
            let deadline = has("the absolute deadline is not swept")
              ? record.idleExpiresAt
              : Math.min(record.idleExpiresAt, record.absoluteExpiresAt)
            if (has("a sweep goes by the latest deadline a record has had")) {
              deadline = latest.get(key(record.namespace, record.id)) ?? deadline
            }
            return deadline <= now - margin
          }
          const isDue = (record: SessionRecord) =>
            has("a sweep finds the same live records for ever") ? record.createdAt < now : isExpired(record)
          const due = [...records.values()].filter(isDue)
          const batch = due.slice(0, has("a sweep has no limit") ? undefined : limit)
          if (has("a sweep selects, then deletes")) yield* Effect.yieldNow
          const deleted = batch.filter(isExpired).filter((record) => {
            const swept = remove(record, false)
            if (has("a sweep leaves the index entry")) enter(record)
            return swept
          })
          return {
            deleted: deleted.map(({ id, namespace, principal }) => ({
              namespace,
              id,
              principal: has("a sweep answers no principal") ? undefined : principal
            })),
            more: due.length > batch.length && !has("a sweep says there is no more after a full batch")
          }
        })
    })
  })

const { cases, collectingCases } = SessionBackendTest
const all = [...cases, ...collectingCases]

/** Names of the cases a backend does not pass, each run against a new one. */
const failures = (bug: Bug) =>
  Effect.map(
    Effect.forEach(all, ({ effect }) => Effect.exit(Effect.provide(effect, reference(bug)))),
    (exits) => all.filter((_, i) => Exit.isFailure(exits[i]!)).map(({ name }) => name)
  )

describe("SessionBackendTest", () => {
  describe("passes a backend without a bug", () => {
    for (const { effect, name } of all) it.effect(name, () => Effect.provide(effect, reference()))
  })

  describe("finds the bug", () => {
    for (const bug of Object.keys(bugs) as ReadonlyArray<Bug>) {
      it.effect(bug, () =>
        Effect.map(failures(bug), (found) => {
          for (const name of bugs[bug]) assert.include(found, name)
          assert.isBelow(found.length, all.length / 2, "the rest of the backend is right")
        })
      )
    }
  })

  it("every case has a name of its own", () => {
    assert.strictEqual(new Set(all.map(({ name }) => name)).size, all.length)
  })

  it.effect("passes with all its cases at once on one store, twice over", () =>
    Effect.provide(
      Effect.forEach([...all, ...all], ({ effect }) => effect, { concurrency: "unbounded", discard: true }),
      reference()
    )
  )

  it.live("passes under a live clock", () =>
    Effect.provide(
      Effect.forEach(all, ({ effect }) => effect, { discard: true }),
      reference()
    )
  )

  it.effect("leaves a store whose records expire by themselves to its ways, and takes its records away again", () =>
    Effect.gen(function* () {
      const layer = Layer.effect(
        SessionBackend,
        Effect.map(SessionBackend, (backend) => ({
          ...backend,
          deleteExpired: () => Effect.succeed({ deleted: [], more: false })
        }))
      ).pipe(Layer.provideMerge(reference()))
      let live = 0
      const counting = Layer.effect(
        SessionBackend,
        Effect.map(SessionBackend, (backend) =>
          SessionBackend.of({
            ...backend,
            create: (record) =>
              Effect.tap(backend.create(record), (verdict) =>
                Effect.sync(() => void (verdict === "created" && live++))
              ),
            delete: (...args) =>
              Effect.tap(backend.delete(...args), (deleted) => Effect.sync(() => void (deleted && live--))),
            deleteByPrincipal: (...args) =>
              Effect.tap(backend.deleteByPrincipal(...args), ({ deleted }) =>
                Effect.sync(() => void (live -= deleted.length))
              )
          })
        )
      ).pipe(Layer.provide(layer))
      yield* Effect.provide(
        Effect.forEach(cases, ({ effect }) => effect, { discard: true }),
        counting
      )
      assert.strictEqual(live, 0)
    })
  )
})
