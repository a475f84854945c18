/**
 * All sessions of a definition, for an operator of the application: to count them, to look through them, and to end them.
 *
 * **When to use**
 *
 * Use in an administrator's page, in a job, or after an incident. `SessionCli` has it as a command. What a user may do with
 * their own sessions is in the request's session.
 *
 * **Details**
 *
 * - It asks the definition's manager for everything, so a layer that wraps the manager gets every call.
 * - A walk over all sessions goes page by page, each call with the deadline of the manager: it takes as long as the store
 *   is large, and neither it nor this process is blocked meanwhile. Memory holds one page.
 * - Sessions that begin or end during a walk may be in it or not. In Redis a session may be in it twice, if Redis makes its
 *   table of keys smaller meanwhile.
 * - A store that fails is a `SessionUnavailable`. What was ended before stays ended.
 *
 * **Example** (Ending every session after an incident)
 *
 * ```ts
 * import { Console, Effect, Schema } from "effect"
 * import { Session, SessionAdmin } from "effect-sessions"
 *
 * class UserSession extends Session.Service<UserSession>()("app/UserSession", {
 *   data: Schema.Struct({ username: Schema.String }),
 *   principal: (data) => data.username
 * }) {}
 *
 * export const endAll = Effect.gen(function*() {
 *   const admin = yield* SessionAdmin.make(UserSession)
 *   const count = yield* admin.revokeAll({ onProgress: (count) => Console.log(`${count} so far`) })
 *   yield* Console.log(`${count} sessions ended`)
 * })
 * ```
 *
 * @stability experimental
 * @since 0.1.0
 */

import * as Clock from "effect/Clock"
import * as Effect from "effect/Effect"
import * as Option from "effect/Option"
import * as Stream from "effect/Stream"
import type { Definition, ManagerOf, SessionId, SessionInfo, Tagged } from "./Session.ts"
import { SessionUnavailable } from "./SessionError.ts"

/**
 * Which sessions are meant.
 *
 * @stability experimental
 * @category options
 * @since 0.1.0
 */
export interface Selection {
  /** Those of one principal, at most 1,000, the newest first. @default all, in an order of the store's own */
  readonly principal?: string | undefined
}

/**
 * How to be told of what goes on.
 *
 * @stability experimental
 * @category options
 * @since 0.1.0
 */
export interface Progress {
  /** Is told after each page how many there have been so far, and awaited. */
  readonly onProgress?: ((count: number) => Effect.Effect<void>) | undefined
}

/**
 * The live sessions of a definition. Of one whose data do not decode, `data` is `undefined`.
 *
 * @stability experimental
 * @category models
 * @since 0.1.0
 */
export interface SessionAdmin<A> {
  /** Counts by walking: no store knows the number of those that live. */
  readonly count: (options?: Selection & Progress) => Effect.Effect<number, SessionUnavailable>
  /** Reads the next page once the one before it is used up. */
  readonly stream: (options?: Selection) => Stream.Stream<SessionInfo<A | undefined>, SessionUnavailable>
  readonly get: (id: SessionId) => Effect.Effect<Option.Option<SessionInfo<A | undefined>>, SessionUnavailable>
  /** Ends a session by its id. Answers whether there was one. */
  readonly revoke: (id: SessionId) => Effect.Effect<boolean, SessionUnavailable>
  /** Ends all sessions of a principal, and makes log-ins fail that are under way. Answers how many. */
  readonly revokePrincipal: (principal: string) => Effect.Effect<number, SessionUnavailable>
  /**
   * Ends all sessions of the definition, those of principals as `revokePrincipal` does. Answers how many.
   *
   * It walks over all of them, and over those that are older than the call again, until a walk ends none. So sessions that
   * begin meanwhile may stay, and users who log in again are not logged out for ever.
   *
   * Where the store refuses to end a principal's, as one that is full does, it ends them by their ids, goes on, and fails
   * at the end.
   */
  readonly revokeAll: (options?: Progress) => Effect.Effect<number, SessionUnavailable>
}

/** How many principals or sessions are ended at once. */
const concurrency = 8

/**
 * Makes the administration of a definition's sessions.
 *
 * @stability experimental
 * @category constructors
 * @since 0.1.0
 */
export const make = <Self, A, R extends ReadonlyArray<Tagged>>(
  definition: Definition<Self, A, R>
): Effect.Effect<SessionAdmin<A>, never, ManagerOf<Self>> =>
  Effect.map(definition.Manager, (manager) => {
    const pages = (
      selection: Selection
    ): Stream.Stream<ReadonlyArray<SessionInfo<A | undefined>>, SessionUnavailable> =>
      selection.principal === undefined
        ? Stream.paginate(undefined as string | undefined, (after) =>
            Effect.map(
              manager.scan({ after }),
              ({ next, sessions }) => [[sessions], Option.fromUndefinedOr(next)] as const
            )
          )
        : Stream.fromEffect(manager.list(selection.principal))

    const endById = (sessions: ReadonlyArray<SessionInfo<A | undefined>>) =>
      Array.from(new Set(sessions.map(({ id }) => id)), (id) => Effect.map(manager.revokeAny(id), Number))

    /** Those of principals with all that these have; where that fails, by their ids, which a store that is full may do yet. */
    const end = (sessions: ReadonlyArray<SessionInfo<A | undefined>>, onFailed: () => void) =>
      Array.from(
        Map.groupBy(sessions, ({ principal }) => Option.getOrUndefined(principal)),
        ([principal, own]) =>
          principal === undefined
            ? endById(own)
            : Effect.catch(manager.revokeAll(principal), () => {
                onFailed()
                return Effect.map(Effect.all(endById(own)), (ended) => ended.reduce((sum, one) => sum + one, 0))
              })
      ).flat()

    return {
      count: ({ onProgress, ...selection } = {}) =>
        Stream.runFoldEffect(
          pages(selection),
          () => 0,
          (count, page) => {
            const now = count + page.length
            return onProgress === undefined ? Effect.succeed(now) : Effect.as(onProgress(now), now)
          }
        ),
      stream: (selection = {}) => Stream.flattenIterable(pages(selection)),
      get: (id) => manager.get(id),
      revoke: (id) => manager.revokeAny(id),
      revokePrincipal: (principal) => manager.revokeAll(principal),
      revokeAll: ({ onProgress } = {}) =>
        Effect.gen(function* () {
          const began = yield* Clock.currentTimeMillis
          let count = 0
          let hasFailed = false
          const onFailed = () => {
            hasFailed = true
          }
          // The first walk ends all: of a session that seems to be younger, the server's clock may be wrong.
          for (let isFirst = true; ; isFirst = false) {
            const before = count
            yield* Stream.runForEach(pages({}), (page) => {
              const meant = isFirst ? page : page.filter(({ createdAt }) => createdAt.epochMilliseconds <= began)
              // What is still there the store may not find by its principal: Redis may have lost the entry of an index.
              const ending = isFirst ? end(meant, onFailed) : [...end(meant, onFailed), ...endById(meant)]
              return Effect.andThen(
                Effect.forEach(
                  ending,
                  Effect.map((ended) => {
                    count += ended
                  }),
                  { concurrency, discard: true }
                ),
                Effect.suspend(() => onProgress?.(count) ?? Effect.void)
              )
            }).pipe(Effect.mapError((error) => (count === 0 ? error : new SessionUnavailable({ outcome: "unknown" }))))
            if (count === before && !isFirst) break
          }
          // Sessions are gone, but log-ins under way may have come through.
          return hasFailed ? yield* new SessionUnavailable({ outcome: "unknown" }) : count
        })
    }
  })
