/** Changes of one session that wait in a process are written together, and none is another's to spoil. */
import { assert, describe, it } from "@effect/vitest"
import * as Clock from "effect/Clock"
import * as Effect from "effect/Effect"
import * as Fiber from "effect/Fiber"
import * as TestClock from "effect/testing/TestClock"
import type { Session } from "../../src/Session.ts"
import { SessionRefused } from "../../src/SessionError.ts"
import * as SessionVerifier from "../../src/SessionVerifier.ts"
import { silent } from "../support/logs.ts"
import { outcome } from "../support/outcome.ts"
import * as Stack from "../support/stack.ts"
import { ada, addWord, UserSession } from "../support/userSession.ts"
import type { Data, Manager } from "../support/userSession.ts"
import * as WatchedBackend from "../support/watchedBackend.ts"

/** A manager over a store whose every update takes 10 ms; the first change that comes goes alone, and the rest wait. */
const setUp = Effect.fnUntraced(function* (parts?: Stack.Parts<UserSession>) {
  const memory = Stack.memory()
  const watched = WatchedBackend.over(memory)
  watched.wire = (operation, run) => (operation === "update" ? Effect.delay(run, 10) : run)
  const build = Effect.provide(UserSession.Manager, Stack.manager(UserSession, { backend: watched.layer, ...parts }), {
    local: true
  })
  const sessions = yield* build
  const session = yield* sessions.create(ada)
  const words = Effect.map(
    Effect.suspend(() => memory.read(UserSession.key, session.id)),
    (found) => (found._tag === "Some" ? (JSON.parse(found.value.data) as Data).words : undefined)
  )
  return { memory, watched, build, sessions, session, words }
})

const fork = <A, E>(effect: Effect.Effect<A, E>) => Effect.forkChild(effect, { startImmediately: true })

/** Lets time pass in small steps, until all have ended. */
const settle = Effect.fnUntraced(function* <A>(fibers: ReadonlyArray<Fiber.Fiber<A>>, step = 5) {
  for (let i = 0; i < 1000 && fibers.some((fiber) => fiber.pollUnsafe() === undefined); i++) {
    yield* TestClock.adjust(step)
  }
  return yield* Effect.forEach(fibers, Fiber.join)
})

const add = (sessions: Manager, session: Session<Data>, word: string) =>
  outcome(sessions.modify(session, addWord(word)))

const addAll = (sessions: Manager, session: Session<Data>, words: ReadonlyArray<string>) =>
  Effect.forEach(words, (word) => fork(add(sessions, session, word)))

describe("changes that wait", () => {
  it.effect("[R70] are written together, in their order, and each is answered what is stored", () =>
    Effect.gen(function* () {
      const { session, sessions, watched } = yield* setUp()
      const names = Array.from({ length: 50 }, (_, i) => `w${i}`)
      const fibers = yield* Effect.forEach(names, (name) => fork(Effect.orDie(sessions.modify(session, addWord(name)))))
      const answers = yield* settle(fibers)
      assert.strictEqual(watched.count("update"), 2)
      assert.deepStrictEqual(
        answers.map(([word]) => word),
        names
      )
      for (const [i, [, { data, version }]] of answers.entries()) {
        assert.deepStrictEqual([data.words, version], i === 0 ? [["w0"], 2] : [names, 3])
      }
      // A copy for each: what one request does to its data, another does not see.
      assert.strictEqual(new Set(answers.map(([, { data }]) => data.words)).size, 50)
    }).pipe(Effect.provide(silent))
  )

  it.effect("are at most 64 in a write", () =>
    Effect.gen(function* () {
      const { session, sessions, watched, words } = yield* setUp()
      const names = Array.from({ length: 100 }, (_, i) => `w${i}`)
      yield* settle(yield* addAll(sessions, session, names))
      assert.strictEqual(watched.count("update"), 3)
      assert.deepStrictEqual(yield* words, names)
    }).pipe(Effect.provide(silent))
  )

  it.effect("[R70] those that change nothing ride along, and write nothing themselves", () =>
    Effect.gen(function* () {
      const { session, sessions, watched } = yield* setUp()
      const keep = sessions.modify(session, (data) => [data.words.length, data])
      const answers = yield* settle([
        yield* fork(add(sessions, session, "a")),
        yield* fork(Effect.orDie(Effect.map(keep, ([n, { version }]) => `${n} ${version}`))),
        yield* fork(add(sessions, session, "b")),
        yield* fork(
          Effect.orDie(Effect.map(keep, ([n, { version, data }]) => `${n} ${version} ${data.words.join("")}`))
        )
      ])
      assert.deepStrictEqual(answers, ["ok", "1 3", "ok", "2 3 ab"])
      yield* settle([yield* fork(Effect.orDie(keep)), yield* fork(Effect.orDie(keep))])
      assert.strictEqual(watched.count("update"), 2)
    }).pipe(Effect.provide(silent))
  )

  it.effect("[R70] a defect, a refusal and a principal that changes are one's own", () =>
    Effect.gen(function* () {
      const verifier = SessionVerifier.layerPredicate(
        UserSession,
        ({ data }) => Effect.succeed(!data.words.includes("suspended") || data.words.includes("again")),
        () => new SessionRefused({ message: "suspended" })
      )
      const { session, sessions, watched, words } = yield* setUp({ verifier })
      const fibers = [
        yield* fork(add(sessions, session, "a")),
        yield* fork(outcome(sessions.modify(session, () => [0, assert.fail("f")]))),
        yield* fork(add(sessions, session, "b")),
        yield* fork(outcome(sessions.modify(session, (data) => [0, { ...data, username: "eve" }]))),
        yield* fork(outcome(sessions.modify(session, (data) => [0, { ...data, count: 0.5 }]))),
        yield* fork(add(sessions, session, "suspended")),
        yield* fork(add(sessions, session, "c"))
      ]
      const answers = yield* settle(fibers)
      assert.deepStrictEqual(answers, ["ok", "died", "ok", "died", "died", "ok", "SessionRefused"])
      assert.deepStrictEqual(yield* words, ["a", "b", "suspended"])
      assert.strictEqual(watched.count("update"), 2)
    }).pipe(Effect.provide(silent))
  )

  it.effect("[R70] a draft on which another was refused is not stored: then it is asked again", () =>
    Effect.gen(function* () {
      const verifier = SessionVerifier.layerPredicate(
        UserSession,
        ({ data }) => Effect.succeed(data.words.filter((word) => word === "twice").length < 2),
        () => new SessionRefused({ message: "twice" })
      )
      const { build, session, sessions, watched, words } = yield* setUp({ verifier })
      const other = yield* build
      const once = (data: Data): readonly [string, Data] =>
        data.words.includes("other") ? ["", data] : addWord("twice")(data)
      const fibers = [
        yield* fork(add(sessions, session, "a")),
        yield* fork(outcome(sessions.modify(session, once))),
        yield* fork(outcome(sessions.modify(session, once))),
        yield* fork(add(sessions, session, "b"))
      ]
      // The first batch meets what another process has written.
      yield* TestClock.adjust(12)
      const now = yield* sessions.resolve(session.token)
      watched.wire = (_, run) => run
      yield* other.modify(now, addWord("other"))
      watched.wire = (operation, run) => (operation === "update" ? Effect.delay(run, 10) : run)
      assert.deepStrictEqual(yield* settle(fibers), ["ok", "ok", "ok", "ok"])
      assert.deepStrictEqual(yield* words, ["a", "other", "b"])
    }).pipe(Effect.provide(silent))
  )

  it.effect("[R79] one whose verifier is slow holds no other up, and has a turn of its own", () =>
    Effect.gen(function* () {
      const asked: Array<string> = []
      const verifier = SessionVerifier.layer(UserSession, ({ data, version }) =>
        Effect.suspend(() => {
          // A draft has the version that it is stored with: no version has two kinds of data but those of its drafts.
          asked.push(`${data.words.join("")} ${version}`)
          return asked.length === 2 ? Effect.sleep(200) : Effect.void
        })
      )
      const { session, sessions, watched, words } = yield* setUp({ verifier })
      const fibers = yield* addAll(sessions, session, ["a", "b", "slow", "c"])
      assert.deepStrictEqual(yield* settle(fibers), ["ok", "ok", "ok", "ok"])
      assert.deepStrictEqual(yield* words, ["a", "b", "c", "slow"])
      assert.strictEqual(watched.count("update"), 3)
      assert.deepStrictEqual(asked, ["a 2", "ab 3", "ab 3", "abc 3"])
    }).pipe(Effect.provide(silent))
  )

  it.effect("[R79] verifiers that take their time: each is answered in little more than one call may take", () =>
    Effect.gen(function* () {
      const verifier = SessionVerifier.layer(UserSession, () => Effect.sleep(100))
      const { session, sessions, words } = yield* setUp({ verifier })
      const began = yield* Clock.currentTimeMillis
      const answers = yield* settle(
        yield* addAll(
          sessions,
          session,
          Array.from({ length: 40 }, (_, i) => `w${i}`)
        )
      )
      assert.isAtMost((yield* Clock.currentTimeMillis) - began, 1500)
      const ok = answers.filter((answer) => answer === "ok").length
      assert.isAbove(ok, 5)
      assert.strictEqual((yield* words)?.length, ok)
    }).pipe(Effect.provide(silent))
  )

  it.effect("[R69] meet a log-out between their draft and their write: all are told, and nothing comes back", () =>
    Effect.gen(function* () {
      const { session, sessions, watched, words } = yield* setUp()
      const fibers = yield* addAll(sessions, session, ["a", "b", "c"])
      yield* TestClock.adjust(12)
      yield* sessions.destroy(session.token)
      assert.deepStrictEqual(yield* settle(fibers), ["ok", "SessionInvalid NotFound", "SessionInvalid NotFound"])
      assert.isUndefined(yield* words)
      assert.strictEqual(watched.count("update"), 2)
    }).pipe(Effect.provide(silent))
  )

  it.effect("[R70] an unknown outcome is everybody's, and nobody's change is made again", () =>
    Effect.gen(function* () {
      const { session, sessions, watched, words } = yield* setUp()
      const made: Array<string> = []
      const change = (word: string) =>
        outcome(
          sessions.modify(session, (data) => {
            made.push(word)
            return addWord(word)(data)
          })
        )
      let updates = 0
      watched.wire = (operation, run) =>
        operation !== "update"
          ? run
          : Effect.delay(++updates === 2 ? Effect.andThen(run, WatchedBackend.failure("update", "unknown")) : run, 10)
      const fibers = [yield* fork(change("a")), yield* fork(change("b")), yield* fork(change("c"))]
      yield* TestClock.adjust(12)
      // It comes after the draft.
      const later = yield* fork(change("d"))
      const unknown = "SessionUnavailable unknown"
      assert.deepStrictEqual(yield* settle([...fibers, later]), ["ok", unknown, unknown, "ok"])
      assert.deepStrictEqual(yield* words, ["a", "b", "c", "d"])
      // The last was made on what the third turn knew, and then on what it found.
      assert.deepStrictEqual(made, ["a", "b", "c", "d", "d"])
    }).pipe(Effect.provide(silent))
  )

  it.effect("[R79] a store that hangs: all are answered in little more than one call may take", () =>
    Effect.gen(function* () {
      const { session, sessions, watched } = yield* setUp()
      watched.wire = (operation, run) => (operation === "update" ? Effect.never : run)
      const began = yield* Clock.currentTimeMillis
      const answers = yield* settle(yield* addAll(sessions, session, ["a", "b", "c"]), 50)
      assert.isAtMost((yield* Clock.currentTimeMillis) - began, 1250)
      assert.isTrue(answers.every((answer) => answer.startsWith("SessionUnavailable")))
      // Nothing stands in the way of the next.
      watched.wire = (_, run) => run
      assert.strictEqual(yield* add(sessions, session, "d"), "ok")
    }).pipe(Effect.provide(silent))
  )

  it.effect("[R75] go on where the one that makes them is interrupted, or its write is", () =>
    Effect.gen(function* () {
      const { session, sessions, watched, words } = yield* setUp()
      const fibers = yield* addAll(sessions, session, ["a", "b", "c"])
      yield* TestClock.adjust(12)
      fibers[1]!.interruptUnsafe()
      yield* TestClock.adjust(100)
      assert.strictEqual(yield* Fiber.join(fibers[2]!), "ok")
      assert.deepStrictEqual(yield* words, ["a", "b", "c"])
      let updates = 0
      watched.wire = (operation, run) =>
        operation === "update" ? Effect.delay(++updates === 2 ? Effect.interrupt : run, 10) : run
      const again = yield* addAll(sessions, yield* sessions.resolve(session.token), ["d", "e", "f"])
      const unknown = "SessionUnavailable unknown"
      assert.deepStrictEqual(yield* settle(again), ["ok", unknown, unknown])
      assert.deepStrictEqual(yield* settle(yield* addAll(sessions, session, ["g"])), ["ok"])
    }).pipe(Effect.provide(silent))
  )

  it.effect("[R79] those that gave up before they were taken are told so, and are not made", () =>
    Effect.gen(function* () {
      const { session, sessions, watched, words } = yield* setUp()
      let updates = 0
      // A rotation asks twice, and has the turn for 1,250 ms.
      watched.wire = (operation, run) => (operation === "update" && ++updates <= 2 ? Effect.never : run)
      const fibers = [yield* fork(outcome(sessions.rotate(session))), ...(yield* addAll(sessions, session, ["a", "b"]))]
      yield* TestClock.adjust(500)
      fibers.push(...(yield* addAll(sessions, session, ["c", "d"])))
      const notApplied = "SessionUnavailable notApplied"
      const answers = yield* settle(fibers)
      assert.deepStrictEqual(answers, ["SessionUnavailable unknown", notApplied, notApplied, "ok", "ok"])
      assert.deepStrictEqual(yield* words, ["c", "d"])
    }).pipe(Effect.provide(silent))
  )

  it.effect("[R70] a rotation and a replacement go alone, in their place", () =>
    Effect.gen(function* () {
      const { session, sessions, watched, words } = yield* setUp()
      const fibers = [
        ...(yield* addAll(sessions, session, ["a", "b"])),
        yield* fork(outcome(sessions.replace(session, { ...ada, words: ["x"] }))),
        ...(yield* addAll(sessions, session, ["c"])),
        yield* fork(outcome(sessions.rotate(session))),
        ...(yield* addAll(sessions, session, ["late"]))
      ]
      const gone = "SessionInvalid NotFound"
      assert.deepStrictEqual(yield* settle(fibers), ["ok", "ok", "SessionConflict", "ok", "ok", gone])
      assert.deepStrictEqual(yield* words, ["a", "b", "c"])
      // a, b, c and the rotation: nothing is written with another across one that goes alone.
      assert.strictEqual(watched.count("update"), 4)
    }).pipe(Effect.provide(silent))
  )

  it.effect("[R70] another process's writes in between lose nobody's change", () =>
    Effect.gen(function* () {
      const { build, session, sessions, words } = yield* setUp()
      const managers = [sessions, yield* build, yield* build]
      const names = Array.from({ length: 90 }, (_, i) => `w${i}`)
      const fibers = yield* Effect.forEach(names, (name, i) => fork(add(managers[i % 3]!, session, name)))
      assert.deepStrictEqual(new Set(yield* settle(fibers)), new Set(["ok"]))
      assert.deepStrictEqual([...((yield* words) ?? [])].sort(), names.toSorted())
    }).pipe(Effect.provide(silent))
  )
})
