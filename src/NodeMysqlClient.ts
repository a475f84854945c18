/**
 * A `SqlClient` over the npm package `mysql2`, for MySQL (8.0 or later) and MariaDB (10.6 or later): until Effect's own
 * driver for them is stable.
 *
 * **When to use**
 *
 * Use with `SessionBackendSql`, which documents what the database has to be set to. Install `mysql2` beside this package.
 *
 * **Details**
 *
 * - Connections are opened when they are needed, `maxConnections` at most, and kept until the server closes them.
 *   Building the Layer opens none.
 * - Each connection is set to the character set utf8mb4, a strict `sql_mode` (`TRADITIONAL`), READ COMMITTED, autocommit
 *   and UTC, whatever the server's defaults are.
 * - `affectedRows` of a raw result counts the rows that a statement matched, as in other databases, not those it changed.
 * - A BIGINT is answered as a number where that is exact, else as text; a binary column as a `Buffer`.
 * - A connection whose statement is interrupted is closed. So is one whose server answers that it is read-only: after a
 *   failover it may be the old one.
 *
 * **Gotchas**
 *
 * - The server goes on with a statement whose connection was closed, as long as it waits for a lock: `lockWaitTimeout`
 *   bounds that.
 * - Before and after each DDL statement MySQL and MariaDB commit the transaction it is in.
 * - A stream reads all rows before it emits the first.
 * - This module needs Node, Bun or Deno, and is not part of the package's main entry point. It was tested on MariaDB 10.11.
 *
 * **Example** (Keeping sessions in MariaDB)
 *
 * ```ts
 * import { Config, Layer } from "effect"
 * import { SessionBackendSql } from "effect-sessions"
 * import * as NodeMysqlClient from "effect-sessions/NodeMysqlClient"
 *
 * export const SessionsLive = SessionBackendSql.layer.pipe(
 *   Layer.provide(NodeMysqlClient.layerConfig({ url: Config.Redacted("MYSQL_URL") }))
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
import * as Redacted from "effect/Redacted"
import type * as Scope from "effect/Scope"
import * as Semaphore from "effect/Semaphore"
import * as SqlClient from "effect/sql/SqlClient"
import type { Connection } from "effect/sql/SqlConnection"
import {
  AuthenticationError,
  AuthorizationError,
  ConnectionError,
  ConstraintError,
  DeadlockError,
  LockTimeoutError,
  SerializationError,
  SqlError,
  SqlSyntaxError,
  StatementTimeoutError,
  UniqueViolation,
  UnknownError
} from "effect/sql/SqlError"
import type { SqlErrorReason } from "effect/sql/SqlError"
import * as Statement from "effect/sql/Statement"
import * as Stream from "effect/Stream"
import * as Mysql from "mysql2"
import type { Socket } from "node:net"

/**
 * Options of the MySQL client.
 *
 * @stability unstable
 * @category options
 * @since 0.1.0
 */
export interface NodeMysqlClientOptions {
  /** `mysql://user:password@host:port/database`, or `mariadb://`. An option given beside it takes precedence. */
  readonly url?: Redacted.Redacted | undefined
  /** @default "localhost" */
  readonly host?: string | undefined
  /** @default 3306 */
  readonly port?: number | undefined
  readonly user?: string | undefined
  readonly password?: Redacted.Redacted | undefined
  readonly database?: string | undefined
  /** @default 10 */
  readonly maxConnections?: number | undefined
  /**
   * How long the server may take to accept a connection, and to begin or end a transaction.
   *
   * @default "5 seconds"
   */
  readonly connectTimeout?: Duration.Input | undefined
  /**
   * How long a statement waits for a lock, of a row or of a table, in whole seconds.
   *
   * @default "1 second"
   */
  readonly lockWaitTimeout?: Duration.Input | undefined
  /** More options of `mysql2`, such as `ssl`. Those that this module sets are not overridden. */
  readonly driverOptions?: Mysql.ConnectionOptions | undefined
}

/**
 * Makes a client, whose connections are closed with the scope. It fails if the url is not one.
 *
 * @stability unstable
 * @category constructors
 * @since 0.1.0
 */
export const make = (
  options: NodeMysqlClientOptions
): Effect.Effect<SqlClient.SqlClient, SqlError, Scope.Scope | Reactivity.Reactivity> =>
  Effect.gen(function* () {
    // What `URL` throws shows the password.
    if (options.url !== undefined && !isUrl.test(Redacted.value(options.url))) {
      return yield* lost("the url has to begin with mysql:// or mariadb://")
    }
    if (options.url !== undefined && !URL.canParse(Redacted.value(options.url))) {
      return yield* lost("the url is not a URL")
    }
    const maxConnections = options.maxConnections ?? 10
    const client = yield* SqlClient.make({
      acquirer: yield* makePool(options, maxConnections),
      compiler,
      driver: "node-mysql",
      releaseSavepoint: (name) => `RELEASE SAVEPOINT ${name}`,
      spanAttributes: [["db.system.name", "mysql"]]
    })
    // Where Effect's drivers have it too: `SessionBackendSql` asks for no more connections at a time.
    return Object.assign(client, { config: { maxConnections } })
  })

/**
 * Layer that provides the client as `SqlClient`.
 *
 * @stability unstable
 * @category layers
 * @since 0.1.0
 */
export const layer = (options: NodeMysqlClientOptions): Layer.Layer<SqlClient.SqlClient, SqlError> =>
  Layer.effect(SqlClient.SqlClient, make(options)).pipe(Layer.provide(Reactivity.layer))

/**
 * Layer that provides the client as `SqlClient`, with options from the configuration.
 *
 * @stability unstable
 * @category layers
 * @since 0.1.0
 */
export const layerConfig = (
  options: Config.Wrap<NodeMysqlClientOptions>
): Layer.Layer<SqlClient.SqlClient, Config.ConfigError | SqlError> =>
  Layer.effect(SqlClient.SqlClient, Effect.flatMap(Config.unwrap(options), make)).pipe(Layer.provide(Reactivity.layer))

// -----------------------------------------------------------------------------
// internal
// -----------------------------------------------------------------------------

/** That of another database, or one without a scheme, `mysql2` takes for an address. */
const isUrl = /^(?:mysql2?|mariadb):\/\//i

const compiler = Statement.makeCompiler({
  dialect: "mysql",
  placeholder: () => "?",
  onIdentifier: Statement.defaultEscape("`"),
  onCustom: () => ["", []],
  onRecordUpdate: () => ["", []]
})

// -----------------------------------------------------------------------------
// The pool. That of `mysql2` gives no hold on a connection that is still being opened, and keeps the place in the queue
// of a caller who has gone.
// -----------------------------------------------------------------------------

const makePool = (
  options: NodeMysqlClientOptions,
  maxConnections: number
): Effect.Effect<Effect.Effect<Connection, SqlError, Scope.Scope>, never, Scope.Scope> =>
  Effect.gen(function* () {
    const permits = yield* Semaphore.make(maxConnections)
    const all = new Set<Session>()
    const idle: Array<Session> = []
    let isClosed = false
    yield* Effect.addFinalizer(() =>
      Effect.sync(() => {
        isClosed = true
        for (const session of all) session.close()
      })
    )

    const open = () => {
      const session = openSession(options, () => all.delete(session))
      all.add(session)
      return session
    }
    /** An idle one that still stands, the last used first, or a new one. */
    const take = (): Session => {
      const session = idle.pop() ?? open()
      return session.isOpen() ? session : take()
    }
    const checkOut = Effect.uninterruptibleMask((restore) =>
      Effect.suspend(() => {
        if (isClosed) return Effect.fail(lost("the client is closed"))
        const session = take()
        return restore(session.ready).pipe(
          Effect.onError(() => Effect.sync(session.close)),
          Effect.as(session)
        )
      })
    )
    const putBack = (session: Session) =>
      Effect.sync(() => {
        if (isClosed) session.close()
        else if (session.isOpen()) idle.push(session)
      })

    return Effect.andThen(
      permits.takeScoped(1),
      Effect.map(Effect.acquireRelease(checkOut, putBack, { interruptible: true }), makeConnection)
    )
  })

// -----------------------------------------------------------------------------
// One connection to the server
// -----------------------------------------------------------------------------

/** Of what is asked in `"connect"` nothing has changed in the database. */
type Operation = "connect" | "execute"

interface Session {
  readonly isOpen: () => boolean
  readonly close: () => void
  /** Ends when the connection is made and set up. */
  readonly ready: Effect.Effect<void, SqlError>
  readonly run: (
    method: "execute" | "query",
    sql: string,
    params: ReadonlyArray<unknown>,
    how?: { readonly rowsAsArray?: boolean; readonly timeout?: number; readonly operation?: Operation }
  ) => Effect.Effect<unknown, SqlError>
  /** The bound, in milliseconds, of what cannot be interrupted. */
  readonly timeout: number
}

/** How many prepared statements a connection keeps. A session store needs about twenty. */
const preparedCapacity = 100

const driverOptions = (options: NodeMysqlClientOptions, connectTimeout: number): Mysql.ConnectionOptions => {
  const given = {
    uri: options.url && Redacted.value(options.url),
    host: options.host,
    port: options.port,
    user: options.user,
    password: options.password && Redacted.value(options.password),
    database: options.database
  }
  return {
    ...options.driverOptions,
    // `mysql2` takes what is given before what is in the url, and does not allow `undefined`.
    ...Object.fromEntries(Object.entries(given).filter(([, value]) => value !== undefined)),
    charset: "utf8mb4",
    timezone: "Z",
    supportBigNumbers: true,
    bigNumberStrings: false,
    stringifyObjects: true,
    multipleStatements: false,
    maxPreparedStatements: preparedCapacity,
    // A link that was cut silently is noticed while the connection is idle.
    keepAliveInitialDelay: 10_000,
    // The server must not ask for files. FOUND_ROWS: `affectedRows` counts what matched.
    flags: ["FOUND_ROWS", "-LOCAL_FILES"],
    connectTimeout
  }
}

const settings = (options: NodeMysqlClientOptions): ReadonlyArray<string> => {
  const wait = Math.max(1, Math.ceil(Duration.toSeconds(Duration.fromInputUnsafe(options.lockWaitTimeout ?? 1000))))
  return [
    "SET NAMES utf8mb4, SESSION sql_mode = 'TRADITIONAL', SESSION autocommit = 1, SESSION time_zone = '+00:00', " +
      `SESSION innodb_lock_wait_timeout = ${wait}, SESSION lock_wait_timeout = ${wait}`,
    // Its variable has another name in MariaDB.
    "SET SESSION TRANSACTION ISOLATION LEVEL READ COMMITTED"
  ]
}

const openSession = (options: NodeMysqlClientOptions, onClose: () => void): Session => {
  const timeout = Duration.toMillis(Duration.fromInputUnsafe(options.connectTimeout ?? 5000))
  let isOpen = true
  let isReady = false
  /** Who waits for an answer of the server. The driver leaves them waiting when it is told to close. */
  const waiting = new Set<(cause?: Mysql.QueryError) => void>()
  const driver = Mysql.createConnection(driverOptions(options, timeout))
  const end = (cause?: Mysql.QueryError) => {
    if (!isOpen) return
    isOpen = false
    onClose()
    for (const fail of waiting) fail(cause)
    // With a farewell, for the server's log, that no caller waits for: it may be frozen.
    if (isReady) driver.end()
    driver.destroy()
    // `destroy` leaves it to the server to close the socket. The types leave the socket out.
    const { stream } = driver as typeof driver & { readonly stream: Socket }
    if (stream.writableLength === 0 || !isReady) stream.destroy()
    else stream.destroySoon()
  }
  // An error without a listener ends the process.
  driver.on("error", (cause: Mysql.QueryError) => end(cause))
  driver.on("end", () => end())
  const close = () => end()

  const request = <A>(
    operation: Operation,
    send: (answer: (cause: Mysql.QueryError | null, result: A) => void) => void
  ): Effect.Effect<A, SqlError> =>
    Effect.callback((resume) => {
      if (!isOpen) return resume(Effect.fail(lost("the connection is lost")))
      const fail = (cause?: Mysql.QueryError) =>
        resume(
          Effect.fail(cause === undefined ? lost("the connection was lost", operation) : sqlError(cause, operation))
        )
      waiting.add(fail)
      send((cause, result) => {
        waiting.delete(fail)
        if (cause === null) return resume(Effect.succeed(result))
        // First, for the caller who is told goes on at once, perhaps with this connection.
        if (isLast(cause)) close()
        resume(Effect.fail(sqlError(cause, operation)))
      })
      return Effect.sync(close)
    })

  const run: Session["run"] = (method, sql, params, how) =>
    request(how?.operation ?? "execute", (answer) => {
      const values = params.map((param) => (param === undefined ? null : param))
      const { rowsAsArray = false, timeout } = how ?? {}
      const query = { sql, values, rowsAsArray, ...(timeout === undefined ? {} : { timeout }) }
      // As Effect's statements, the driver leaves it to the server what a value may be.
      driver[method](query as Mysql.QueryOptions, answer)
    })

  const connected = request<void>("connect", (answer) => driver.connect((cause) => answer(cause)))
  const setUp = Effect.forEach(settings(options), (sql) => run("query", sql, [], { timeout, operation: "connect" }))
  const ready = Effect.suspend(() =>
    isReady ? Effect.void : Effect.map(Effect.andThen(connected, setUp), () => void (isReady = true))
  )
  return { isOpen: () => isOpen, close, ready, run, timeout }
}

/** What begins and ends a transaction, where Effect cannot be interrupted. */
const control = /^(BEGIN|START|COMMIT|ROLLBACK|SAVEPOINT|RELEASE)\b/i

/** What a server has done by itself when its connection was lost. */
const undone = /^(ROLLBACK|RELEASE)\b/i

const makeConnection = (session: Session): Connection => {
  const rows =
    (method: "execute" | "query"): Connection["execute"] =>
    (sql, params, transformRows) =>
      Effect.map(session.run(method, sql, params), (result) => {
        // A statement without rows answers with an object.
        const rows = Array.isArray(result) ? result : []
        return transformRows === undefined ? rows : transformRows(rows)
      })
  const values =
    (method: "execute" | "query"): Connection["executeValues"] =>
    (sql, params) =>
      Effect.map(session.run(method, sql, params, { rowsAsArray: true }), (result) =>
        Array.isArray(result) ? result : []
      )
  const execute = rows("execute")
  const unprepared = rows("query")
  return {
    execute,
    executeRaw: (sql, params) => session.run("execute", sql, params),
    executeValues: values("execute"),
    executeValuesUnprepared: values("query"),
    executeUnprepared: (sql, params, transformRows) => {
      if (!control.test(sql)) return unprepared(sql, params, transformRows)
      const ended = Effect.as(session.run("query", sql, params, { timeout: session.timeout }), [])
      return undone.test(sql)
        ? Effect.catch(ended, (error) => (session.isOpen() ? Effect.fail(error) : Effect.succeed([])))
        : ended
    },
    executeStream: (sql, params, transformRows) =>
      Stream.unwrap(Effect.map(execute(sql, params, transformRows), Stream.fromIterable))
  }
}

// -----------------------------------------------------------------------------
// Errors
// -----------------------------------------------------------------------------

const lost = (message: string, operation: Operation = "connect"): SqlError =>
  new SqlError({
    reason: new ConnectionError({ cause: new Error(message), message: `NodeMysqlClient: ${message}`, operation })
  })

/** The server's number of an error, from 1000 up; 0 for one of the driver or the socket. */
const numberOf = ({ errno }: Mysql.QueryError): number => (typeof errno === "number" && errno >= 1000 ? errno : 0)

/** Shutdown in progress, aborted connections, the client is idle too long, the connection was killed. */
const endings = new Set([1053, 1152, 1158, 1159, 1160, 1161, 1184, 1927, 4031])

/** What a server says that is read-only: an option, a transaction or its mode. */
const readOnly = new Set([1290, 1792, 1836])

/** Whether the connection is gone, or silent. */
const isLost = (cause: Mysql.QueryError): boolean =>
  numberOf(cause) === 0 && (cause.fatal || cause.code === "PROTOCOL_SEQUENCE_TIMEOUT")

/** Whether no statement should follow on the connection: it is lost, or is to end, or leads to a replica. */
const isLast = (cause: Mysql.QueryError): boolean =>
  isLost(cause) || endings.has(numberOf(cause)) || readOnly.has(numberOf(cause))

type ReasonClass = new (props: {
  readonly cause: unknown
  readonly message: string
  readonly operation: string
}) => SqlErrorReason

const reasons = new Map<number, ReasonClass>(
  (
    [
      // Too many connections, bad handshakes, a host that is blocked or not allowed, out of resources.
      [ConnectionError, [1040, 1041, 1042, 1043, 1129, 1130, 1203, 1226, ...endings]],
      [AuthenticationError, [1045, 1251, 1698, 1820, 1862]],
      [AuthorizationError, [1044, 1142, 1143, 1227, 1370]],
      // No table, no column, syntax.
      [SqlSyntaxError, [1054, 1064, 1146]],
      [ConstraintError, [1022, 1048, 1169, 1216, 1217, 1451, 1452, 1557, 3819, 4025]],
      [DeadlockError, [1213]],
      // Changed since it was read.
      [SerializationError, [1020]],
      [LockTimeoutError, [1205, 3572]],
      [StatementTimeoutError, [1969, 3024]]
    ] as const
  ).flatMap(([reason, numbers]) => numbers.map((number) => [number, reason] as const))
)

const duplicate = 1062

const sqlError = (cause: Mysql.QueryError, operation: Operation): SqlError => {
  // Why a connection was refused names the address, the user or the database, and no password: it is not sent as such.
  const what = operation === "connect" ? `cannot connect: ${cause.message || cause.code}` : "execute failed"
  const props = { cause, message: `NodeMysqlClient: ${what}`, operation }
  const number = numberOf(cause)
  if (number === duplicate) {
    const constraint = /for key '([^']+)'/.exec(cause.message)?.[1] ?? "unknown"
    return new SqlError({ reason: new UniqueViolation({ ...props, constraint }) })
  }
  const Reason = reasons.get(number) ?? (isLost(cause) || operation === "connect" ? ConnectionError : UnknownError)
  return new SqlError({ reason: new Reason(props) })
}
