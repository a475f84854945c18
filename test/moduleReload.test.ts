/**
 * A dev server loads a module again, with a new class and new layers in it, while the layers of its last version are
 * still open: the application, a memo map, is kept on `globalThis`.
 */
import { assert, describe, it } from "@effect/vitest"
import {
  ConfigProvider,
  Context,
  DateTime,
  Duration,
  Effect,
  Exit,
  Layer,
  Option,
  type ManagedRuntime,
  Scope
} from "effect"
import { mkdirSync, mkdtempSync, realpathSync, rmSync, symlinkSync, writeFileSync } from "node:fs"
import { tmpdir } from "node:os"
import { join } from "node:path"
import { createServer } from "vite"
import type * as Session from "effect-sessions/Session"
import type { SessionConfigError } from "effect-sessions/SessionError"
import * as Logs from "./support/logs.ts"

const root = join(import.meta.dirname, "..")

/** What the module of an application exports. */
interface Loaded {
  readonly UserSession: Session.Definition<unknown, { readonly username: string }, []>
  readonly live: Layer.Layer<Session.ManagerOf<unknown>, SessionConfigError>
}

/** A module with a definition and its layer. */
const source = ({
  above = "",
  cookie = "__Host-session",
  fields = "",
  idleTimeout = "1 hour",
  name = "UserSession"
} = {}) => `${above}
import { NodeCrypto } from "@effect/platform-node"
import { Layer, Redacted, Schema } from "effect"
import { Session, SessionBackendMemory, SessionFrontend, SessionKeys, SessionMiddleware, SessionVerifier } from "effect-sessions"

class ${name} extends Session.Service<${name}>()("app/UserSession", {
  data: Schema.Struct({ username: Schema.String, ${fields} }),
  principal: (data) => data.username
}) {}

const live = SessionMiddleware.layer(${name}, { idleTimeout: "${idleTimeout}" }).pipe(
  Layer.provide([SessionFrontend.layerCookie({ name: "${cookie}" }), SessionBackendMemory.layer, SessionVerifier.layerExists(${name})]),
  Layer.provide(SessionKeys.layer(Redacted.make("tS0uT1hGqWc5m8ZrYb3xKJvPe7LdA2nF9iQyXoVkDz4="))),
  Layer.provide(NodeCrypto.layer)
)

export { ${name} as UserSession, live }
`

/** The same with its runtime, which takes the place of the last one as `docs/next.md` says, or stays. */
const withRuntime = (idleTimeout: string, isKept: boolean): string => `${source({ idleTimeout })}
import { ManagedRuntime } from "effect"
const makeRuntime = () => ManagedRuntime.make(live)
const kept = globalThis
${isKept ? "" : "await kept.sessions?.dispose()"}
export const runtime = (kept.sessions ${isKept ? "??=" : "="} makeRuntime())
export const hasHot = import.meta.hot !== undefined
`

interface LoadedRuntime extends Loaded {
  readonly runtime: ManagedRuntime.ManagedRuntime<Session.ManagerOf<unknown>, SessionConfigError>
  readonly hasHot: boolean
}

/** A dev server on a folder whose `node_modules` are this repository's, and its sources the package. */
const devServer = Effect.acquireRelease(
  Effect.promise(async () => {
    const folder = realpathSync(mkdtempSync(join(tmpdir(), "module-reload-")))
    const modules = join(folder, "node_modules")
    mkdirSync(join(modules, "effect-sessions"), { recursive: true })
    for (const name of ["effect", "@effect"]) symlinkSync(join(root, "node_modules", name), join(modules, name))
    symlinkSync(join(root, "src"), join(modules, "effect-sessions", "src"))
    writeFileSync(
      join(modules, "effect-sessions", "package.json"),
      JSON.stringify({ name: "effect-sessions", type: "module", exports: { ".": "./src/index.ts" } })
    )
    const server = await createServer({
      root: folder,
      configFile: false,
      appType: "custom",
      logLevel: "error",
      server: { middlewareMode: true, hmr: false, ws: false, watch: null },
      ssr: { external: ["effect-sessions"] },
      optimizeDeps: { noDiscovery: true }
    })
    /** Loads a file as it is now written. */
    const load = async <A = Loaded>(file: string, text: string): Promise<A> => {
      writeFileSync(join(folder, file), text)
      // What the watcher does when it sees the change; a test waits for no watcher.
      server.moduleGraph.onFileChange(join(folder, file))
      server.environments.ssr.moduleGraph.onFileChange(join(folder, file))
      return (await server.ssrLoadModule(`/${file}`)) as A
    }
    const close = async () => {
      await server.close()
      rmSync(folder, { recursive: true, force: true })
    }
    return { close, load }
  }),
  ({ close }) => Effect.promise(close)
)

describe("a module that is loaded again", () => {
  /** The application, kept from before: each version is built in a scope of its own, which stays open. */
  const application = Effect.gen(function* () {
    const { load } = yield* devServer
    const memoMap = yield* Layer.makeMemoMap
    const lines: Array<string> = []
    const build = ({ live, UserSession }: Loaded) =>
      Effect.gen(function* () {
        const scope = yield* Effect.acquireRelease(Scope.make(), (scope) => Scope.close(scope, Exit.void))
        const context = yield* Layer.buildWithMemoMap(live, memoMap, scope)
        return { manager: Context.get(context, UserSession.Manager), close: Scope.close(scope, Exit.void) }
      }).pipe(Effect.provide(Logs.capturing(lines)))
    return {
      load: (file: string, text: string) => Effect.promise(() => load(file, text)),
      build,
      warnings: () => lines.filter((line) => line.includes("made anew") && line.startsWith("timestamp")),
      failure: (loaded: Loaded) => Effect.map(Effect.flip(Effect.scoped(build(loaded))), ({ message }) => message)
    }
  })

  it.effect(
    "[R87b] takes the place of its last version, whatever was edited, and its users stay logged in",
    () =>
      Effect.gen(function* () {
        const { build, load, warnings } = yield* application
        const before = yield* load("session.ts", source())
        const { manager } = yield* build(before)
        const { token } = yield* manager.create({ username: "ada" })
        assert.deepStrictEqual(warnings(), [])
        for (const edit of [
          { above: "// a line more, and another\n\n" },
          { idleTimeout: "5 minutes" },
          { fields: "age: Schema.optionalKey(Schema.Int)" },
          { cookie: "__Host-other" }
        ]) {
          const now = yield* load("session.ts", source(edit))
          assert.notStrictEqual(now.UserSession, before.UserSession)
          const rebuilt = yield* build(now)
          assert.strictEqual((yield* rebuilt.manager.resolve(token)).data.username, "ada")
        }
        // What stays open is said, once for each version.
        assert.strictEqual(warnings().length, 4)
        assert.include(warnings()[0], "definition=app/UserSession")
      }),
    60_000
  )

  it.effect(
    "[R87b] takes its place too where the definition is another module's, which is not loaded again",
    () =>
      Effect.gen(function* () {
        const { build, load, warnings } = yield* application
        const layers = (idleTimeout: string) =>
          source({ idleTimeout }).replace(/^class [^]*?\) \{\}$/m, 'import { UserSession } from "./session.ts"')
        yield* load("session.ts", source())
        const before = yield* load("live.ts", layers("1 hour"))
        const { manager } = yield* build(before)
        const { token } = yield* manager.create({ username: "ada" })
        const now = yield* load("live.ts", layers("5 minutes"))
        assert.strictEqual(now.UserSession, before.UserSession)
        const rebuilt = yield* build(now)
        assert.strictEqual((yield* rebuilt.manager.resolve(token)).data.username, "ada")
        assert.isNotEmpty(warnings())
      }),
    60_000
  )

  it.effect(
    "is not warned of where the old runtime was disposed of",
    () =>
      Effect.gen(function* () {
        const { build, load, warnings } = yield* application
        const other = source().replaceAll("app/UserSession", "app/Other").replaceAll("__Host-session", "__Host-other")
        yield* build(yield* load("other.ts", other))
        for (const idleTimeout of ["1 hour", "5 minutes"]) {
          const { close } = yield* build(yield* load("session.ts", source({ idleTimeout })))
          yield* close
        }
        assert.deepStrictEqual(warnings(), [])
      }),
    60_000
  )

  for (const isKept of [true, false]) {
    it.live(
      isKept
        ? "finds the services of the runtime that is kept on globalThis"
        : "disposes of the runtime of its last version, and its own options count",
      () =>
        Effect.gen(function* () {
          const { load } = yield* devServer
          yield* Effect.addFinalizer(() => Effect.sync(() => Reflect.deleteProperty(globalThis, "sessions")))
          const version = (idleTimeout: string) =>
            Effect.gen(function* () {
              const { hasHot, runtime, UserSession } = yield* Effect.promise(() =>
                load<LoadedRuntime>("session.ts", withRuntime(idleTimeout, isKept))
              )
              // So no handler of it could dispose of anything.
              assert.isFalse(hasHot)
              yield* Effect.addFinalizer(() => runtime.disposeEffect)
              return { runtime, manager: yield* Effect.promise(() => runtime.runPromise(UserSession.Manager)) }
            })
          const idleOf = ({ createdAt, expiresAt }: Session.Session<{ readonly username: string }>) =>
            Math.round(Duration.toMinutes(DateTime.distance(createdAt, expiresAt)))
          const before = yield* version("1 hour")
          const { token } = yield* before.manager.create({ username: "ada" })
          const now = yield* version("5 minutes")
          const resolved = yield* Effect.option(now.manager.resolve(token))
          const exit = yield* Effect.promise(() => before.runtime.runPromiseExit(Effect.void))
          // The store is in memory, and goes with its runtime.
          assert.strictEqual(Option.isSome(resolved), isKept)
          assert.strictEqual(Exit.isSuccess(exit), isKept)
          assert.strictEqual(idleOf(yield* now.manager.create({ username: "ada" })), isKept ? 60 : 5)
        }),
      60_000
    )
  }

  it.effect(
    "[R87b] cannot be told from a second definition that is loaded late: in production that is refused",
    () =>
      Effect.gen(function* () {
        const { build, failure, load, warnings } = yield* application
        yield* build(yield* load("session.ts", source()))
        // As the page of another feature may be.
        const admin = () => load("admin.ts", source({ name: "AdminSession", cookie: "__Host-admin" }))
        const production = ConfigProvider.layer(ConfigProvider.fromUnknown({ NODE_ENV: "production" }))
        const message = yield* Effect.provide(failure(yield* admin()), production)
        assert.include(message, 'two session definitions have the identifier "app/UserSession": give each its own')
        assert.include(message, "dispose of the first")
        assert.deepStrictEqual(warnings(), [])
        const { close } = yield* build(yield* admin())
        assert.strictEqual(warnings().length, 1)
        assert.include(warnings()[0], "In production this is refused")
        yield* close
        // What it took the place of stands.
        assert.include(yield* Effect.provide(failure(yield* admin()), production), "two session definitions")
      }),
    60_000
  )

  it.effect(
    "[R87b] may not have a second definition of the identifier in it",
    () =>
      Effect.gen(function* () {
        const { build, failure, load } = yield* application
        yield* build(yield* load("session.ts", source()))
        const both = `${source()}
class Second extends Session.Service<Second>()("app/UserSession", { data: Schema.Struct({ username: Schema.String }) }) {}
const second = SessionMiddleware.layer(Second, { idleTimeout: "1 hour" }).pipe(
  Layer.provide([SessionFrontend.layerCookie(), SessionBackendMemory.layer, SessionVerifier.layerExists(Second)]),
  Layer.provide(SessionKeys.layer(Redacted.make("tS0uT1hGqWc5m8ZrYb3xKJvPe7LdA2nF9iQyXoVkDz4="))),
  Layer.provide(NodeCrypto.layer)
)
`.replace("export { UserSession as UserSession, live }\n", "")
        const loaded = yield* load(
          "session.ts",
          `${both}\nexport { UserSession }\nconst all = Layer.merge(live, second)\nexport { all as live }\n`
        )
        assert.include(yield* failure(loaded), "two session definitions")
      }),
    60_000
  )
})
