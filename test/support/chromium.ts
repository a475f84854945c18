/** A Chromium of the test's own, driven over its DevTools protocol. */
import { spawnSync } from "node:child_process"
import { mkdtempSync, rmSync } from "node:fs"
import { tmpdir } from "node:os"
import { join } from "node:path"
import { setTimeout as pause } from "node:timers/promises"
import { ended, start } from "./processes.ts"

const program = ["chromium", "chromium-browser", "google-chrome"].find(
  (name) => spawnSync(name, ["--version"]).status === 0
)

export const hasChromium = program !== undefined

export interface Page {
  /** What an expression comes to, awaited. */
  readonly evaluate: <A>(expression: string) => Promise<A>
}

export class Chromium {
  readonly #socket: WebSocket
  readonly #dispose: () => Promise<void>
  readonly #waiting = new Map<number, (message: Record<string, any>) => void>()
  #id = 0

  private constructor(socket: WebSocket, dispose: () => Promise<void>) {
    this.#socket = socket
    this.#dispose = dispose
    socket.addEventListener("message", ({ data }) => {
      const message = JSON.parse(String(data))
      this.#waiting.get(message.id)?.(message)
      this.#waiting.delete(message.id)
    })
  }

  static async start(): Promise<Chromium> {
    const profile = mkdtempSync(join(tmpdir(), "chromium-"))
    const child = start(
      program!,
      [
        "--headless=new",
        "--no-sandbox",
        "--disable-gpu",
        "--no-first-run",
        "--remote-debugging-port=0",
        // It asks for nothing by itself, and a machine may have no network.
        "--disable-background-networking",
        "--disable-component-update",
        "--disable-sync",
        "--disable-quic",
        `--user-data-dir=${profile}`
      ],
      { isHeard: true }
    )
    const url = await new Promise<string>((resolve, reject) => {
      let said = ""
      child.stderr!.on("data", (chunk: Buffer) => {
        said += chunk.toString()
        const [, found] = /DevTools listening on (ws:\S+)/.exec(said) ?? []
        if (found !== undefined) resolve(found)
      })
      child.once("error", reject).once("exit", () => reject(new Error(`Chromium ended: ${said}`)))
    })
    const socket = new WebSocket(url)
    await new Promise((resolve) => socket.addEventListener("open", resolve, { once: true }))
    return new Chromium(socket, async () => {
      child.kill("SIGKILL")
      await ended(child)
      rmSync(profile, { recursive: true, force: true, maxRetries: 5 })
    })
  }

  async #send(method: string, params: object, sessionId?: string): Promise<Record<string, any>> {
    const id = ++this.#id
    const answer = new Promise<Record<string, any>>((resolve) => this.#waiting.set(id, resolve))
    this.#socket.send(JSON.stringify({ id, method, params, ...(sessionId === undefined ? {} : { sessionId }) }))
    const { error, result } = await answer
    if (error !== undefined) throw new Error(`${method}: ${error.message}`)
    return result
  }

  /** A tab of the one profile, which shares its cookies with the others. */
  async open(url: string): Promise<Page> {
    const { targetId } = await this.#send("Target.createTarget", { url })
    const { sessionId } = await this.#send("Target.attachToTarget", { targetId, flatten: true })
    const evaluate = async <A>(expression: string): Promise<A> => {
      const params = { expression, awaitPromise: true, returnByValue: true }
      const { exceptionDetails, result } = await this.#send("Runtime.evaluate", params, sessionId)
      if (exceptionDetails !== undefined) throw new Error(JSON.stringify(exceptionDetails))
      return result.value
    }
    // It begins as an empty page, whose end may be an error of what runs in it.
    const isThere = () =>
      evaluate(`location.href !== "about:blank" && document.readyState === "complete"`).catch(() => false)
    while (!(await isThere())) await pause(10)
    return { evaluate }
  }

  dispose(): Promise<void> {
    this.#socket.close()
    return this.#dispose()
  }
}
