/** What a guide says to try with curl does what it says: its own lines, against its own server. */
import { assert, describe, it } from "@effect/vitest"
import { execFileSync, spawn } from "node:child_process"
import { once } from "node:events"
import { readFileSync, writeFileSync } from "node:fs"
import { dirname, join } from "node:path"
import { fileOf, makeFolder, write } from "../support/fences.ts"

const root = join(import.meta.dirname, "../..")
const folder = makeFolder()
const documents = ["docs/router.md", "docs/http-api.md", "docs/rpc.md", "docs/web-handlers.md"]
const fences = write(documents, folder)
for (const { code, file } of fences) writeFileSync(file, code.replaceAll("port: 3000", "port: 0"))

/** The first block of a document that begins with a server, as that server's file and the lines after it. */
const trialOf = (document: string) => {
  const block = /^```sh\nSESSION_SECRET=\S+ \S+ \S+ \S+ node (\S+) &\n([\s\S]*?)^```/m.exec(
    readFileSync(join(root, document), "utf8")
  )
  assert.isNotNull(block, document)
  return { server: block![1]!, lines: block![2]! }
}

const trial = async (document: string): Promise<ReadonlyArray<string>> => {
  const { lines, server } = trialOf(document)
  const file = fileOf(folder, document, server)
  const child = spawn(process.execPath, ["--import", join(root, "test/support/resolveSource.ts"), file], {
    env: { ...process.env, SESSION_SECRET: "tS0uT1hGqWc5m8ZrYb3xKJvPe7LdA2nF9iQyXoVkDz4=", NODE_OPTIONS: "" }
  })
  try {
    const port = await new Promise<string>((resolve, reject) => {
      let output = ""
      for (const stream of [child.stdout, child.stderr]) {
        stream.on("data", (chunk) => {
          const found = /istening on http:\/\/[\w.:[\]]+?:(\d+)/.exec((output += String(chunk)))
          if (found !== null) resolve(found[1]!)
        })
      }
      child.on("exit", (code) => reject(new Error(`${file} ended with ${code}\n${output}`)))
    })
    const script = lines.replaceAll("localhost:3000", `localhost:${port}`)
    const output = execFileSync("bash", ["-euc", script], { cwd: dirname(file), encoding: "utf8", stdio: "pipe" })
    return output.split(/(?=HTTP\/1\.1 \d)/)
  } finally {
    child.removeAllListeners("exit")
    if (child.exitCode === null && child.kill()) await once(child, "exit")
  }
}

const statusOf = (answer: string) => Number(/^HTTP\/1.1 (\d+)/.exec(answer)?.[1])

describe("what to try", () => {
  it("in docs/router.md", { timeout: 60_000 }, async () => {
    const answers = await trial("docs/router.md")
    assert.deepStrictEqual(answers.map(statusOf), [204, 200, 200, 204, 401])
    assert.include(answers[2], `{"username":"ada","cart":["tea"]}`)
  })

  it("in docs/http-api.md", { timeout: 60_000 }, async () => {
    const answers = await trial("docs/http-api.md")
    assert.deepStrictEqual(answers.map(statusOf), [204, 200, 204, 401])
    assert.include(answers[3], `{"_tag":"SessionMissing"}`)
    const document = JSON.parse(/\{"openapi[\s\S]*/.exec(answers[3]!)![0])
    assert.deepStrictEqual(document.components.securitySchemes, {
      session: { type: "apiKey", name: "__Host-session", in: "cookie" }
    })
  })

  it("in docs/rpc.md", { timeout: 60_000 }, async () => {
    const answers = await trial("docs/rpc.md")
    assert.deepStrictEqual(answers.map(statusOf), [200, 200, 200, 200])
    assert.include(answers[1], `"value":"ada"`)
    assert.include(answers[3], `"SessionMissing"`)
  })

  it("in docs/web-handlers.md", { timeout: 60_000 }, async () => {
    const answers = await trial("docs/web-handlers.md")
    assert.deepStrictEqual(answers.map(statusOf), [303, 200, 303, 401])
    assert.include(answers[1], "hello ada")
  })
})
