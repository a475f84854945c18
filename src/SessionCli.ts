/**
 * A definition's sessions on the command line: a command of `effect/cli` that an application mounts into its own.
 *
 * **When to use**
 *
 * Use in a program of its own, over the store that the servers use. This module is not part of the package's main entry
 * point, so that no server has `effect/cli` in its bundle.
 *
 * **Details**
 *
 * ```text
 * sessions list   [--principal <name>] [--limit <n>] [--data] [--json]
 * sessions count  [--principal <name>] [--json]
 * sessions show   <id> [--data] [--json]
 * sessions revoke <id> | --principal <name> | --all [--yes]  [--json]
 * ```
 *
 * - `list` and `count` are of all live sessions, or of one principal's, at most 1,000. On a terminal the table is as wide as
 *   that; elsewhere it has all columns, in full.
 * - `--json` answers one JSON object a line. `list` and `show`: `id`, `principal` (or `null`), `createdAt`,
 *   `authenticatedAt`, `factors` (`method`, `at`), `lastSeenAt`, `expiresAt`, `absoluteExpiresAt` (all in ISO 8601),
 *   `idleTimeout` (in seconds), `persistent`, `client` (`label`, `address`, `userAgent`, each may be `null`) and `version`.
 *   `count`: `count`. `revoke`: `revoked`.
 * - A session's data are shown with `--data` alone: in JSON as `data`, as its schema encodes them, or `null` if they do not
 *   decode.
 * - `revoke --all` asks on a terminal whether to go on; elsewhere, and with `--json`, it needs `--yes`. Those ended before it
 *   fails or is interrupted stay ended.
 * - Control characters of what clients sent, and those that turn the direction of text, are shown as `\u001b`.
 * - Exit codes: 0 done, 1 the store failed or the call was wrong, 2 there is no session with this id, 130 interrupted.
 *   Messages, warnings and progress are on standard error.
 *
 * **Gotchas**
 *
 * - An id may begin with a hyphen: it is then given after `--`, as in `sessions show -- -bX…`.
 *
 * **Example** (Mounting the command)
 *
 * ```ts
 * import { NodeCrypto, NodeRuntime, NodeServices } from "@effect/platform-node"
 * import { Config, Effect, Layer, Schema } from "effect"
 * import { Command } from "effect/cli"
 * import { Session, SessionBackendSql, SessionKeys, SessionManager, SessionVerifier } from "effect-sessions"
 * import * as NodeSqliteClient from "effect-sessions/NodeSqliteClient"
 * import * as SessionCli from "effect-sessions/SessionCli"
 *
 * class UserSession extends Session.Service<UserSession>()("app/UserSession", {
 *   data: Schema.Struct({ username: Schema.String }),
 *   principal: (data) => data.username
 * }) {}
 *
 * const SessionsLive = SessionManager.layer(UserSession).pipe(
 *   Layer.provide([SessionBackendSql.layerStorage(), SessionVerifier.layerExists(UserSession)]),
 *   Layer.provide(NodeSqliteClient.layer({ filename: "sessions.sqlite" })),
 *   Layer.provide(SessionKeys.layerConfig(Config.Redacted("SESSION_SECRET"))),
 *   Layer.provide(NodeCrypto.layer)
 * )
 *
 * const app = Command.make("myapp").pipe(
 *   Command.withSubcommands([SessionCli.command(UserSession)]),
 *   // Built when a command runs, and not for `--help`.
 *   Command.provide(SessionsLive)
 * )
 *
 * if (import.meta.main) {
 *   Command.run(app, { version: "1.0.0" }).pipe(Effect.provide(NodeServices.layer), NodeRuntime.runMain)
 * }
 * ```
 *
 * @stability experimental
 * @since 0.1.0
 */

import * as Argument from "effect/cli/Argument"
import * as CliError from "effect/cli/CliError"
import * as Command from "effect/cli/Command"
import * as Flag from "effect/cli/Flag"
import * as Prompt from "effect/cli/Prompt"
import * as Clock from "effect/Clock"
import * as Data from "effect/Data"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import * as Logger from "effect/Logger"
import * as Option from "effect/Option"
import * as Runtime from "effect/Runtime"
import * as Schema from "effect/Schema"
import * as SchemaParser from "effect/SchemaParser"
import * as Stdio from "effect/Stdio"
import * as Stream from "effect/Stream"
import * as Terminal from "effect/Terminal"
import * as Shown from "./internal/cli/shown.ts"
import * as Table from "./internal/cli/table.ts"
import { json, plain } from "./internal/cli/text.ts"
import { type Definition, type ManagerOf, SessionId, type SessionInfo, type Tagged } from "./Session.ts"
import * as SessionAdmin from "./SessionAdmin.ts"
import type { SessionUnavailable } from "./SessionError.ts"

/**
 * Why the command fails, as it says on standard error, and the exit code that the process then has.
 *
 * @stability experimental
 * @category errors
 * @since 0.1.0
 */
export class SessionCliError extends Data.TaggedError("SessionCliError")<{
  readonly message: string
  /** 1, or 2 if there is no session with the id. */
  readonly exitCode: 1 | 2
}> {
  override get [CliError.userMessage](): string {
    return this.message
  }

  override readonly [Runtime.errorExitCode] = this.exitCode

  /** The command says it; the runtime need not log it. */
  override readonly [Runtime.errorReported]: boolean = false
}

/**
 * Makes the command of a definition, which asks its manager.
 *
 * **Example** (Two definitions in one program)
 *
 * ```ts
 * import { Schema } from "effect"
 * import { Command } from "effect/cli"
 * import { Session } from "effect-sessions"
 * import * as SessionCli from "effect-sessions/SessionCli"
 *
 * class UserSession extends Session.Service<UserSession>()("app/UserSession", { data: Schema.Struct({}) }) {}
 * class AdminSession extends Session.Service<AdminSession>()("app/AdminSession", { data: Schema.Struct({}) }) {}
 *
 * export const app = Command.make("myapp").pipe(
 *   Command.withSubcommands([
 *     SessionCli.command(UserSession),
 *     SessionCli.command(AdminSession, { name: "admin-sessions" })
 *   ])
 * )
 * ```
 *
 * @stability experimental
 * @category constructors
 * @since 0.1.0
 */
export const command = <Self, A, R extends ReadonlyArray<Tagged>, const Name extends string = "sessions">(
  definition: Definition<Self, A, R>,
  options: {
    /** @default "sessions" */
    readonly name?: Name | undefined
  } = {}
): Command.Command<Name, {}, {}, SessionCliError | Terminal.QuitError, ManagerOf<Self> | Command.Environment> => {
  // Without a name, `Name` is "sessions".
  const name = (options.name ?? "sessions") as Name
  const admin = SessionAdmin.make(definition)
  const encode = SchemaParser.encodeUnknownExit(Schema.toCodecJson(definition.data))

  const shownOf =
    (withData: boolean) =>
    (info: SessionInfo<A | undefined>): Shown.Shown => {
      if (!withData) return { info }
      const encoded = info.data === undefined ? Exit.succeed(undefined) : encode(info.data)
      return { info, data: { json: Exit.isSuccess(encoded) ? encoded.value : undefined } }
    }

  const list = Command.make("list", { principal, limit, data, json: asJson }, ({ data, json, limit, principal }) =>
    running(
      Effect.gen(function* () {
        const { stream } = yield* admin
        const chosen = stream({ principal: Option.getOrUndefined(principal) }).pipe(
          Option.isSome(limit) ? Stream.take(limit.value) : (all) => all,
          Stream.map(shownOf(data))
        )
        if (json) return yield* print(Stream.mapArray(chosen, (some) => [linesOf(some.map(Shown.toJson))]))
        const table = Table.make(Shown.columns(data), yield* roomOf)
        let isEmpty = true
        yield* print(
          Stream.mapArray(chosen, (some) => {
            isEmpty = false
            return [linesOf(table(some))]
          })
        )
        if (isEmpty) yield* say("no sessions\n")
      })
    )
  ).pipe(Command.withDescription("List live sessions"))

  const count = Command.make("count", { principal, json: asJson }, ({ json, principal }) =>
    running(
      Effect.gen(function* () {
        const { count } = yield* admin
        const selection = { principal: Option.getOrUndefined(principal) }
        const found = yield* withProgress("sessions", (onProgress) => count({ ...selection, onProgress }))
        yield* answer(json, { count: found }, String(found))
      })
    )
  ).pipe(Command.withDescription("Count live sessions"))

  const show = Command.make("show", { id, data, json: asJson }, ({ data, id, json }) =>
    running(
      Effect.gen(function* () {
        const found = yield* (yield* admin).get(id)
        if (Option.isNone(found)) return yield* notFound
        const shown = shownOf(data)(found.value)
        yield* print(Stream.make(linesOf(json ? [Shown.toJson(shown)] : Shown.inFull(shown))))
      })
    )
  ).pipe(Command.withDescription("Show a live session"))

  const revoke = Command.make(
    "revoke",
    { id: Argument.optional(id), principal, all, yes, json: asJson },
    ({ all, id, json, principal, yes }) =>
      running(
        Effect.gen(function* () {
          const { revoke, revokeAll, revokePrincipal } = yield* admin
          if ([Option.isSome(id), Option.isSome(principal), all].filter(Boolean).length !== 1) {
            return yield* fail("revoke: give one of an id, --principal and --all")
          }
          if (Option.isSome(id)) {
            if (!(yield* revoke(id.value))) return yield* notFound
            return yield* answer(json, { revoked: 1 }, ended(1))
          }
          if (Option.isSome(principal)) {
            const count = yield* revokePrincipal(principal.value)
            return yield* answer(json, { revoked: count }, ended(count, ` of ${plain(principal.value)}`))
          }
          if (!yes) yield* confirmed(definition.key, json)
          const count = yield* withProgress("sessions ended", (onProgress) => revokeAll({ onProgress }))
          yield* answer(json, { revoked: count }, ended(count))
        })
      )
  ).pipe(Command.withDescription("End a session, a principal's sessions, or all"))

  return Command.make(name).pipe(
    Command.withDescription(`Sessions of ${definition.key}`),
    Command.withSubcommands([list, count, show, revoke])
  )
}

// -----------------------------------------------------------------------------
// internal
// -----------------------------------------------------------------------------

// An empty one is a variable that a script has not set: every principal has a name.
const principal = Flag.String("principal").pipe(
  Flag.withDescription("Of this principal alone"),
  Flag.withSchema(Schema.NonEmptyString),
  Flag.optional
)
const asJson = Flag.Boolean("json").pipe(Flag.withDescription("Answer one JSON object a line"), Flag.withDefault(false))
const data = Flag.Boolean("data").pipe(Flag.withDescription("Show the sessions' data too"), Flag.withDefault(false))
const limit = Flag.Int("limit").pipe(
  Flag.withDescription("At most so many"),
  Flag.withSchema(Schema.Int.check(Schema.isGreaterThanOrEqualTo(1))),
  Flag.optional
)
const all = Flag.Boolean("all").pipe(Flag.withDescription("End all sessions"), Flag.withDefault(false))
const yes = Flag.Boolean("yes").pipe(Flag.withDescription("Do not ask whether to end all"), Flag.withDefault(false))
const id = Argument.String("id").pipe(
  Argument.withDescription("The session's id; after -- if it begins with a hyphen"),
  Argument.withSchema(SessionId)
)

const fail = (message: string, exitCode: 1 | 2 = 1): Effect.Effect<never, SessionCliError> =>
  Effect.fail(new SessionCliError({ message, exitCode }))

const ended = (count: number, whose = ""): string => `${count} ${count === 1 ? "session" : "sessions"}${whose} ended`

const notFound = fail("there is no live session with this id", 2)

const unavailable = fail("the store of the sessions is unavailable; what was ended before stays ended")

/** What every handler has in common: what is logged does not go between the answers, and a failure is one line. */
const running = <B, R>(
  handler: Effect.Effect<B, SessionUnavailable | SessionCliError | Terminal.QuitError, R>
): Effect.Effect<B, SessionCliError | Terminal.QuitError, R> =>
  Effect.catchTag(handler, "SessionUnavailable", () => unavailable).pipe(
    Effect.provideService(Logger.LogToStderr, true)
  )

const linesOf = (lines: ReadonlyArray<string>): string => lines.map((line) => `${line}\n`).join("")

/** The reader of the output may have gone, as `head` does: then there is nothing more to say. */
const print = <E, R>(text: Stream.Stream<string, E, R>) =>
  Effect.flatMap(Stdio.Stdio, (stdio) => Stream.run(text, stdio.stdout())).pipe(
    Effect.catchTag("PlatformError", () => Effect.void)
  )

const say = (text: string) =>
  Effect.flatMap(Stdio.Stdio, (stdio) => Stream.run(Stream.make(text), stdio.stderr())).pipe(Effect.ignore)

const answer = (isJson: boolean, value: Readonly<Record<string, number>>, text: string) =>
  print(Stream.make(linesOf([isJson ? json(value) : text])))

/** How wide a line may be: on a terminal alone there is a limit. */
const roomOf = Effect.gen(function* () {
  if (!(yield* (yield* Stdio.Stdio).stdoutIsTerminal)) return Infinity
  const columns = yield* (yield* Terminal.Terminal).columns
  return columns > 0 ? columns : 80
})

/** How long a line of progress stands, at least. */
const progressMillis = 200

/** Shows a number as it grows, on a terminal alone, and takes it away at the end. */
const withProgress = <B, E, R>(
  what: string,
  work: (onProgress: ((count: number) => Effect.Effect<void>) | undefined) => Effect.Effect<B, E, R>
) =>
  Effect.gen(function* () {
    const stdio = yield* Stdio.Stdio
    if (!(yield* stdio.stderrIsTerminal)) return yield* work(undefined)
    let width = 0
    let last = -Infinity
    const line = (text: string) =>
      Effect.suspend(() => {
        const over = " ".repeat(Math.max(0, width - text.length))
        width = text.length
        return Effect.provideService(say(`\r${text}${over}\r`), Stdio.Stdio, stdio)
      })
    const onProgress = (count: number) =>
      Effect.flatMap(Clock.currentTimeMillis, (now) => {
        if (now - last < progressMillis) return Effect.void
        last = now
        return line(`${count} ${what}…`)
      })
    return yield* Effect.ensuring(
      work(onProgress),
      Effect.suspend(() => (width === 0 ? Effect.void : line("")))
    )
  })

/** Asks whether to end all, where there is a terminal to ask at. */
const confirmed = (key: string, isJson: boolean) =>
  Effect.gen(function* () {
    const stdio = yield* Stdio.Stdio
    if (isJson || !(yield* stdio.stdinIsTerminal) || !(yield* stdio.stdoutIsTerminal)) {
      return yield* fail("revoke --all: say --yes, for there is no terminal to ask at")
    }
    const isSure = yield* Prompt.run(
      Prompt.Confirm({ message: `End all sessions of ${key}? All users will have to log in again.` })
    )
    if (!isSure) return yield* fail("no session was ended")
  })
