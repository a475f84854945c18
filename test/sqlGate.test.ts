/** The gate before the pool of a SQL client, with a pretended database and time that stands still. */
import { assert, describe, it } from "@effect/vitest"
import { Clock, Deferred, Effect, Exit, Fiber, Layer, Option } from "effect"
import { ConnectionError, SqlError, UnknownError } from "effect/sql/SqlError"
import { TestClock } from "effect/testing"
import { SessionBackendSql } from "effect-sessions"
import * as NodeSqliteClient from "effect-sessions/NodeSqliteClient"
import { capacityBeside, capacityOf, make } from "../src/internal/backend/sqlGate.ts"
import * as Random from "./support/random.ts"

const failure = (code: string, operation: "connect" | "query") =>
  new SqlError({ reason: new UnknownError({ cause: { code }, message: code, operation }) })

/** As Postgres refuses one connection too many. */
const tooMany = failure("53300", "connect")
const refused = new SqlError({
  reason: new ConnectionError({ cause: new Error("ECONNREFUSED"), operation: "connect" })
})

/** A statement that the test ends, and how often it has begun. */
const makeStatement = <A>(value: A) => {
  const turns: Array<Deferred.Deferred<A, SqlError>> = []
  return {
    value,
    turns,
    run: Effect.suspend(() => {
      const turn = Deferred.makeUnsafe<A, SqlError>()
      turns.push(turn)
      return Deferred.await(turn)
    }),
    succeed: Effect.suspend(() => Effect.asVoid(Deferred.succeed(turns.at(-1)!, value))),
    fail: (error: SqlError) => Effect.suspend(() => Effect.asVoid(Deferred.fail(turns.at(-1)!, error)))
  }
}

const makeStatements = (count: number) => Array.from({ length: count }, (_, i) => makeStatement(i))

type Statement = ReturnType<typeof makeStatements>[number]

/** Lets fibers that can go on do so. */
const settle = Effect.repeat(Effect.yieldNow, { times: 20 })

const startAll = (gate: ReturnType<typeof make>, statements: ReadonlyArray<Statement>) =>
  Effect.tap(
    Effect.forEach(statements, ({ run }) => Effect.forkChild(gate(run), { startImmediately: true })),
    () => settle
  )

/** How often each of them has begun. */
const begun = (statements: ReadonlyArray<Statement>) => statements.map(({ turns }) => turns.length)

const errorOf = (exit: Exit.Exit<unknown, SqlError> | undefined) =>
  exit === undefined ? "pending" : Option.getOrUndefined(Exit.findErrorOption(exit))

describe("the gate of the SQL backend", () => {
  it.effect("admits as many as there are connections, then first come first served", () =>
    Effect.gen(function* () {
      const gate = make(2)
      const statements = makeStatements(5)
      const fibers = yield* startAll(gate, statements)
      assert.deepStrictEqual(begun(statements), [1, 1, 0, 0, 0])
      yield* statements[1]!.succeed
      yield* settle
      assert.deepStrictEqual(begun(statements), [1, 1, 1, 0, 0])
      yield* statements[0]!.succeed
      yield* settle
      assert.deepStrictEqual(begun(statements), [1, 1, 1, 1, 0])
      for (const { succeed } of statements.slice(2)) yield* Effect.andThen(settle, succeed)
      assert.deepStrictEqual(yield* Fiber.joinAll(fibers), [0, 1, 2, 3, 4])
      assert.deepStrictEqual(begun(statements), [1, 1, 1, 1, 1])
    })
  )

  it.effect("admits fewer while a connection is held for something else, and all of them afterwards", () =>
    Effect.gen(function* () {
      let most = 3
      const gate = make(3, () => most)
      const statements = makeStatements(8)
      const fibers = yield* startAll(gate, statements)
      assert.deepStrictEqual(begun(statements), [1, 1, 1, 0, 0, 0, 0, 0])
      most = 2
      yield* Effect.andThen(statements[0]!.succeed, settle)
      assert.deepStrictEqual(begun(statements), [1, 1, 1, 0, 0, 0, 0, 0])
      yield* Effect.andThen(statements[1]!.succeed, settle)
      assert.deepStrictEqual(begun(statements), [1, 1, 1, 1, 0, 0, 0, 0])
      most = 3
      yield* Effect.andThen(statements[2]!.succeed, settle)
      assert.deepStrictEqual(begun(statements), [1, 1, 1, 1, 1, 1, 0, 0])
      for (const { succeed } of statements.slice(3)) yield* Effect.andThen(settle, succeed)
      assert.deepStrictEqual(yield* Fiber.joinAll(fibers), [0, 1, 2, 3, 4, 5, 6, 7])
    })
  )

  it.effect("answers what the statement answers, and runs it once, also where it fails or dies", () =>
    Effect.gen(function* () {
      const gate = make(1)
      const locked = failure("55P03", "query")
      for (const exit of [Exit.succeed(1), Exit.fail(locked), Exit.die("broken")]) {
        let runs = 0
        const statement = Effect.suspend(() => {
          runs++
          return exit
        })
        assert.deepStrictEqual(yield* Effect.exit(gate(statement)), exit)
        assert.strictEqual(runs, 1)
      }
    })
  )

  it.effect("an interrupted statement leaves its place, one that waits leaves the queue", () =>
    Effect.gen(function* () {
      const gate = make(1)
      const statements = makeStatements(4)
      const fibers = yield* startAll(gate, statements)
      yield* Fiber.interrupt(fibers[1]!)
      assert.deepStrictEqual(begun(statements), [1, 0, 0, 0])
      yield* Fiber.interrupt(fibers[0]!)
      yield* settle
      assert.deepStrictEqual(begun(statements), [1, 0, 1, 0])
      yield* statements[2]!.succeed
      yield* settle
      assert.deepStrictEqual(begun(statements), [1, 0, 1, 1])
      yield* statements[3]!.succeed
      assert.deepStrictEqual(yield* Fiber.join(fibers[3]!), 3)
    })
  )

  it.effect("one that is interrupted just when it is admitted passes its place on", () =>
    Effect.gen(function* () {
      const gate = make(1)
      const statements = makeStatements(3)
      const fibers = yield* startAll(gate, statements)
      // It is let in here, and goes on in a later turn.
      yield* statements[0]!.succeed
      fibers[1]!.interruptUnsafe()
      yield* settle
      assert.deepStrictEqual(begun(statements), [1, 0, 1])
    })
  )

  it.effect("three connections of ten go on serving, and those refused a fourth wait for a turn, first of all", () =>
    Effect.gen(function* () {
      const gate = make(10)
      const statements = makeStatements(12)
      const fibers = yield* startAll(gate, statements)
      for (const { fail } of statements.slice(3, 10)) yield* fail(tooMany)
      yield* settle
      assert.isTrue(fibers.every((fiber) => fiber.pollUnsafe() === undefined))
      assert.deepStrictEqual(begun(statements), [1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 0, 0])
      for (let i = 0; i < 3; i++) yield* statements[i]!.succeed
      yield* settle
      // The one that came last to the front goes first.
      assert.deepStrictEqual(begun(statements), [1, 1, 1, 1, 1, 1, 1, 2, 2, 2, 0, 0])
      // Never more than three are under way, however long it takes within the pause.
      for (const i of [9, 8, 7, 6, 5, 4, 3, 10, 11]) {
        yield* statements[i]!.succeed
        yield* settle
      }
      assert.deepStrictEqual(yield* Fiber.joinAll(fibers), [0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11])
    })
  )

  it.effect("tries one more connection when 100 ms have passed, and then twice as many each 100 ms", () =>
    Effect.gen(function* () {
      const gate = make(10)
      const first = makeStatements(4)
      yield* startAll(gate, first)
      yield* first[3]!.fail(tooMany)
      const rest = makeStatements(40)
      yield* startAll(gate, rest)
      const underWay = () =>
        [...first, ...rest].filter(({ turns }) => turns.some((turn) => !Deferred.isDoneUnsafe(turn)))
      const serveOne = Effect.andThen(
        Effect.suspend(() => underWay()[0]!.succeed),
        settle
      )
      yield* serveOne
      assert.strictEqual(underWay().length, 3)
      yield* TestClock.adjust(99)
      yield* serveOne
      assert.strictEqual(underWay().length, 3)
      for (const count of [4, 6, 10, 10]) {
        yield* TestClock.adjust(100)
        yield* serveOne
        assert.strictEqual(underWay().length, count)
        yield* serveOne
        assert.strictEqual(underWay().length, count)
      }
      // Four are refused: back to those there are, and the next try is for one again.
      for (const { fail } of underWay().slice(-4)) yield* fail(tooMany)
      yield* settle
      assert.strictEqual(underWay().length, 6)
      yield* TestClock.adjust(100)
      yield* serveOne
      assert.strictEqual(underWay().length, 7)
    })
  )

  it.effect("once the first has waited for long, the last who came is the next, until the queue is short again", () =>
    Effect.gen(function* () {
      const gate = make(2)
      const busy = makeStatements(2)
      yield* startAll(gate, busy)
      const early = makeStatements(3)
      yield* startAll(gate, early)
      yield* TestClock.adjust(100)
      const late = makeStatements(3)
      yield* startAll(gate, late)
      yield* busy[0]!.succeed
      yield* settle
      // Not longer than 100 ms yet.
      assert.deepStrictEqual(
        [begun(early), begun(late)],
        [
          [1, 0, 0],
          [0, 0, 0]
        ]
      )
      yield* TestClock.adjust(1)
      for (const statement of [busy[1]!, early[0]!]) yield* Effect.andThen(statement.succeed, settle)
      assert.deepStrictEqual(
        [begun(early), begun(late)],
        [
          [1, 0, 0],
          [0, 1, 1]
        ]
      )
      // One whose connect failed is first all the same.
      yield* late[1]!.fail(tooMany)
      yield* settle
      assert.deepStrictEqual(
        [begun(early), begun(late)],
        [
          [1, 0, 0],
          [0, 1, 1]
        ]
      )
      yield* late[2]!.succeed
      yield* settle
      assert.deepStrictEqual(
        [begun(early), begun(late)],
        [
          [1, 0, 0],
          [0, 2, 1]
        ]
      )
      yield* late[1]!.succeed
      yield* settle
      assert.deepStrictEqual(
        [begun(early), begun(late)],
        [
          [1, 0, 0],
          [1, 2, 1]
        ]
      )
      // The fourth turn of these is the first one's.
      yield* late[0]!.succeed
      yield* settle
      assert.deepStrictEqual(
        [begun(early), begun(late)],
        [
          [1, 1, 0],
          [1, 2, 1]
        ]
      )
    })
  )

  it.effect("when the database has stood still for a moment, those who waited are served soon, however many come", () =>
    Effect.gen(function* () {
      const gate = make(2)
      const askedAt = Array.from({ length: 20 }, () => 0)
      let longest = 0
      const wait = (i: number) =>
        Effect.map(Clock.currentTimeMillis, (now) => {
          longest = Math.max(longest, now - askedAt[i]!)
          askedAt[i] = now
        })
      /** Asks again as soon as it is answered. */
      const caller = (i: number) =>
        Effect.andThen(
          gate(Effect.sleep(i < 2 ? 150 : 5)),
          Effect.forever(Effect.andThen(wait(i), gate(Effect.sleep(5))))
        )
      const fibers = yield* Effect.forEach(askedAt, (_, i) => Effect.forkChild(caller(i)))
      for (let millis = 0; millis < 1000; millis += 5) yield* Effect.andThen(TestClock.adjust(5), settle)
      yield* Effect.forEach(askedAt, (_, i) => wait(i))
      yield* Fiber.interruptAll(fibers)
      // 18 wait for 150 ms, and then for a fourth of the turns, of which two take 5 ms.
      assert.isAtLeast(longest, 150)
      assert.isAtMost(longest, 150 + 18 * 4 * 2.5)
    })
  )

  it.effect("an interrupted statement is no sign of a connection", () =>
    Effect.gen(function* () {
      const gate = make(3)
      const statements = makeStatements(6)
      const fibers = yield* startAll(gate, statements)
      yield* statements[2]!.fail(tooMany)
      yield* TestClock.adjust(1000)
      yield* Fiber.interrupt(fibers[0]!)
      yield* settle
      assert.deepStrictEqual(begun(statements), [1, 1, 2, 0, 0, 0])
    })
  )

  it.effect("with no connection at all everybody is refused for 100 ms, then one tries, then all are served", () =>
    Effect.gen(function* () {
      const gate = make(3)
      const statements = makeStatements(100)
      const fibers = yield* startAll(gate, statements)
      for (let i = 0; i < 3; i++) yield* statements[i]!.fail(refused)
      const errors = yield* Effect.forEach(fibers, (fiber) => Effect.map(Fiber.await(fiber), errorOf))
      assert.deepStrictEqual(new Set(errors), new Set([refused]))
      // The last to fail had nobody to wait for, and the other two are not asked again.
      assert.deepStrictEqual(begun(statements).slice(0, 4), [1, 1, 1, 0])
      yield* TestClock.adjust(99)
      const [late] = yield* startAll(gate, [makeStatement(0)])
      assert.strictEqual(errorOf(late!.pollUnsafe()), refused)

      yield* TestClock.adjust(1)
      const second = makeStatements(3)
      const waiting = yield* startAll(gate, second)
      assert.deepStrictEqual(begun(second), [1, 0, 0])
      yield* second[0]!.fail(tooMany)
      for (const fiber of waiting) assert.strictEqual(errorOf(yield* Fiber.await(fiber)), tooMany)

      yield* TestClock.adjust(100)
      const third = makeStatements(3)
      const served = yield* startAll(gate, third)
      assert.deepStrictEqual(begun(third), [1, 0, 0])
      for (const { succeed } of third) yield* Effect.andThen(succeed, settle)
      assert.deepStrictEqual(yield* Fiber.joinAll(served), [0, 1, 2])
    })
  )

  it.effect("a failure other than of a connect refuses nobody", () =>
    Effect.gen(function* () {
      const gate = make(1)
      const statements = makeStatements(2)
      const fibers = yield* startAll(gate, statements)
      const lost = new SqlError({ reason: new ConnectionError({ cause: new Error("reset"), operation: "query" }) })
      yield* statements[0]!.fail(lost)
      yield* settle
      assert.strictEqual(errorOf(fibers[0]!.pollUnsafe()), lost)
      yield* statements[1]!.succeed
      assert.strictEqual(yield* Fiber.join(fibers[1]!), 1)
    })
  )

  it("whatever happens, in whatever order, nobody is forgotten and the bound holds", async () => {
    for (let seed = 0; seed < 300; seed++) {
      const { below, pick } = Random.make(seed)
      const capacity = 1 + below(5)
      const gate = make(capacity)
      let underWay = 0
      const statements = new Set<Deferred.Deferred<number, SqlError>>()
      const statement = Effect.suspend(() => {
        const turn = Deferred.makeUnsafe<number, SqlError>()
        statements.add(turn)
        underWay++
        assert.isAtMost(underWay, capacity, `seed ${seed}`)
        return Effect.ensuring(
          Deferred.await(turn),
          Effect.sync(() => {
            underWay--
            statements.delete(turn)
          })
        )
      })
      await Effect.gen(function* () {
        const fibers: Array<Fiber.Fiber<number, SqlError>> = []
        const pending = () => fibers.filter((fiber) => fiber.pollUnsafe() === undefined)
        for (let i = 0; i < 60; i++) {
          const dice = below(100)
          const turn = statements.size === 0 ? undefined : pick([...statements])
          if (dice < 45) fibers.push(yield* Effect.forkChild(gate(statement), { startImmediately: below(2) === 0 }))
          else if (dice < 60 && turn !== undefined) Deferred.doneUnsafe(turn, Effect.succeed(1))
          else if (dice < 75 && turn !== undefined) Deferred.doneUnsafe(turn, Effect.fail(tooMany))
          else if (dice < 80 && turn !== undefined) Deferred.doneUnsafe(turn, Effect.fail(failure("57P01", "query")))
          else if (dice < 90) {
            if (pending().length > 0) pick(pending()).interruptUnsafe()
          } else if (dice < 95) yield* TestClock.adjust(40)
          if (below(2) === 0) yield* Effect.yieldNow
        }
        // From now on all goes well: everybody who is still there has to get through, each turn by another's end.
        for (let rounds = 0; pending().length > 0; rounds++) {
          assert.isBelow(rounds, 1000, `seed ${seed}: ${pending().length} were forgotten`)
          for (const turn of statements) Deferred.doneUnsafe(turn, Effect.succeed(1))
          yield* Effect.yieldNow
        }
        assert.strictEqual(underWay, 0)
        // And the gate is as new: all of its places are free again.
        yield* TestClock.adjust(100)
        for (let i = 0; i < 5; i++) {
          const fiber = yield* Effect.forkChild(gate(Effect.succeed(1)), { startImmediately: true })
          assert.strictEqual(yield* Fiber.join(fiber), 1)
          yield* TestClock.adjust(100)
        }
        const last = Array.from({ length: capacity + 1 }, () => gate(statement))
        const again = yield* Effect.forEach(last, (one) => Effect.forkChild(one, { startImmediately: true }))
        assert.strictEqual(underWay, capacity, `seed ${seed}`)
        yield* Effect.forEach(again, Fiber.interrupt)
      }).pipe(Effect.provide(TestClock.layer()), Effect.runPromise)
    }
  })

  // What 10,000 cost is set against what 1,000 cost, in the same process, with a margin of five.
  it("the cost of a queue grows with its length, not faster", { timeout: 60_000 }, async () => {
    const cost = async (count: number): Promise<number> => {
      const began = performance.now()
      await Effect.gen(function* () {
        const gate = make(1)
        const first = yield* Effect.forkChild(gate(Effect.never), { startImmediately: true })
        const rest = yield* Effect.forEach(Array.from({ length: count }), () =>
          Effect.forkChild(gate(Effect.yieldNow), { startImmediately: true })
        )
        // Every other leaves from the middle, the others get their turn.
        for (let i = 0; i < count; i += 2) rest[i]!.interruptUnsafe()
        yield* Fiber.interrupt(first)
        for (let i = 1; i < count; i += 2) yield* Fiber.join(rest[i]!)
        // And a queue that is refused as a whole.
        const failing = Deferred.makeUnsafe<void, SqlError>()
        const last = yield* Effect.forEach(Array.from({ length: count }), () =>
          Effect.forkChild(gate(Deferred.await(failing)), { startImmediately: true })
        )
        yield* Deferred.fail(failing, refused)
        for (const fiber of last) assert.strictEqual(errorOf(yield* Fiber.await(fiber)), refused)
      }).pipe(Effect.runPromise)
      return performance.now() - began
    }
    await cost(1000)
    const least = async (count: number) => Math.min(await cost(count), await cost(count), await cost(count))
    assert.isBelow(await least(10_000), 10 * (await least(1000)) * 5)
  })

  it.live("those who are refused leave the process its turns", () =>
    Effect.gen(function* () {
      const gate = make(1)
      const failing = Deferred.makeUnsafe<void, SqlError>()
      const fibers = yield* Effect.forEach(Array.from({ length: 1000 }), () =>
        Effect.forkChild(gate(Deferred.await(failing)), { startImmediately: true })
      )
      yield* Deferred.fail(failing, refused)
      const sizes: Array<number> = []
      for (let before = 1000; before > 0;) {
        yield* Effect.callback<void>((resume) => {
          setImmediate(() => resume(Effect.void))
        })
        const now = fibers.filter((fiber) => fiber.pollUnsafe() === undefined).length
        sizes.push(before - now)
        before = now
      }
      assert.isAtMost(Math.max(...sizes), 100)
    })
  )

  it.effect("a statement that ends at once lets the next in without going deeper", () =>
    Effect.gen(function* () {
      const gate = make(1)
      const first = yield* Effect.forkChild(gate(Effect.never), { startImmediately: true })
      const rest = yield* Effect.forEach(Array.from({ length: 20_000 }), () =>
        Effect.forkChild(gate(Effect.succeed(1)), { startImmediately: true })
      )
      yield* Fiber.interrupt(first)
      const sum = (yield* Fiber.joinAll(rest)).reduce((a, b) => a + b, 0)
      assert.strictEqual(sum, 20_000)
    })
  )

  it("knows what a client is configured for", () => {
    assert.strictEqual(capacityOf({ config: { maxConnections: 25 } }), 25)
    assert.strictEqual(capacityOf({ config: { maxConnections: 2, multiplex: true } }), 64)
    assert.strictEqual(capacityOf({ config: { multiplex: true, multiplexConcurrency: 4 } }), 40)
    for (const client of [undefined, {}, { config: undefined }, { config: {} }, { config: { maxConnections: "7" } }]) {
      assert.strictEqual(capacityOf(client), 10)
    }
  })

  it("knows how many statements are left beside a connection that is held", () => {
    const beside = (config: object, capacity?: number) => capacityBeside({ config }, capacity ?? capacityOf({ config }))
    assert.strictEqual(beside({}), 9)
    assert.strictEqual(beside({ maxConnections: 1 }), 0)
    assert.strictEqual(beside({}, 1), 0)
    assert.strictEqual(beside({}, 4), 3)
    assert.strictEqual(beside({ maxConnections: 2, multiplex: true }), 32)
    assert.strictEqual(beside({ maxConnections: 1, multiplex: true }), 0)
    assert.strictEqual(beside({ maxConnections: 2, multiplex: true, multiplexConcurrency: 4 }, 3), 3)
  })

  it.effect("maxConnections must be a whole number of at least 1", () =>
    Effect.gen(function* () {
      for (const maxConnections of [0, -1, 1.5, Infinity, NaN]) {
        const error = yield* Effect.flip(Layer.build(SessionBackendSql.layerWith({ maxConnections })))
        assert.match(String(error), /maxConnections must be/)
      }
      yield* Layer.build(SessionBackendSql.layerWith({ maxConnections: 1 }))
    }).pipe(Effect.provide(NodeSqliteClient.layer({ filename: ":memory:" })))
  )
})
