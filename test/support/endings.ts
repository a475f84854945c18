/**
 * Every way in which a session ends, over the backend in context, and what is told of it by two servers of one
 * application. Time is the real one, and may be put forward.
 */
import { NodeCrypto } from "@effect/platform-node"
import { assert } from "@effect/vitest"
import * as Context from "effect/Context"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import * as Layer from "effect/Layer"
import * as Option from "effect/Option"
import * as Scope from "effect/Scope"
import * as Session from "../../src/Session.ts"
import { SessionBackend } from "../../src/SessionBackend.ts"
import * as SessionSweeper from "../../src/SessionSweeper.ts"
import { ahead } from "./aheadClock.ts"
import * as Events from "./events.ts"
import { silent } from "./logs.ts"
import { outcome } from "./outcome.ts"
import { requestWith } from "./request.ts"
import * as Stack from "./stack.ts"
import { addWord, type Data, nobody, user, UserData } from "./userSession.ts"

const minute = 60_000

const options: Session.LayerOptions = {
  // A slow machine is not what is tested here.
  backendTimeout: "20 seconds",
  maxPerPrincipal: 3,
  rotateEvery: "5 minutes",
  rotationGrace: "30 seconds",
  idleTimeout: "1 hour"
}

const world = Effect.fnUntraced(function* (key: string, by: { millis: number }, name: string) {
  class UserSession extends Session.Service<UserSession>()(key, {
    data: UserData,
    principal: (data) => data.username
  }) {}
  const backend = yield* SessionBackend
  const told = Events.make()
  const scope = yield* Effect.scope
  const server = Effect.gen(function* () {
    const memo = yield* Layer.makeMemoMap
    const own = Layer.succeed(SessionBackend, backend)
    const layer = Stack.manager(UserSession, {
      ...options,
      backend: own,
      crypto: NodeCrypto.layer,
      onEvent: told.onEvent
    })
    const manager = Context.get(yield* Layer.buildWithMemoMap(layer, memo, scope), UserSession.Manager)
    /** Sweeps in the same process, until a record has gone. */
    const sweep = Effect.fnUntraced(function* (id: string) {
      const sweeping = yield* Scope.make()
      yield* Layer.buildWithMemoMap(SessionSweeper.layer().pipe(Layer.provide(own)), memo, sweeping)
      for (let i = 0; i < 500 && Option.isSome(yield* backend.read(key, id)); i++) yield* Effect.sleep("10 millis")
      yield* Scope.close(sweeping, Exit.void)
    })
    return { ...manager, sweep }
  })
  const pass = (millis: number) =>
    Effect.sync(() => {
      by.millis += millis
    })
  return { one: yield* server, other: yield* server, told, pass, ada: user(name), name }
})

type World = Effect.Success<ReturnType<typeof world>>
type Live = Session.Session<Data>

interface Ending {
  /** Ends sessions, and answers which. */
  readonly run: (world: World) => Effect.Effect<ReadonlyArray<Live>, unknown>
  /** All that is told, in order, with `ada` for the user's name. */
  readonly told: ReadonlyArray<string>
}

const created = "Created ada"
const expired = "Refused SessionInvalid Expired"

/** By how they end. */
const endings: Record<string, Ending> = {
  "a log-out by the token": {
    run: ({ ada, one }) =>
      Effect.gen(function* () {
        const session = yield* one.create(ada)
        yield* one.destroy(session.token)
        return [session]
      }),
    told: [created, "Ended logout ada"]
  },
  "a log-out on another server, and once more on both": {
    run: ({ ada, one, other }) =>
      Effect.gen(function* () {
        const session = yield* one.create(ada)
        for (const server of [other, one, other]) yield* server.destroy(session.token)
        return [session]
      }),
    told: [created, "Ended logout ada"]
  },
  "a log-out by the token before a scheduled rotation": {
    run: ({ ada, one, pass }) =>
      Effect.gen(function* () {
        const session = yield* one.create(ada)
        yield* pass(6 * minute)
        yield* one.resolve(session.token, { rotate: true })
        yield* one.destroy(session.token)
        return [session]
      }),
    told: [created, "Rotated ada", "Ended logout ada"]
  },
  "a request's log-out, twice": {
    run: ({ ada, one }) =>
      Effect.gen(function* () {
        const session = yield* one.create(ada)
        const request = requestWith(one, session.token)
        yield* request.destroy
        yield* request.destroy
        return [session]
      }),
    told: [created, "Ended logout ada"]
  },
  "a log-out of nobody in particular": {
    run: ({ one }) =>
      Effect.gen(function* () {
        const session = yield* one.create(nobody)
        yield* one.destroy(session.token)
        return [session]
      }),
    told: ["Created -", "Ended logout -"]
  },
  "its owner's revocation by id, and not a stranger's": {
    run: ({ ada, name, one, other }) =>
      Effect.gen(function* () {
        const session = yield* one.create(ada)
        assert.isFalse(yield* other.revoke(session.id, { principal: "eve" }))
        assert.isTrue(yield* other.revoke(session.id, { principal: name }))
        assert.isFalse(yield* one.revoke(session.id, { principal: name }))
        return [session]
      }),
    told: [created, "Ended revoked ada"]
  },
  "an administrator's revocation by id": {
    run: ({ ada, one, other }) =>
      Effect.gen(function* () {
        const session = yield* one.create(ada)
        assert.isTrue(yield* other.revokeAny(session.id))
        assert.isFalse(yield* one.revokeAny(session.id))
        return [session]
      }),
    told: [created, "Ended revoked ada"]
  },
  "the revocation of all, one event for each": {
    run: ({ ada, name, one, other }) =>
      Effect.gen(function* () {
        const sessions = [yield* one.create(ada), yield* one.create(ada), yield* other.create(ada)]
        assert.strictEqual(yield* other.revokeAll(name), 3)
        assert.strictEqual(yield* one.revokeAll(name), 0)
        return sessions
      }),
    told: [created, created, created, "Ended revoked ada", "Ended revoked ada", "Ended revoked ada"]
  },
  "the revocation of all but one": {
    run: ({ ada, name, one }) =>
      Effect.gen(function* () {
        const [first, kept] = [yield* one.create(ada), yield* one.create(ada)]
        assert.strictEqual(yield* one.revokeAll(name, { except: kept.id }), 1)
        return [first]
      }),
    told: [created, created, "Ended revoked ada"]
  },
  "a request's revocation of the others": {
    run: ({ ada, one }) =>
      Effect.gen(function* () {
        const [first, own] = [yield* one.create(ada), yield* one.create(ada)]
        assert.strictEqual(yield* requestWith(one, own.token).revokeOthers, 1)
        return [first]
      }),
    told: [created, created, "Rotated ada", "Ended revoked ada"]
  },
  "a request's revocation of all": {
    run: ({ ada, one }) =>
      Effect.gen(function* () {
        const [first, own] = [yield* one.create(ada), yield* one.create(ada)]
        assert.strictEqual(yield* requestWith(one, own.token).revokeAll, 2)
        return [first, own]
      }),
    told: [created, created, "Ended revoked ada", "Ended revoked ada"]
  },
  "a log-in in its place": {
    run: ({ ada, one, other }) =>
      Effect.gen(function* () {
        const visitor = yield* one.create(nobody)
        yield* other.createFrom(visitor.token, () => ada)
        return [visitor]
      }),
    told: ["Created -", created, "Ended replaced -"]
  },
  "a proof of who it is": {
    run: ({ ada, one }) =>
      Effect.gen(function* () {
        const session = yield* one.create(ada)
        yield* one.reauthenticate(session.token)
        return [session]
      }),
    told: [created, created, "Ended replaced ada"]
  },
  "a request's log-in, beside it": {
    run: ({ ada, one }) =>
      Effect.gen(function* () {
        const visitor = yield* one.create(nobody)
        yield* requestWith(one, visitor.token).create(ada)
        return [visitor]
      }),
    told: ["Created -", created, "Ended replaced -"]
  },
  "a request's log-in, with its data": {
    run: ({ ada, one }) =>
      Effect.gen(function* () {
        const visitor = yield* one.create(nobody)
        yield* requestWith(one, visitor.token).create(() => ada)
        return [visitor]
      }),
    told: ["Created -", created, "Ended replaced -"]
  },
  "a request's proof of who it is": {
    run: ({ ada, one }) =>
      Effect.gen(function* () {
        const session = yield* one.create(ada)
        yield* requestWith(one, session.token).reauthenticate()
        return [session]
      }),
    told: [created, created, "Ended replaced ada"]
  },
  "a log-in more than are allowed": {
    run: ({ ada, one, other, pass }) =>
      Effect.gen(function* () {
        const sessions: Array<Live> = []
        for (const server of [one, other, one, other, one]) {
          sessions.push(yield* server.create(ada))
          yield* pass(1000)
        }
        return sessions.slice(0, 2)
      }),
    told: [created, created, created, created, "Ended limit ada", created, "Ended limit ada"]
  },
  "a stolen copy": {
    run: ({ ada, one, other, pass }) =>
      Effect.gen(function* () {
        const session = yield* one.create(ada)
        yield* pass(6 * minute)
        const rotated = yield* one.resolve(session.token, { rotate: true })
        yield* one.resolve(rotated.token)
        yield* pass(minute)
        assert.strictEqual(yield* outcome(other.resolve(session.token)), "SessionInvalid Reused")
        assert.strictEqual(yield* outcome(one.resolve(rotated.token)), "SessionInvalid NotFound")
        return [session]
      }),
    told: [
      created,
      "Rotated ada",
      "Ended reused ada",
      "Refused SessionInvalid Reused",
      "Refused SessionInvalid NotFound"
    ]
  },
  "its deadline, which two looks notice": {
    run: ({ ada, one, pass }) =>
      Effect.gen(function* () {
        const session = yield* one.create(ada)
        yield* pass(61 * minute)
        for (let i = 0; i < 2; i++) yield* outcome(one.resolve(session.token))
        return [session]
      }),
    told: [created, "Ended expired ada", expired, expired]
  },
  "its deadline, which a change notices": {
    run: ({ ada, one, pass }) =>
      Effect.gen(function* () {
        const session = yield* one.create(ada)
        yield* pass(61 * minute)
        yield* outcome(one.modify(session, addWord("late")))
        yield* outcome(one.modify(session.token, addWord("late")))
        return [session]
      }),
    told: [created, "Ended expired ada", expired, expired]
  },
  "its deadline, and a log-out after that was noticed": {
    run: ({ ada, one, pass }) =>
      Effect.gen(function* () {
        const session = yield* one.create(ada)
        yield* pass(61 * minute)
        yield* outcome(one.resolve(session.token))
        yield* one.destroy(session.token)
        return [session]
      }),
    told: [created, "Ended expired ada", expired]
  },
  "its deadline, for which two wait": {
    run: ({ ada, one }) =>
      Effect.gen(function* () {
        const session = yield* one.create(ada, { absoluteTimeout: "200 millis" })
        const both = [one.ended(session), one.ended(session)] as const
        const [why] = yield* Effect.all(both, { concurrency: "unbounded" })
        assert.strictEqual(why._tag === "SessionInvalid" && why.reason, "Expired")
        return [session]
      }),
    told: [created, "Ended expired ada"]
  },
  "its deadline, which a log-in notices": {
    run: ({ ada, one, pass }) =>
      Effect.gen(function* () {
        const visitor = yield* one.create(nobody)
        yield* pass(61 * minute)
        yield* requestWith(one, visitor.token).create(() => ada)
        return [visitor]
      }),
    told: ["Created -", "Ended expired -", expired, created]
  }
}

/** Those that the store does not end by itself. */
const sweeps: Record<string, Ending> = {
  "its deadline, which a log-out is the first to meet": {
    run: ({ ada, one, pass }) =>
      Effect.gen(function* () {
        const session = yield* one.create(ada)
        yield* pass(61 * minute)
        yield* one.destroy(session.token)
        yield* outcome(one.resolve(session.token))
        return [session]
      }),
    told: [created, "Ended logout ada", "Refused SessionInvalid NotFound"]
  },
  "a sweep": {
    run: ({ ada, one, pass }) =>
      Effect.gen(function* () {
        const sessions = [yield* one.create(ada), yield* one.create(ada)]
        yield* pass(120 * minute)
        yield* one.sweep(sessions[0]!.id)
        return sessions
      }),
    told: [created, created, "Ended expired ada", "Ended expired ada"]
  },
  "a sweep after a look has noticed it": {
    run: ({ ada, one, pass }) =>
      Effect.gen(function* () {
        const session = yield* one.create(ada)
        yield* pass(120 * minute)
        yield* outcome(one.resolve(session.token))
        yield* one.sweep(session.id)
        return [session]
      }),
    told: [created, "Ended expired ada", expired]
  }
}

/** The table, each row over the backend in context, with records under names that begin with `key`. */
export const rows = (
  key: string,
  { sweeping }: { readonly sweeping: boolean }
): ReadonlyArray<readonly [name: string, effect: Effect.Effect<void, unknown, SessionBackend | Scope.Scope>]> =>
  Object.entries(sweeping ? { ...endings, ...sweeps } : endings).map(([how, { run, told: expected }], i) => [
    `[R85c] a session that ends by ${how} is told of once`,
    Effect.suspend(() => {
      const by = { millis: 0 }
      const name = `user ${i}`
      return ahead(by)(
        Effect.gen(function* () {
          const all = yield* world(`${key}/${i}`, by, name)
          const ended = yield* run(all)
          const { events } = all.told
          assert.deepStrictEqual(
            events.map((event) => Events.textOf(event).replace(name, "ada")),
            expected
          )
          const told = events.flatMap((event) => (event._tag === "Ended" ? [[event.id, event.principal]] : []))
          assert.deepStrictEqual(told.toSorted(), ended.map(({ id, principal }) => [id, principal]).toSorted())
        })
      )
    }).pipe(Effect.provide(silent))
  ])
