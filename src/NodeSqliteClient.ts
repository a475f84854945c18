/**
 * A `SqlClient` over the SQLite built into Node (`node:sqlite`): durable sessions without a database server or another
 * package.
 *
 * **When to use**
 *
 * Use with `SessionBackendSql` on a single machine. Processes of that machine may share the file.
 *
 * **Details**
 *
 * - The file is opened in WAL mode with `synchronous = FULL`: acknowledged writes survive a crash of the process and of
 *   the machine.
 * - `node:sqlite` is synchronous, so it runs in a worker thread of its own. The event loop goes on while a statement runs,
 *   while a commit waits for the disk, and while the lock of another process is waited for.
 * - One connection serves all fibers, a statement or a transaction at a time. A transaction takes the write lock when it
 *   begins (`BEGIN IMMEDIATE`).
 *
 * **Gotchas**
 *
 * - Statements of other fibers wait while one runs. So give sessions a database file, and a client, of their own.
 * - A session operation inside a transaction of the same client fails at once.
 * - A statement that has begun is not interrupted: its effect ends when it has ended.
 * - A stream reads all rows before it emits the first.
 * - This module needs the `node:sqlite` of Node, Bun or Deno, and is not part of the package's main entry point. Node 22
 *   prints a warning that its SQLite is experimental.
 *
 * **Example** (Keeping sessions in a file)
 *
 * ```ts
 * import { Layer } from "effect"
 * import { SessionBackendSql } from "effect-sessions"
 * import * as NodeSqliteClient from "effect-sessions/NodeSqliteClient"
 *
 * export const SessionsLive = SessionBackendSql.layer.pipe(
 *   Layer.provide(NodeSqliteClient.layer({ filename: "sessions.db" }))
 * )
 * ```
 *
 * @stability unstable
 * @since 0.1.0
 */

/// <reference types="node" />
import * as Config from "effect/Config"
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Layer from "effect/Layer"
import * as Reactivity from "effect/reactivity/Reactivity"
import type * as Scope from "effect/Scope"
import * as Semaphore from "effect/Semaphore"
import * as SqlClient from "effect/sql/SqlClient"
import type { Connection } from "effect/sql/SqlConnection"
import { classifySqliteError, SqlError } from "effect/sql/SqlError"
import * as Statement from "effect/sql/Statement"
import * as Stream from "effect/Stream"
import { Worker } from "node:worker_threads"

/**
 * Options of the SQLite client.
 *
 * @stability unstable
 * @category options
 * @since 0.1.0
 */
export interface NodeSqliteClientOptions {
  /** Path of the database file, created if it is missing. `":memory:"` keeps everything in this process. */
  readonly filename: string
  /**
   * How long a statement waits for the write lock of another connection.
   *
   * @default "1 second"
   */
  readonly busyTimeout?: Duration.Input | undefined
}

/**
 * Opens the database as a client, which is closed with the scope.
 *
 * @stability unstable
 * @category constructors
 * @since 0.1.0
 */
export const make = (
  options: NodeSqliteClientOptions
): Effect.Effect<SqlClient.SqlClient, SqlError, Scope.Scope | Reactivity.Reactivity> =>
  Effect.gen(function* () {
    const worker = yield* Effect.acquireRelease(open(options), close)
    return yield* SqlClient.make({
      ...SqlClient.makeSqliteAcquirers({
        connection: Effect.succeed(makeConnection(worker)),
        semaphore: yield* Semaphore.make(1),
        isTransaction: () => worker.isTransaction
      }),
      compiler: Statement.makeCompilerSqlite(),
      driver: "node-sqlite",
      beginTransaction: "BEGIN IMMEDIATE",
      releaseSavepoint: (name) => `RELEASE SAVEPOINT ${name}`,
      spanAttributes: [["db.system.name", "sqlite"]]
    })
  })

/**
 * Layer that opens the database and provides it as `SqlClient`.
 *
 * @stability unstable
 * @category layers
 * @since 0.1.0
 */
export const layer = (options: NodeSqliteClientOptions): Layer.Layer<SqlClient.SqlClient, SqlError> =>
  Layer.effect(SqlClient.SqlClient, make(options)).pipe(Layer.provide(Reactivity.layer))

/**
 * Layer that opens the database and provides it as `SqlClient`, with options from configuration: `layer`.
 *
 * @stability experimental
 * @category layers
 * @since 0.1.0
 */
export const layerConfig = (
  options: Config.Wrap<NodeSqliteClientOptions>
): Layer.Layer<SqlClient.SqlClient, Config.ConfigError | SqlError> =>
  Layer.effect(SqlClient.SqlClient, Effect.flatMap(Config.unwrap(options), make)).pipe(Layer.provide(Reactivity.layer))

// -----------------------------------------------------------------------------
// internal
// -----------------------------------------------------------------------------

/** What a statement answers: rows as objects, rows as arrays, or what SQLite says of a statement without rows. */
type Mode = "rows" | "values" | "raw"

interface Command {
  readonly sql: string
  readonly params: ReadonlyArray<unknown>
  readonly mode: Mode
}

type Reply = { readonly isTransaction: boolean } & (
  | { readonly value: unknown }
  /** An error as it can be sent from thread to thread. */
  | { readonly error: { readonly message: string } }
)

interface Database {
  /** Whether a transaction was open after the last reply. */
  readonly isTransaction: boolean
  /** Statements are answered in the order they are sent. */
  readonly send: (statement: Command | "close") => Promise<unknown>
  /** Ends the thread. What it has not answered, it has not done. */
  readonly end: () => void
}

/**
 * The other thread, as text: what bundlers and loaders do to functions and to paths of files does not reach it. It keeps
 * the last hundred statements prepared; a session store needs about fifteen.
 */
const source = `
const { parentPort, workerData } = require("node:worker_threads")
const { DatabaseSync } = require("node:sqlite")
let database
const prepared = new Map()
const prepare = (sql) => {
  let statement = prepared.get(sql)
  if (statement === undefined) {
    if (prepared.size >= 100) prepared.clear()
    prepared.set(sql, (statement = database.prepare(sql)))
  }
  return statement
}
const run = ({ sql, params, mode }) => {
  const statement = prepare(sql)
  if (mode === "raw" && statement.columns().length === 0) return statement.run(...params)
  statement.setReturnArrays(mode === "values")
  return statement.all(...params)
}
const reply = (evaluate) => {
  let answer
  try {
    answer = { value: evaluate() }
  } catch ({ message, code, errcode, errstr }) {
    answer = { error: { message, code, errcode, errstr } }
  }
  parentPort.postMessage({ ...answer, isTransaction: database !== undefined && database.isOpen && database.isTransaction })
}
parentPort.on("message", (statement) => reply(() => (statement === "close" ? database.close() : run(statement))))
const open = () => {
  try {
    return new DatabaseSync(workerData.filename, { timeout: workerData.timeout })
  } catch (error) {
    // Deno says no code here, nor does Node where it is not permitted to read the file.
    throw Object.assign(error, { errcode: error.errcode ?? 14 }) // SQLITE_CANTOPEN
  }
}
reply(() => {
  database = open()
  // Not by exec, whose errors have no code on Deno.
  database.prepare("PRAGMA journal_mode = WAL").all()
  database.prepare("PRAGMA synchronous = FULL").all()
})
`

const open = (options: NodeSqliteClientOptions): Effect.Effect<Database, SqlError> =>
  attempt(
    "connect",
    async () => {
      const worker = new Worker(source, {
        eval: true,
        // Of the program, such as loaders: this thread needs none.
        execArgv: [],
        workerData: {
          filename: options.filename,
          timeout: Duration.toMillis(Duration.fromInputUnsafe(options.busyTimeout ?? "1 second"))
        }
      })
      const waiting: Array<(reply: Reply) => void> = []
      let isTransaction = false
      let ended: Error | undefined
      const next = (): Promise<unknown> => {
        // The thread keeps the program running as long as it has something to do, and no longer.
        if (waiting.length === 0) worker.ref()
        return new Promise((resolve, reject) =>
          waiting.push((reply) => {
            if (waiting.length === 0) worker.unref()
            if ("error" in reply) reject(Object.assign(new Error(reply.error.message), reply.error))
            else resolve(reply.value)
          })
        )
      }
      worker.on("message", (reply: Reply) => {
        isTransaction = reply.isTransaction
        waiting.shift()?.(reply)
      })
      const onEnd = (error: Error) => {
        ended ??= error
        isTransaction = false
        for (const answer of waiting.splice(0)) answer({ isTransaction, error: ended })
      }
      worker.on("error", onEnd).on("exit", () => onEnd(new Error("The thread of the database has ended")))
      await next().catch((error: unknown) => {
        void worker.terminate()
        throw error
      })
      return {
        get isTransaction() {
          return isTransaction
        },
        send: (statement) => {
          if (ended !== undefined) return Promise.reject(ended)
          worker.postMessage(statement, [])
          return next()
        },
        end: () => void worker.terminate()
      }
    },
    (cause) => {
      // Deno names the file, too.
      const why = (cause instanceof Error ? cause.message : String(cause)).replace(`: ${options.filename}`, "")
      const advice = why === "unable to open database file" ? "; its folder has to exist, and be writable" : ""
      return `cannot open ${options.filename}: ${why}${advice}`
    }
  )

const close = (database: Database): Effect.Effect<void> =>
  // Not by the thread itself, which Deno does not let.
  Effect.promise(() => database.send("close").then(database.end, database.end))

const makeConnection = (database: Database): Connection => {
  const run = (sql: string, params: ReadonlyArray<unknown>, mode: Mode) =>
    attempt("execute", () => database.send({ sql, params, mode }))
  const execute: Connection["execute"] = (sql, params, transformRows) => {
    // In this mode the thread answers rows as objects.
    const rows = run(sql, params, "rows") as Effect.Effect<ReadonlyArray<object>, SqlError>
    return transformRows === undefined ? rows : Effect.map(rows, transformRows)
  }
  const values: Connection["executeValues"] = (sql, params) =>
    // In this mode the thread answers rows as arrays.
    run(sql, params, "values") as Effect.Effect<ReadonlyArray<ReadonlyArray<unknown>>, SqlError>
  return {
    execute,
    executeUnprepared: execute,
    executeValues: values,
    executeValuesUnprepared: values,
    executeRaw: (sql, params) => run(sql, params, "raw"),
    executeStream: (sql, params, transformRows) =>
      Stream.unwrap(Effect.map(execute(sql, params, transformRows), Stream.fromIterable))
  }
}

/** Waits for the end whatever happens: a statement sent to the other thread is not taken back. */
const attempt = <A>(
  operation: string,
  evaluate: () => Promise<A>,
  what: (cause: unknown) => string = () => `${operation} failed`
): Effect.Effect<A, SqlError> =>
  Effect.uninterruptible(
    Effect.tryPromise({
      try: evaluate,
      catch: (cause) => {
        // The classifier expects SQLite's numeric code in `errno`; `node:sqlite` names it `errcode`.
        if (cause instanceof Error && "errcode" in cause) Object.assign(cause, { errno: cause.errcode })
        return new SqlError({
          reason: classifySqliteError(cause, { message: `NodeSqliteClient: ${what(cause)}`, operation })
        })
      }
    })
  )
