/** A manager over a watched memory backend, for a test of its own. */
import { NodeCrypto } from "@effect/platform-node"
import * as Context from "effect/Context"
import * as Effect from "effect/Effect"
import * as Layer from "effect/Layer"
import * as Option from "effect/Option"
import type * as Session from "../../src/Session.ts"
import * as Extension from "../../src/internal/manager/extension.ts"
import * as SessionBackend from "../../src/SessionBackend.ts"
import { silent } from "./logs.ts"
import { recordOf } from "./records.ts"
import * as Stack from "./stack.ts"
import { ada, addWord, UserSession } from "./userSession.ts"
import type { Data, Manager } from "./userSession.ts"
import * as WatchedBackend from "./watchedBackend.ts"

type Watched = WatchedBackend.WatchedBackend

/** The parts of a manager, and its handler. */
export type Given = Stack.Parts<UserSession> & Stack.Told<Data, (typeof UserSession)["refused"]>

export const onManager = <A, E>(
  given: Given,
  test: (
    manager: Manager,
    watched: Watched
  ) => Effect.Effect<A, E, Session.ManagerOf<UserSession> | Session.VerifierOf<UserSession> | Session.Core>
) => {
  const watched = WatchedBackend.make()
  return Effect.flatMap(UserSession.Manager, (manager) => test(manager, watched)).pipe(
    Effect.provide([Stack.manager(UserSession, { ...given, backend: watched.layer }), silent])
  )
}

/** A manager as another process on the same backend has it, until the test ends. */
export const managerOn = (watched: Watched, given: Given = {}) =>
  Effect.map(
    Layer.build(Stack.manager(UserSession, { crypto: NodeCrypto.layer, ...given, backend: watched.layer })),
    Context.get(UserSession.Manager)
  )

/** Each call that may be made with a session, or its token. */
export const callsWith = (
  manager: Manager,
  session: Session.Session<Data>
): Record<string, Effect.Effect<unknown, unknown>> => ({
  resolve: manager.resolve(session.token),
  modify: manager.modify(session.token, addWord("x")),
  "modify of a session": manager.modify(session, addWord("x")),
  replace: manager.replace(session, ada),
  describe: manager.describe(session.token, {}),
  rotate: manager.rotate(session.token),
  reauthenticate: manager.reauthenticate(session.token),
  createFrom: manager.createFrom(session, () => ada)
})

/** Fails, while `during` runs, the calls that `which` chooses. */
export const failing = <A, E, R>(
  watched: Watched,
  which: (operation: SessionBackend.Operation, args: ReadonlyArray<unknown>) => boolean,
  during: Effect.Effect<A, E, R>,
  outcome: "notApplied" | "unknown" = "notApplied"
) =>
  Effect.suspend(() => {
    watched.wire = (operation, run, args) => (which(operation, args) ? WatchedBackend.failure(operation, outcome) : run)
    return Effect.ensuring(
      during,
      Effect.sync(() => {
        watched.wire = (_, run) => run
      })
    )
  })

/** Seals a session's record, as a log-in does that replaces it. */
export const seal = Effect.fnUntraced(function* (id: string) {
  const backend = yield* SessionBackend.SessionBackend
  const { idleExpiresAt, lastSeenAt, version } = yield* recordOf(UserSession, id)
  const of = "S".repeat(43)
  const extension = Extension.format({ seal: { of, at: lastSeenAt } })
  yield* backend.update(UserSession.key, id, version, { secretHash: of, extension, idleExpiresAt, lastSeenAt })
})

export const fenceNamespace = `${UserSession.key}/fence`

/** The session of somebody who has not logged in. */
export const visitor: Data = { words: ["milk"], count: 1 }

/** Logs ada in, with the words that the visitor had. */
export const adaWith = (before: Option.Option<Data>): Data => ({
  ...ada,
  words: Option.match(before, { onNone: () => ["nothing"], onSome: ({ words }) => words })
})
