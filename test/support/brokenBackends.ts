/** Backends with a bug planted in them, which the checks of interleavings must find. */
import * as Effect from "effect/Effect"
import * as Option from "effect/Option"
import type * as SessionBackend from "../../src/SessionBackend.ts"
import type { Backend } from "./stack.ts"

/** An update that writes back the record it once saw, as a store does whose only write is "set". */
export const upserting = (memory: Backend): Backend => {
  const seen = new Map<string, SessionBackend.SessionRecord>()
  return {
    ...memory,
    read: (namespace, id) =>
      Effect.tap(memory.read(namespace, id), (found) =>
        Effect.sync(() => {
          if (Option.isSome(found)) seen.set(id, found.value)
        })
      ),
    update: (namespace, id, version, patch) =>
      Effect.flatMap(memory.update(namespace, id, version, patch), (result) => {
        const record = seen.get(id)
        if (result._tag !== "gone" || record === undefined) return Effect.succeed(result)
        const revived = { ...record, ...patch, version: version + 1 } as SessionBackend.SessionRecord
        return Effect.as(memory.create(revived), { _tag: "updated" as const, record: revived })
      })
  }
}

export const touchUpserting = (memory: Backend): Backend => {
  const upsert = upserting(memory)
  let last: SessionBackend.SessionRecord | undefined
  return {
    ...upsert,
    read: (namespace, id) =>
      Effect.tap(memory.read(namespace, id), (found) =>
        Effect.sync(() => {
          last = Option.getOrElse(found, () => last)
        })
      ),
    touch: (namespace, id, seen) =>
      Effect.flatMap(memory.touch(namespace, id, seen), (result) =>
        result === "gone" && last !== undefined
          ? Effect.as(memory.create({ ...last, ...seen }), "touched" as const)
          : Effect.succeed(result)
      )
  }
}

/** An update at whatever version there is. */
export const versionless = (memory: Backend): Backend => ({
  ...memory,
  update: (namespace, id, version, patch) =>
    Effect.flatMap(memory.read(namespace, id), (found) =>
      memory.update(namespace, id, Option.isSome(found) ? found.value.version : version, patch)
    )
})

/** A delete that answers as if it were done, and deletes nothing. */
export const forgetful = (memory: Backend): Backend => ({ ...memory, delete: () => Effect.succeed(true) })

/** A store that answers that a fence is made, and makes none. */
export const unfenced = (memory: Backend): Backend => ({
  ...memory,
  create: (record) => (record.namespace.endsWith("/fence") ? Effect.succeed("created") : memory.create(record))
})
