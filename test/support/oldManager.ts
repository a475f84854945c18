/**
 * A server of the version before log-ins had a life of their own (commit b2d8943), as far as it goes: a frozen copy of what
 * it does to a record. It knows neither seal, nor fence, nor limit, nor scheduled rotation, and leaves `extension` alone.
 * `test/oldServer/run.ts` runs the same scenarios over the package of that commit.
 */
import * as Clock from "effect/Clock"
import * as Effect from "effect/Effect"
import { createHash, randomBytes } from "node:crypto"
import { SessionInvalid } from "../../src/SessionError.ts"
import { type SessionBackend, type SessionRecord } from "../../src/SessionBackend.ts"
import type { Implemented, Operations, RemoteData } from "./remoteManager.ts"

export type Old = "create" | "resolve" | "addItem" | "rotate" | "list" | "revoke" | "revokeAll" | "destroy"

const hour = 3_600_000

const hashOf = (secret: string) => createHash("sha256").update(secret).digest("base64url")
const notFound = Effect.fail(new SessionInvalid({ reason: "NotFound" }))
const expired = Effect.fail(new SessionInvalid({ reason: "Expired" }))

/** It signs with the token of another server: that the signature is checked is tested elsewhere. */
export const make = (
  backend: SessionBackend["Service"],
  namespace: string,
  issue: (id: string, secret: string) => Effect.Effect<string>
): Implemented<Old> => {
  const partsOf = (token: string) => {
    const [, , id, secret] = token.split(".")
    return { id: id!, hash: hashOf(secret!) }
  }
  const dataOf = ({ data }: SessionRecord) => JSON.parse(data) as RemoteData
  const infoOf = (record: SessionRecord) => ({
    id: record.id,
    data: dataOf(record),
    version: record.version,
    methods: []
  })
  const shown = (record: SessionRecord, token: string) => ({ ...infoOf(record), token })
  const expiryOf = ({ absoluteExpiresAt, idleExpiresAt }: SessionRecord) => Math.min(idleExpiresAt, absoluteExpiresAt)

  const load = Effect.fnUntraced(function* (token: string) {
    const { hash, id } = partsOf(token)
    const found = yield* backend.read(namespace, id)
    if (found._tag === "None" || found.value.secretHash !== hash) return yield* notFound
    return (yield* Clock.currentTimeMillis) >= expiryOf(found.value) ? yield* expired : found.value
  })

  /** Writes, again on the record found instead, unless its secret is another. */
  const change = Effect.fnUntraced(function* (
    given: SessionRecord,
    patch: (record: SessionRecord) => { readonly data?: string; readonly secretHash?: string }
  ) {
    for (let record = given; ;) {
      if (record.secretHash !== given.secretHash) return yield* notFound
      const now = yield* Clock.currentTimeMillis
      const result = yield* backend.update(namespace, record.id, record.version, {
        ...patch(record),
        lastSeenAt: now,
        idleExpiresAt: now + hour
      })
      if (result._tag === "gone") return yield* notFound
      record = result.record
      if (result._tag === "updated") return record
    }
  })

  return {
    create: Effect.fnUntraced(function* (data) {
      const now = yield* Clock.currentTimeMillis
      const [id, secret] = [randomBytes(16).toString("base64url"), randomBytes(32).toString("base64url")]
      const record: SessionRecord = {
        namespace,
        id,
        secretHash: hashOf(secret),
        version: 1,
        principal: data.user,
        data: JSON.stringify(data),
        dataVersion: 1,
        extension: "",
        createdAt: now,
        authenticatedAt: now,
        lastSeenAt: now,
        idleTimeout: hour,
        idleExpiresAt: now + hour,
        absoluteExpiresAt: now + 24 * hour,
        persistent: true
      }
      yield* backend.create(record)
      return shown(record, yield* issue(id, secret))
    }),
    resolve: (token) => Effect.map(load(token), (record) => shown(record, token)),
    addItem: (token, item) =>
      Effect.flatMap(load(token), (record) =>
        Effect.map(
          change(record, (record) => {
            const data = dataOf(record)
            return { data: JSON.stringify({ ...data, items: [...data.items, item] }) }
          }),
          (record) => shown(record, token)
        )
      ),
    rotate: (token) =>
      Effect.flatMap(load(token), (record) => {
        const secret = randomBytes(32).toString("base64url")
        return Effect.flatMap(
          change(record, () => ({ secretHash: hashOf(secret) })),
          (record) => Effect.map(issue(record.id, secret), (token) => shown(record, token))
        )
      }),
    list: (user) =>
      Effect.flatMap(Clock.currentTimeMillis, (now) =>
        Effect.map(backend.listByPrincipal(namespace, user, { limit: 100 }), ({ records }) =>
          records.filter((record) => now < expiryOf(record)).map(infoOf)
        )
      ),
    revoke: (id, user) => backend.delete(namespace, id, { principal: user }),
    revokeAll: (user) =>
      Effect.map(backend.deleteByPrincipal(namespace, user, { limit: 1000 }), ({ deleted }) => deleted.length),
    destroy: (token) => Effect.as(backend.delete(namespace, partsOf(token).id), true)
  } satisfies Pick<Implemented, Old & keyof Operations>
}
