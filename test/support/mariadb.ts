/** The MariaDB that is there already, and MariaDB servers that a test starts, freezes and kills. */
import { type ChildProcess, execFile, spawnSync } from "node:child_process"
import { chownSync, existsSync, mkdtempSync, rmSync } from "node:fs"
import { tmpdir } from "node:os"
import { join } from "node:path"
import { promisify } from "node:util"
import { ended, freePort, hasEnded, signalTo, start, until } from "./processes.ts"

export const mysqlUrl = process.env["MYSQL_URL"] ?? "mysql://root@127.0.0.1:3306/test"

/** It is not on the PATH of everybody. */
const daemon = "/usr/sbin/mariadbd"

export const hasMariaDbServer = (): boolean => existsSync(daemon)

const run = promisify(execFile)

const idOf = (option: "-u" | "-g"): number => Number(spawnSync("id", [option, "mysql"], { encoding: "utf8" }).stdout)

/** The server does not run as root. */
const serverUser = (): { readonly uid: number; readonly gid: number } | undefined =>
  process.getuid?.() === 0 ? { uid: idOf("-u"), gid: idOf("-g") } : undefined

export class OwnMariaDb {
  readonly port: number
  readonly #user = serverUser()
  readonly #directory = mkdtempSync(join(tmpdir(), "effect-sessions-mariadb-"))
  #child: ChildProcess | undefined

  private constructor(port: number) {
    this.port = port
  }

  /** With a database `app` that belongs to the user `app`, who has no other rights. */
  static async start(): Promise<OwnMariaDb> {
    const server = new OwnMariaDb(await freePort())
    if (server.#user !== undefined) chownSync(server.#directory, server.#user.uid, server.#user.gid)
    const made = spawnSync(
      "mariadb-install-db",
      ["--no-defaults", `--datadir=${server.#data}`, "--auth-root-authentication-method=normal", "--skip-test-db"],
      { ...server.#user, cwd: server.#directory, encoding: "utf8" }
    )
    if (made.status !== 0) throw new Error(`mariadb-install-db: ${made.stderr}`)
    await server.start()
    await server.sql(
      "CREATE DATABASE app; CREATE USER app@'127.0.0.1'; CREATE USER app@localhost; " +
        "GRANT ALL ON app.* TO app@'127.0.0.1'; GRANT ALL ON app.* TO app@localhost"
    )
    return server
  }

  get #data(): string {
    return join(this.#directory, "data")
  }

  get #socket(): string {
    return join(this.#directory, "socket")
  }

  async start(): Promise<void> {
    const child = start(
      daemon,
      [
        "--no-defaults",
        `--datadir=${this.#data}`,
        `--socket=${this.#socket}`,
        `--port=${this.port}`,
        "--bind-address=127.0.0.1",
        "--max-connections=30",
        "--innodb-buffer-pool-size=16M",
        "--innodb-log-file-size=8M"
      ],
      { ...this.#user, cwd: this.#directory }
    )
    this.#child = child
    await until(async () => {
      if (hasEnded(child)) throw new Error("MariaDB ended")
      return this.sql("SELECT 1").then(
        () => true,
        () => false
      )
    }, "MariaDB answers")
  }

  /** Runs statements as root, on a connection of their own. */
  async sql(statements: string, database = "mysql"): Promise<string> {
    const where = ["--no-defaults", `--socket=${this.#socket}`, "-u", "root", "-D", database]
    const { stdout } = await run("mariadb", [...where, "-N", "-B", "-e", statements], { timeout: 30_000 })
    return stdout.trim()
  }

  get url(): string {
    return `mysql://app@127.0.0.1:${this.port}/app`
  }

  signal(signal: NodeJS.Signals): void {
    signalTo(this.#child!.pid!, signal)
  }

  async kill(): Promise<void> {
    if (this.#child === undefined) return
    this.#child.kill("SIGKILL")
    await ended(this.#child)
  }

  async dispose(): Promise<void> {
    await this.kill()
    rmSync(this.#directory, { recursive: true, force: true })
  }
}
