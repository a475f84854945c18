/** Three servers of one application on one store, and people who log in and out of it. */
import { NodeCrypto } from "@effect/platform-node"
import { Cause, type Effect, Exit, Layer, Logger, ManagedRuntime, Option, Redacted, Schema } from "effect"
import { randomBytes } from "node:crypto"
import { setTimeout as pause } from "node:timers/promises"
import * as Session from "../../src/Session.ts"
import type { SessionBackend } from "../../src/SessionBackend.ts"
import * as SessionKeys from "../../src/SessionKeys.ts"
import * as SessionManager from "../../src/SessionManager.ts"
import * as SessionVerifier from "../../src/SessionVerifier.ts"

class FailoverSession extends Session.Service<FailoverSession>()("failover/Session", {
  data: Schema.Struct({ username: Schema.String }),
  principal: ({ username }) => username
}) {}

type Token = Redacted.Redacted<string>

/** One server, without HTTP. What it refuses, a server with HTTP answers with 503. */
export interface Server {
  readonly logIn: (username: string) => Promise<Token | "refused">
  readonly logOut: (token: Token) => Promise<"ended" | "refused">
  readonly isLoggedIn: (token: Token) => Promise<boolean | "refused">
  readonly stop: () => Promise<void>
}

const secret = Redacted.make(randomBytes(32).toString("base64"))

/** All servers have the same secret, so that what one has issued is a session on each. */
export const startServer = async (backend: Layer.Layer<SessionBackend, unknown>): Promise<Server> => {
  const runtime = ManagedRuntime.make(
    SessionManager.layer(FailoverSession).pipe(
      Layer.provide([backend, SessionVerifier.layerExists(FailoverSession), SessionKeys.layer(secret)]),
      Layer.provide(NodeCrypto.layer),
      // Refusals are counted here, not read.
      Layer.provideMerge(Logger.layer([])),
      Layer.orDie
    )
  )
  const manager = await runtime.runPromise(FailoverSession.Manager)
  /** Runs a call, and answers its failure by its name; what is no failure of the library's is thrown. */
  const call = async <A>(
    effect: Effect.Effect<A, { readonly _tag: string }>
  ): Promise<A | { readonly failed: string }> => {
    const exit = await runtime.runPromiseExit(effect)
    if (Exit.isSuccess(exit)) return exit.value
    const failure = Cause.findErrorOption(exit.cause)
    if (Option.isNone(failure)) throw new Error(Cause.pretty(exit.cause))
    return { failed: failure.value._tag }
  }
  return {
    logIn: async (username) => {
      const answer = await call(manager.create({ username }))
      return "failed" in answer ? "refused" : answer.token
    },
    logOut: async (token) => {
      const answer = await call(manager.destroy(token))
      return answer === true ? "ended" : "refused"
    },
    isLoggedIn: async (token) => {
      const answer = await call(manager.resolve(token))
      if (!("failed" in answer)) return true
      return answer.failed === "SessionInvalid" ? false : "refused"
    },
    stop: () => runtime.dispose()
  }
}

/** A session whose log-in was acknowledged. `endedAt` is the try at which its log-out was acknowledged, if it was. */
interface Known {
  readonly token: Token
  readonly at: number
  isLeaving: boolean
  endedAt: "first" | "second" | undefined
}

interface Answer {
  readonly began: number
  readonly ended: number
  readonly isRefused: boolean
}

/** How long somebody whose log-out was refused waits before trying again. */
const secondTry = 300

export class Traffic {
  readonly known: Array<Known> = []
  readonly answers: Array<Answer> = []
  readonly #servers: readonly [Server, Server]
  readonly #third: Server
  readonly #underWay = new Set<Promise<void>>()
  #isOn = false
  #named = 0

  /** The third has nothing to do but to serve those whom one of the two has refused. */
  constructor(one: Server, two: Server, third: Server) {
    this.#servers = [one, two]
    this.#third = third
  }

  async #timed<A>(call: Promise<A>): Promise<A> {
    const began = performance.now()
    const answer = await call
    this.answers.push({ began, ended: performance.now(), isRefused: answer === "refused" })
    return answer
  }

  async #logIn(server: Server): Promise<void> {
    const token = await this.#timed(server.logIn(`user${++this.#named}`))
    if (token !== "refused") {
      this.known.push({ token, at: performance.now(), isLeaving: false, endedAt: undefined })
    }
  }

  /** Somebody who is refused tries once more. */
  async #logOut(known: Known, server: Server): Promise<void> {
    known.isLeaving = true
    if ((await this.#timed(server.logOut(known.token))) === "ended") known.endedAt = "first"
    else {
      await pause(secondTry)
      if (this.#isOn && (await this.#timed(this.#third.logOut(known.token))) === "ended") known.endedAt = "second"
    }
  }

  /** Logs in so many people, all of whom must get in. */
  async fill(count: number): Promise<void> {
    while (this.known.length < count) {
      const before = this.known.length
      await Promise.all(Array.from({ length: 20 }, (_, i) => this.#logIn(this.#servers[i % 2 ? 1 : 0])))
      if (this.known.length === before) throw new Error("nobody can log in, and nothing has happened yet")
    }
    this.answers.length = 0
  }

  /** People log in and twice as many log out, each at a server by turns, until `stop`. */
  async start(perSecond: number): Promise<void> {
    this.#isOn = true
    const leaving = this.known.filter(({ isLeaving }) => !isLeaving)
    const began = performance.now()
    for (let sent = 0; this.#isOn; sent++) {
      const due = began + (sent * 1000) / perSecond
      const wait = due - performance.now()
      if (wait > 0) await pause(wait)
      const server = this.#servers[sent % 2 ? 1 : 0]
      const session = sent % 3 === 0 ? undefined : leaving.pop()
      const request = session === undefined ? this.#logIn(server) : this.#logOut(session, server)
      this.#underWay.add(request)
      void request.finally(() => this.#underWay.delete(request))
    }
  }

  /** Sends no more. */
  stop(): void {
    this.#isOn = false
  }

  /** Waits until all that was sent is answered. */
  async settled(): Promise<void> {
    while (this.#underWay.size > 0) await Promise.all(this.#underWay)
  }
}
