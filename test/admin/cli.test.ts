/** The command `sessions`, over a manager in memory. */
import { assert, describe, it } from "@effect/vitest"
import * as CliOutput from "effect/cli/CliOutput"
import * as Effect from "effect/Effect"
import * as Logger from "effect/Logger"
import * as Schema from "effect/Schema"
import * as TestClock from "effect/testing/TestClock"
import * as Session from "../../src/Session.ts"
import * as SessionBackend from "../../src/SessionBackend.ts"
import * as SessionCli from "../../src/SessionCli.ts"
import * as Cli from "../support/cli.ts"
import { failing, onManager } from "../support/onManager.ts"
import { ada, eve, nobody, user, UserSession } from "../support/userSession.ts"

const sessions = SessionCli.command(UserSession)
const run = (...args: ReadonlyArray<string>) => Cli.run(sessions, args)
const onTerminal = (columns: number, ...args: ReadonlyArray<string>) => Cli.run(sessions, args, { columns })
const typing = (typed: string, ...args: ReadonlyArray<string>) => Cli.run(sessions, args, { columns: 80, typed })

const linesOf = (text: string) => text.split("\n").filter((line) => line !== "")
const jsonOf = (text: string) => linesOf(text).map((line) => JSON.parse(line) as Record<string, any>)

describe("list", () => {
  it.effect("prints a row for each session, or nothing", () =>
    onManager({}, (manager) =>
      Effect.gen(function* () {
        assert.deepStrictEqual(yield* run("list"), { exitCode: 0, stdout: "", stderr: "no sessions\n" })
        const one = yield* manager.create(ada, { client: { label: "phone", address: "10.0.0.1" } })
        yield* TestClock.adjust("90 seconds")
        const two = yield* manager.create(nobody, { client: { userAgent: "curl/8" } })
        const { exitCode, stderr, stdout } = yield* run("list")
        assert.deepStrictEqual([exitCode, stderr], [0, ""])
        const [head, ...rows] = linesOf(stdout)
        assert.match(head!, /^ID +PRINCIPAL +CREATED +LAST SEEN +EXPIRES +CLIENT$/)
        const [first, second] = rows.toSorted((a, b) => Number(a.includes("curl")) - Number(b.includes("curl")))
        assert.match(
          first!,
          new RegExp(
            `^${one.id}  ada +1970-01-01T00:00:00Z  1970-01-01T00:00:00Z  1970-01-01T01:00:00Z  phone \\(10.0.0.1\\)$`
          )
        )
        assert.match(second!, new RegExp(`^${two.id}  — +1970-01-01T00:01:30Z .* curl/8$`))
      })
    )
  )

  it.effect("of a principal, and at most so many", () =>
    onManager({}, (manager) =>
      Effect.gen(function* () {
        for (const data of [ada, ada, eve, nobody]) yield* manager.create(data)
        assert.lengthOf(jsonOf((yield* run("list", "--json")).stdout), 4)
        assert.lengthOf(jsonOf((yield* run("list", "--json", "--limit", "3")).stdout), 3)
        const ofAda = jsonOf((yield* run("list", "--json", "--principal", "ada")).stdout)
        assert.deepStrictEqual(
          ofAda.map(({ principal }) => principal),
          ["ada", "ada"]
        )
        for (const limit of ["0", "-1", "x"]) assert.strictEqual((yield* run("list", "--limit", limit)).exitCode, 1)
      })
    )
  )

  it.effect("answers the documented fields as JSON, and data where they are asked for alone", () =>
    onManager({}, (manager) =>
      Effect.gen(function* () {
        const { id } = yield* manager.create(
          { ...ada, words: ["canary"] },
          { methods: ["pwd"], cookie: "browser", idleTimeout: "10 minutes" }
        )
        const backend = yield* SessionBackend.SessionBackend
        const shown = {
          id,
          principal: "ada",
          createdAt: "1970-01-01T00:00:00.000Z",
          authenticatedAt: "1970-01-01T00:00:00.000Z",
          factors: [{ method: "pwd", at: "1970-01-01T00:00:00.000Z" }],
          lastSeenAt: "1970-01-01T00:00:00.000Z",
          expiresAt: "1970-01-01T00:10:00.000Z",
          absoluteExpiresAt: "1970-01-02T00:00:00.000Z",
          idleTimeout: 600,
          persistent: false,
          client: { label: null, address: null, userAgent: null },
          version: 1
        }
        assert.deepStrictEqual(jsonOf((yield* run("list", "--json")).stdout), [shown])
        assert.deepStrictEqual(jsonOf((yield* run("show", id, "--json")).stdout), [shown])
        const data = { username: "ada", words: ["canary"], count: 0 }
        assert.deepStrictEqual(jsonOf((yield* run("list", "--json", "--data")).stdout), [{ ...shown, data }])
        for (const args of [["list"], ["show", id]]) {
          assert.notInclude((yield* run(...args)).stdout, "canary")
          assert.include((yield* run(...args, "--data")).stdout, JSON.stringify(data))
        }
        yield* backend.update(UserSession.key, id, 1, { data: `"other"`, lastSeenAt: 0, idleExpiresAt: 0 })
        assert.isNull(jsonOf((yield* run("show", id, "--json", "--data")).stdout)[0]!["data"])
        assert.match((yield* run("show", id, "--data")).stdout, /^data +—$/m)
      })
    )
  )

  it.effect("fits the terminal, whatever is in it", () =>
    onManager({}, (manager) =>
      Effect.gen(function* () {
        yield* manager.create(user("日本語".repeat(25)), { client: { userAgent: "Mozilla/5.0 ".repeat(30) } })
        yield* manager.create(user("👨‍👩‍👧 family"), { client: { label: "é".repeat(100) } })
        for (const columns of [40, 60, 80, 100, 120, 200]) {
          const { stdout } = yield* onTerminal(columns, "list", "--data")
          // An id is never cut, and of the texts something is left.
          const width = Math.max(columns, 22 + 2 + 9 + 2 + 12)
          for (const line of linesOf(stdout)) assert.isAtMost(CliOutput.displayWidth(line), width, line)
          assert.match(stdout, /^ID +PRINCIPAL/)
        }
        const heads = yield* Effect.forEach([60, 80, 120, 150], (columns) =>
          Effect.map(onTerminal(columns, "list"), ({ stdout }) => linesOf(stdout)[0]!.split(/ {2,}/))
        )
        assert.deepStrictEqual(heads, [
          ["ID", "PRINCIPAL", "LAST SEEN"],
          ["ID", "PRINCIPAL", "LAST SEEN", "CLIENT"],
          ["ID", "PRINCIPAL", "CREATED", "LAST SEEN", "EXPIRES", "CLIENT"],
          ["ID", "PRINCIPAL", "CREATED", "LAST SEEN", "EXPIRES", "CLIENT"]
        ])
      })
    )
  )

  it.effect("[R85d] nothing that a client sent reaches the terminal as it is", () =>
    onManager({}, (manager) =>
      Effect.gen(function* () {
        // Escape sequences of seven and of eight bits, a title, line ends, and marks that turn the direction of text.
        const nasty = "\u001b[2J\u009b31m\u001b]0;t\u0007\r\n\t\u007f\u202e\u2066\u2028\u200b\ufeff\u0000x"
        const named = nasty.replace("\u0000", "")
        const { id } = yield* manager.create(
          { ...user(named), words: [nasty] },
          { client: { label: nasty, address: nasty, userAgent: nasty } }
        )
        yield* manager.create(user("plain"), { client: { userAgent: nasty } })
        const printed = [
          yield* run("list", "--data"),
          yield* run("list", "--json", "--data"),
          yield* onTerminal(80, "list", "--data"),
          yield* run("show", id, "--data"),
          yield* run("show", id, "--json", "--data"),
          yield* run("list", "--principal", named),
          yield* run("revoke", "--principal", named)
        ]
        for (const { exitCode, stderr, stdout } of printed) {
          assert.strictEqual(exitCode, 0)
          assert.notMatch(stdout + stderr, /(?!\n)[\p{Cc}\p{Cf}\p{Zl}\p{Zp}]/u)
        }
        assert.include(printed[0]!.stdout, "\\u001b[2J\\u009b31m")
        // In JSON the escapes mean what they stand for.
        assert.strictEqual(jsonOf(printed[4]!.stdout)[0]!["principal"], named)
        assert.strictEqual(jsonOf(printed[4]!.stdout)[0]!["client"].label, nasty)
        assert.include(printed[6]!.stdout, "1 session of \\u001b[2J")
      })
    )
  )
})

describe("count, show and revoke", () => {
  it.effect("count", () =>
    onManager({}, (manager) =>
      Effect.gen(function* () {
        for (const data of [ada, ada, nobody]) yield* manager.create(data)
        assert.deepStrictEqual(yield* run("count"), { exitCode: 0, stdout: "3\n", stderr: "" })
        assert.strictEqual((yield* run("count", "--principal", "ada", "--json")).stdout, `{"count":2}\n`)
      })
    )
  )

  it.effect("an id that is not there has an exit code of its own, one that is none is a mistake", () =>
    onManager({}, (manager) =>
      Effect.gen(function* () {
        const { id } = yield* manager.create(ada)
        assert.match((yield* run("show", id)).stdout, /^id +\S{22}\nprincipal +ada\n/)
        assert.deepStrictEqual(yield* run("revoke", id), { exitCode: 0, stdout: "1 session ended\n", stderr: "" })
        for (const args of [["show"], ["revoke"], ["revoke", "--json"]]) {
          const { exitCode, stderr, stdout } = yield* run(...args, id)
          assert.deepStrictEqual([exitCode, stdout], [2, ""])
          assert.include(stderr, "there is no live session with this id")
        }
        assert.strictEqual((yield* run("show", "ada")).exitCode, 1)
        // After `--` it may begin with a hyphen.
        assert.strictEqual((yield* run("show", "--", `-${id.slice(1)}`)).exitCode, 2)
      })
    )
  )

  it.effect("revoke takes an id, a principal or all", () =>
    onManager({}, (manager) =>
      Effect.gen(function* () {
        const { id } = yield* manager.create(ada)
        for (const args of [[], [id, "--all"], ["--principal", "ada", "--all"], [id, "--principal", "ada"]]) {
          const { exitCode, stderr } = yield* run("revoke", ...args)
          assert.strictEqual(exitCode, 1)
          assert.include(stderr, "give one of an id, --principal and --all")
        }
        // As a script says it whose variable is not set.
        assert.strictEqual((yield* run("revoke", "--principal", "")).exitCode, 1)
        yield* manager.create(ada)
        yield* manager.create(eve)
        assert.strictEqual((yield* run("revoke", "--principal", "ada")).stdout, "2 sessions of ada ended\n")
        assert.strictEqual((yield* run("revoke", "--principal", "ada", "--json")).stdout, `{"revoked":0}\n`)
        assert.strictEqual((yield* run("count")).stdout, "1\n")
      })
    )
  )

  it.effect("revoke --all asks on a terminal, and elsewhere needs --yes", () =>
    onManager({}, (manager) =>
      Effect.gen(function* () {
        yield* manager.create(ada)
        yield* manager.create(nobody)
        const count = Effect.map(run("count"), ({ stdout }) => stdout.trim())

        const unasked = [
          yield* run("revoke", "--all"),
          yield* Cli.run(sessions, ["revoke", "--all", "--json"], { columns: 80 })
        ]
        for (const { exitCode, stderr } of unasked) {
          assert.strictEqual(exitCode, 1)
          assert.include(stderr, "--yes")
        }
        const no = yield* typing("n", "revoke", "--all")
        assert.include(no.stdout, "End all sessions of test/UserSession?")
        assert.deepStrictEqual([no.exitCode, yield* count], [1, "2"])
        // Whoever only presses return has not agreed, and whoever leaves neither.
        assert.deepStrictEqual([(yield* typing("\r", "revoke", "--all")).exitCode, yield* count], [1, "2"])
        assert.deepStrictEqual([(yield* typing("", "revoke", "--all")).exitCode, yield* count], [130, "2"])

        const yes = yield* typing("y", "revoke", "--all")
        assert.strictEqual(yes.exitCode, 0)
        assert.include(yes.stdout, "2 sessions ended")
        assert.strictEqual(yield* count, "0")
        yield* manager.create(ada)
        assert.strictEqual((yield* run("revoke", "--all", "--yes", "--json")).stdout, `{"revoked":1}\n`)
      })
    )
  )

  it.effect("shows how far it is on a terminal alone, and takes the line away", () =>
    onManager({}, (manager) =>
      Effect.gen(function* () {
        for (let i = 0; i < 300; i++) yield* manager.create(nobody)
        const { stderr, stdout } = yield* onTerminal(80, "count")
        assert.strictEqual(stdout, "300\n")
        assert.match(stderr, /^\r250 sessions…\r\r +\r$/)
        assert.strictEqual((yield* run("count")).stderr, "")
      })
    )
  )

  it.effect("a store that fails is one line and exit code 1, with nothing of the cause", () =>
    onManager({}, (manager, watched) =>
      Effect.gen(function* () {
        const { id } = yield* manager.create(ada)
        const commands = [
          ["list"],
          ["list", "--json"],
          ["count"],
          ["show", id],
          ["revoke", id],
          ["revoke", "--all", "--yes"]
        ]
        for (const args of commands) {
          const { exitCode, stderr, stdout } = yield* failing(watched, () => true, run(...args))
          assert.deepStrictEqual([exitCode, stdout], [1, ""], args.join(" "))
          assert.match(
            stderr,
            /^\nERROR\n {2}the store of the sessions is unavailable; what was ended before stays ended\n$/
          )
        }
      })
    )
  )
})

describe("what is logged meanwhile", () => {
  it.effect("goes to standard error, not between the answers", () =>
    onManager({}, (_, watched) =>
      Effect.gen(function* () {
        const ran = run("list", "--json").pipe(Effect.provide(Logger.layer([Logger.defaultLogger])))
        const { stderr, stdout } = yield* failing(watched, () => true, ran)
        assert.strictEqual(stdout, "")
        assert.include(stderr, "session backend failed")
      })
    )
  )
})

describe("several definitions", () => {
  class AdminSession extends Session.Service<AdminSession>()("test/AdminSession", { data: Schema.Struct({}) }) {}

  it("each has a command, by the name it is given", () => {
    const names: ["sessions", "admin-sessions"] = [
      sessions.name,
      SessionCli.command(AdminSession, { name: "admin-sessions" }).name
    ]
    assert.deepStrictEqual(names, ["sessions", "admin-sessions"])
  })
})
