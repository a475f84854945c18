/**
 * Conformance cases of `ended`.
 *
 * @internal
 */
import * as Clock from "effect/Clock"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import * as Queue from "effect/Queue"
import * as Scope from "effect/Scope"
import type { EndedHint, SessionBackendError, SessionRecord } from "../../SessionBackend.ts"
import { check, ConformanceError, equal, show } from "./expect.ts"
import { alice, type Body, type Case, makeCase, random, range, type Store } from "./fixture.ts"

type Hints = Queue.Dequeue<EndedHint, SessionBackendError>

/** Real time, since a case may run under a clock that stands. */
const inTime = <A, E>(effect: Effect.Effect<A, E>, what: string) =>
  Effect.timeoutOrElse(effect, {
    duration: "10 seconds",
    orElse: () => Effect.fail(new ConformanceError({ message: `${what}: not within 10 seconds` }))
  }).pipe(Effect.provideService(Clock.Clock, Clock.Clock.defaultValue()))

const subscribe = ({ backend }: Store) =>
  Effect.suspend(() =>
    backend.ended === undefined
      ? Effect.fail(new ConformanceError({ message: "the backend has no `ended`: these cases are not for it" }))
      : Effect.flatMap(Effect.scope, (scope) => inTime(Scope.provide(backend.ended!, scope), "the subscription"))
  )

const nameOf = ({ id, namespace }: EndedHint): string => show([namespace, id])

/** Takes hints until there is one of each of these, and answers all it has taken. */
const upTo = (hints: Hints, awaited: ReadonlyArray<EndedHint>) =>
  inTime(
    Effect.gen(function* () {
      const missing = new Set(awaited.map(nameOf))
      const found: Array<EndedHint> = []
      while (missing.size > 0) {
        const hint = yield* Queue.take(hints)
        found.push(hint)
        missing.delete(nameOf(hint))
      }
      return found
    }),
    `hints of ${show(awaited.map(({ id }) => id))}`
  )

/** Takes hints up to that of a record that is deleted now. */
const upToNow = (store: Store, hints: Hints) =>
  Effect.gen(function* () {
    const record = yield* store.create({ principal: "mark" })
    yield* store.delete(record)
    const found = yield* upTo(hints, [record])
    return found.filter(({ id }) => id !== record.id)
  })

/** Expects a hint of each of these records, once or more often, and none of others of the case. */
const expectHints = (store: Store, hints: Hints, expected: ReadonlyArray<SessionRecord>, what: string) =>
  Effect.gen(function* () {
    const found = [...(yield* upTo(hints, expected)), ...(yield* upToNow(store, hints))]
    const names = new Set(store.made.map(nameOf))
    const unexpected = new Set(found.map(nameOf).filter((name) => names.has(name)))
    for (const record of expected) unexpected.delete(nameOf(record))
    yield* equal([...unexpected].join(" "), "", `${what}: hints of other records`)
  })

const makePushingCase = (name: string, body: (store: Store, hints: Hints) => ReturnType<Body>): Case =>
  makeCase(name, function* (store) {
    yield* Effect.scoped(Effect.flatMap(subscribe(store), (hints) => Effect.gen(() => body(store, hints))))
  })

/** @internal */
export const cases: ReadonlyArray<Case> = [
  makePushingCase("ended: a hint for a record that is deleted", function* (store, hints) {
    const record = yield* store.create()
    const anonymous = yield* store.create({ principal: undefined })
    const owned = yield* store.create()
    yield* store.create()
    yield* store.delete(record)
    yield* store.delete(anonymous)
    yield* store.delete(owned, alice)
    yield* expectHints(store, hints, [record, anonymous, owned], "after delete")
  }),
  makePushingCase("ended: none for a delete that deletes nothing", function* (store, hints) {
    const record = yield* store.create()
    yield* equal(yield* store.delete(record, "bob"), false, "delete for another principal")
    yield* equal(yield* store.delete(store.record()), false, "delete of a record that is not there")
    yield* expectHints(store, hints, [], "after deletes that did nothing")
  }),
  makePushingCase(
    "ended: a hint for each record that deleteByPrincipal deletes, and for no other",
    function* (store, hints) {
      const theirs = yield* Effect.forEach(range(12), () => store.create())
      const kept = yield* store.create()
      yield* store.create({ principal: "bob" })
      yield* equal(yield* store.revoke(alice, kept.id), 12, "the count")
      yield* expectHints(store, hints, theirs, "after deleteByPrincipal")
    }
  ),
  makePushingCase(
    "ended: a hint for an update with another secretHash, and none for other writes",
    function* (store, hints) {
      const changed = yield* store.create()
      const rotated = yield* store.create()
      const again = yield* store.update(changed, { data: `"new"`, dataVersion: 2, extension: "[1]" })
      yield* equal(again._tag, "updated", "update of the data")
      yield* store.touch(changed)
      yield* equal((yield* store.update(changed, { secretHash: random(32) }))._tag, "stale", "a stale update")
      yield* equal((yield* store.update(rotated, { secretHash: random(32) }))._tag, "updated", "update of the secret")
      yield* expectHints(store, hints, [rotated], "after the writes")
    }
  ),
  makePushingCase("ended: a hint has the namespace, where one id is in two", function* (store, hints) {
    const one = yield* store.create()
    const other = yield* store.create({ namespace: `${store.namespace}:o/"'\\é`, id: one.id })
    yield* store.delete(other)
    yield* expectHints(store, hints, [other], "after the delete of one of two")
  }),
  makePushingCase("ended: each subscriber gets each hint, until its scope ends", function* (store, hints) {
    const scope = yield* Scope.make()
    const second = yield* Scope.provide(subscribe(store), scope)
    const record = yield* store.create()
    yield* store.delete(record)
    yield* expectHints(store, hints, [record], "the first subscriber")
    yield* upTo(second, [record])
    yield* Scope.close(scope, Exit.void)
    yield* upToNow(store, hints)
    const rest = yield* inTime(Effect.exit(Queue.takeAll(second)), "the queue of a scope that has ended")
    yield* check(Exit.isFailure(rest), "a subscriber whose scope had ended got another hint")
    yield* Effect.scoped(Effect.flatMap(subscribe(store), (third) => upToNow(store, third)))
  })
]
