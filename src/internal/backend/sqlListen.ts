/**
 * `LISTEN` of Postgres, where the client can: a `PgClient` of `@effect/sql-pg`.
 *
 * @internal
 */
import type * as Effect from "effect/Effect"
import * as Option from "effect/Option"
import { hasProperty } from "effect/Predicate"
import type * as Queue from "effect/Queue"
import * as Schema from "effect/Schema"
import type * as Scope from "effect/Scope"
import type { SqlError } from "effect/sql/SqlError"
import type { EndedHint } from "../../SessionBackend.ts"

export interface Notification {
  readonly payload: string
}

/** `PgClient.listen`: it holds a connection of the pool until the scope ends. */
export type Listen = (channel: string) => Effect.Effect<Queue.Dequeue<Notification, SqlError>, SqlError, Scope.Scope>

export const listenOf = (client: unknown): Listen | undefined =>
  hasProperty(client, "listen") && typeof client.listen === "function"
    ? // The one client for Postgres with a function of this name: there is nothing else to know it by without its package.
      (client.listen as Listen)
    : undefined

const decode = Schema.decodeUnknownOption(Schema.fromJsonString(Schema.Tuple([Schema.String, Schema.String])))

/** What a notification says. Anybody may send one on the channel: what is not a pair of texts is no hint. */
export const hintOf = (payload: string): EndedHint | undefined =>
  Option.getOrUndefined(Option.map(decode(payload), ([namespace, id]) => ({ namespace, id })))
