/**
 * Conformance cases of `ended`.
 *
 * @internal
 */
import * as Clock from "effect/Clock"
import * as Effect from "effect/Effect"
import * as Queue from "effect/Queue"
import * as Scope from "effect/Scope"
import * as Exit from "effect/Exit"
import type { EndedHint, SessionBackendError, SessionRecord } from "../../SessionBackend.ts"
import { check, ConformanceError, equal, show } from "./expect.ts"
import { alice, type Body, type Case, makeCase, random, range, type Store } from "./fixture.ts"

type Hints = Queue.Dequeue<EndedHint, SessionBackendError>

/** A case may run under a clock that stands. */
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

const isOf =
  ({ id, namespace }: EndedHint) =>
  (hint: EndedHint) =>
    hint.id === id && hint.namespace === namespace

/** Takes hints up to the one of this record, and answers those of the case's namespaces. Others' may come in between. */
const upTo = (hints: Hints, last: SessionRecord, namespaces: ReadonlyArray<string> = [last.namespace]) =>
  inTime(
    Effect.gen(function* () {
      const found: Array<EndedHint> = []
      while (true) {
        const hint = yield* Queue.take(hints)
        if (namespaces.includes(hint.namespace)) found.push(hint)
        if (isOf(last)(hint)) return found
      }
    }),
    `the hint of ${show(last.id)}`
  )

/** Expects that the hints up to `last` are of these records, in any order, once or more often. */
const expectHints = (hints: Hints, expected: ReadonlyArray<SessionRecord>, last: SessionRecord, what: string) =>
  Effect.flatMap(upTo(hints, last), (found) =>
    equal(
      [...new Set(found.map(({ id }) => id))].toSorted().join(" "),
      [...new Set([...expected, last].map(({ id }) => id))].toSorted().join(" "),
      `${what}: ids`
    )
  )

/** Deletes a record made for it, so that what came before its hint is all there is. */
const mark = (store: Store) => Effect.tap(store.create({ principal: "mark" }), (record) => store.delete(record))

const makePushingCase = (name: string, body: (store: Store, hints: Hints) => ReturnType<Body>): Case =>
  makeCase(name, function* (store) {
    yield* Effect.scoped(Effect.flatMap(subscribe(store), (hints) => Effect.gen(() => body(store, hints))))
  })

/** @internal */
export const cases: ReadonlyArray<Case> = [
  makePushingCase("ended: a hint for a record that is deleted", function* (store, hints) {
    const record = yield* store.create()
    const anonymous = yield* store.create({ principal: undefined })
    yield* store.delete(record)
    yield* store.delete(anonymous)
    yield* expectHints(hints, [record], anonymous, "two deleted")
    const owned = yield* store.create()
    yield* store.delete(owned, alice)
    yield* expectHints(hints, [], owned, "deleted for its principal")
  }),
  makePushingCase("ended: none for a delete that deletes nothing", function* (store, hints) {
    const record = yield* store.create()
    yield* equal(yield* store.delete(record, "bob"), false, "delete for another principal")
    yield* equal(yield* store.delete(store.record()), false, "delete of a record that is not there")
    yield* expectHints(hints, [], yield* mark(store), "after deletes that did nothing")
  }),
  makePushingCase(
    "ended: a hint for each record that deleteByPrincipal deletes, and for no other",
    function* (store, hints) {
      const theirs = yield* Effect.forEach(range(12), () => store.create())
      const kept = yield* store.create()
      yield* store.create({ principal: "bob" })
      yield* equal(yield* store.revoke(alice, kept.id), 12, "the count")
      yield* expectHints(hints, theirs, yield* mark(store), "after deleteByPrincipal")
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
      yield* expectHints(hints, [], rotated, "after the writes")
    }
  ),
  makePushingCase("ended: a hint has the namespace, where one id is in two", function* (store, hints) {
    const one = yield* store.create()
    const other = yield* store.create({ namespace: `${store.namespace}:o/"'\\é`, id: one.id })
    yield* store.delete(other)
    const found = yield* upTo(hints, other, [one.namespace, other.namespace])
    yield* equal(show(found.map(({ namespace }) => namespace)), show([other.namespace]), "namespaces of the hints")
    yield* store.delete(one)
    yield* upTo(hints, one)
  }),
  makePushingCase("ended: each subscriber gets each hint, until its scope ends", function* (store, hints) {
    const scope = yield* Scope.make()
    const second = yield* Scope.provide(subscribe(store), scope)
    const record = yield* store.create()
    yield* store.delete(record)
    yield* expectHints(hints, [], record, "the first subscriber")
    yield* expectHints(second, [], record, "the second subscriber")
    yield* Scope.close(scope, Exit.void)
    yield* upTo(hints, yield* mark(store))
    const rest = yield* inTime(Effect.exit(Queue.takeAll(second)), "the queue of a scope that has ended")
    yield* check(Exit.isFailure(rest), "a subscriber whose scope had ended got another hint")
    const third = yield* Effect.scoped(
      subscribe(store).pipe(
        Effect.flatMap((third) => Effect.flatMap(mark(store), (m) => Effect.as(upTo(third, m), true)))
      )
    )
    yield* check(third, "a later subscriber")
  })
]
