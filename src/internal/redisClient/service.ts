/**
 * What the services over Redis drivers have in common: opening and closing a client, sending, subscribing, and logging
 * what goes wrong.
 *
 * @internal
 */
import * as Cause from "effect/Cause"
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Redis from "effect/persistence/Redis"
import * as Schedule from "effect/Schedule"
import type * as Scope from "effect/Scope"
import { codeOf } from "../backend/redisOutcome.ts"

/** A driver's client: one connection, or several that act as one. */
export interface Client {
  readonly connect: () => Promise<unknown>
  /** Sends a command, unless the signal says that its caller waits no more. */
  readonly send: (signal: AbortSignal, command: string, args: ReadonlyArray<string>) => Promise<unknown>
  readonly subscribe: (channel: string, listener: (message: string) => void) => Promise<unknown>
  readonly unsubscribe: (channel: string, listener: (message: string) => void) => Promise<unknown>
  /** Ends it once the commands under way are answered. */
  readonly close: () => Promise<unknown>
  /** Ends it now, and fails the commands under way. */
  readonly destroy: () => void
}

/** A command is not sent, for it has no connection. Its name is what a log says of it. */
export class ClientOfflineError extends Error {
  constructor() {
    super("The client is offline")
  }
}

export const offline = (): Promise<never> => Promise.reject(new ClientOfflineError())

/** How long to wait before connecting again, for ever: 50 ms at first and a second at last. */
export const reconnectDelay = (retries: number): number => Math.min(50 * 2 ** retries, 1000)

/** Settings of one connection of node-redis for sessions, as the example of `SessionBackendRedis` has them. */
export const nodeRedisSettings = {
  disableOfflineQueue: true,
  commandsQueueMaxLength: 10_000,
  pingInterval: 2000
}

/** The socket that goes with these settings. */
export const nodeRedisSocket = {
  connectTimeout: 1000,
  socketTimeout: 5000,
  reconnectStrategy: reconnectDelay
}

/** How long opening, closing or subscribing may take. */
const limit = Duration.seconds(5)

/** How long the commands under way may take when a client is closed. */
const closeLimit = Duration.seconds(1)

const attempt = <A>(evaluate: (signal: AbortSignal) => PromiseLike<A>): Effect.Effect<A, Redis.RedisError> =>
  Effect.tryPromise({
    try: (signal) => evaluate(signal),
    catch: (cause) => new Redis.RedisError({ cause: withoutCommand(cause) })
  })

/** ioredis adds the command to an error, and its arguments with it: a password, or what a session holds. */
const withoutCommand = (error: unknown): unknown => {
  if (error instanceof Error) {
    Reflect.deleteProperty(error, "command")
    // That of the last server, where all of a Cluster have failed.
    if ("lastNodeError" in error) withoutCommand(error.lastNodeError)
  }
  return error
}

const bounded = <A>(evaluate: () => PromiseLike<A>, what: string): Effect.Effect<A, Redis.RedisError> =>
  Effect.timeoutOrElse(attempt(evaluate), {
    duration: limit,
    orElse: () => Effect.fail(new Redis.RedisError({ cause: new Cause.TimeoutError(`${what} took too long`) }))
  })

/** Connects a client, in time. */
export const connect = (client: Client): Effect.Effect<unknown, Redis.RedisError> =>
  bounded(client.connect, "connecting")

/** Makes a client and connects it. One that cannot be connected in time is destroyed. */
export const open = <C extends Client>(make: () => C): Effect.Effect<C, Redis.RedisError> =>
  Effect.suspend(() => {
    const client = make()
    return connect(client).pipe(
      Effect.as(client),
      Effect.onError(() => Effect.sync(client.destroy))
    )
  })

/** Closes a client. What is not answered within a second fails. */
export const close = (client: Client): Effect.Effect<void> =>
  attempt(client.close).pipe(
    Effect.timeoutOption(closeLimit),
    Effect.ignore,
    Effect.andThen(Effect.sync(client.destroy))
  )

/** Opens a client for the scope, and goes on trying for as long as the layer may wait. */
export const openScoped = <C extends Client>(
  opening: Effect.Effect<C, Redis.RedisError>,
  startupTimeout: Duration.Input | undefined
): Effect.Effect<C, Redis.RedisError, Scope.Scope> =>
  Effect.acquireRelease(
    startupTimeout === undefined
      ? opening
      : Effect.retry(opening, Schedule.upTo(Schedule.spaced("1 second"), { duration: startupTimeout })),
    close,
    { interruptible: true }
  )

const sendBy =
  (client: Client): Redis.Redis["Service"]["send"] =>
  // The caller says what it expects of the reply, as with every `Redis` service.
  <A>(command: string, ...args: ReadonlyArray<string>) =>
    attempt((signal) => client.send(signal, command, args)) as Effect.Effect<A, Redis.RedisError>

/**
 * The service over a shared client. `another` opens a client that no other caller shares, for `reserve`. A driver brings
 * its subscriptions over an interruption by itself.
 */
export const makeService = (
  shared: Client,
  another: Effect.Effect<Client, Redis.RedisError>,
  pool: Redis.PoolOptions
): Effect.Effect<Redis.Redis["Service"], never, Scope.Scope> =>
  Redis.make({
    send: sendBy(shared),
    connect: Effect.map(another, (client) => ({ send: sendBy(client), close: Effect.sync(client.destroy) })),
    pool: {
      acquireTimeout: pool.acquireTimeout,
      idleTimeout: pool.idleTimeout,
      maxConnections: pool.maxConnections,
      minConnections: pool.minConnections
    },
    subscribe: Effect.fnUntraced(function* (channel, onMessage) {
      const listener = (message: string) => onMessage({ channel, message })
      // Before it subscribes: a subscription whose reply is late is ended, too.
      yield* Effect.addFinalizer(() =>
        Effect.ignore(bounded(() => shared.unsubscribe(channel, listener), "unsubscribing"))
      )
      yield* bounded(() => shared.subscribe(channel, listener), "subscribing")
      return Effect.never
    })
  })

// -----------------------------------------------------------------------------
// The log
// -----------------------------------------------------------------------------

/** Logs errors of a client, which a driver emits as events: without a listener they would end the process. */
export const errorLog = (name: string): Effect.Effect<(error: unknown) => void> =>
  Effect.contextWith((context) => {
    const runFork = Effect.runForkWith(context)
    return Effect.succeed((error: unknown) => {
      runFork(Effect.logWarning(`${name}: ${codeOf(new Redis.RedisError({ cause: innermost(error) })) ?? "Error"}`))
    })
  })

/** A driver may wrap an error in one whose message has an address. */
const innermost = (error: unknown): unknown =>
  error instanceof Error && error.cause instanceof Error ? innermost(error.cause) : error
