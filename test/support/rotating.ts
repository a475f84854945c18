/** Sessions whose tokens are rotated on a schedule, through the manager. */
import { assert } from "@effect/vitest"
import * as Effect from "effect/Effect"
import * as Layer from "effect/Layer"
import * as Redacted from "effect/Redacted"
import * as TestClock from "effect/testing/TestClock"
import type * as Session from "../../src/Session.ts"
import { silent } from "./logs.ts"
import { outcome } from "./outcome.ts"
import * as Stack from "./stack.ts"
import { ada, UserSession } from "./userSession.ts"
import type { Data } from "./userSession.ts"

export const times = { rotateEvery: "10 minutes", rotationGrace: "30 seconds" } as const
export const every = 600_000
export const grace = 30_000

export const Rotating = (parts: Stack.Parts<UserSession> = {}) =>
  Layer.merge(Stack.manager(UserSession, { ...times, ...parts }), silent)

export type Live = Session.Session<Data>

export const rotate = { rotate: true }
export const notFound = "SessionInvalid NotFound"
export const reused = "SessionInvalid Reused"

export const isSame = (a: Live, b: Live) => Redacted.value(a.token) === Redacted.value(b.token)

/** A session, the manager, and a look that may rotate. */
export const begin = Effect.gen(function* () {
  const sessions = yield* UserSession.Manager
  const first = yield* sessions.create(ada)
  const look = ({ token }: Live) => sessions.resolve(token, rotate)
  return { sessions, first, look, word: (session: Live) => outcome(look(session)) }
})

/** A session whose token has been rotated once on schedule. */
export const rotatedOnce = Effect.gen(function* () {
  const begun = yield* begin
  yield* TestClock.adjust(every)
  const second = yield* begun.look(begun.first)
  assert.isFalse(isSame(second, begun.first))
  return { ...begun, second }
})
