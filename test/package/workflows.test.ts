/** The workflows of `.github`: what they run is there, what they use is pinned, and they may do no more than they need. */
import { assert, describe, it } from "@effect/vitest"
import { execFileSync } from "node:child_process"
import { existsSync, globSync, mkdtempSync, readFileSync, realpathSync, rmSync } from "node:fs"
import { tmpdir } from "node:os"
import { join } from "node:path"
import { parse } from "yaml"

const root = join(import.meta.dirname, "../..")
const read = (file: string): string => readFileSync(join(root, file), "utf8")

type Permissions = Readonly<Record<string, string>>
interface Step {
  readonly uses?: string
  readonly run?: string
  readonly with?: Readonly<Record<string, unknown>>
}
interface Job {
  readonly uses?: string
  readonly needs?: string
  readonly permissions?: Permissions
  readonly steps?: ReadonlyArray<Step>
}
interface Workflow {
  readonly on: Readonly<Record<string, Readonly<Record<string, ReadonlyArray<string>>> | null>>
  readonly permissions: Permissions
  readonly jobs: Readonly<Record<string, Job>>
}

const files = globSync(".github/workflows/*.yml", { cwd: root }).sort()
const workflows = new Map(files.map((file) => [file, parse(read(file), { strict: true }) as Workflow]))
const jobs = [...workflows].flatMap(([file, { jobs }]) =>
  Object.entries(jobs).map(([name, job]) => ({ at: `${file}: ${name}`, name, job }))
)
const steps = jobs.flatMap(({ at, job }) => (job.steps ?? []).map((step) => ({ at, step })))

/** Why a line of a `run` cannot work; no command but these is known. */
const unknownCommand = (line: string): ReadonlyArray<string> => {
  const scripts: Record<string, string> = JSON.parse(read("package.json")).scripts
  const [command, argument = "", name = ""] = line.split(" ")
  const known =
    (command === "bash" && existsSync(join(root, argument))) ||
    (command === "npm" && (argument === "run" ? name in scripts : ["ci", "publish"].includes(argument))) ||
    (command === "git" && argument === "config")
  return known ? [] : [line]
}

describe("the workflows", () => {
  it("are there", () => {
    assert.deepStrictEqual(files, [".github/workflows/ci.yml", ".github/workflows/release.yml"])
    assert.isAbove(steps.length, 3)
  })

  it("use actions by the hash of a commit, with its version beside it, and workflows of this repository", () => {
    const used = [...jobs.map(({ job }) => job.uses), ...steps.map(({ step }) => step.uses)].filter(
      (uses) => uses !== undefined
    )
    const lines = files.flatMap((file) => [...read(file).matchAll(/\buses: *(.*)$/gm)].map(([, uses]) => uses!))
    assert.isAbove(used.length, 2)
    assert.strictEqual(lines.length, used.length)
    assert.deepStrictEqual(
      lines.filter((uses) =>
        uses.startsWith("./")
          ? !existsSync(join(root, uses))
          : !/^[\w-]+\/[\w-]+@[0-9a-f]{40} # v\d+\.\d+\.\d+$/.test(uses)
      ),
      []
    )
  })

  it("run scripts and files that are there", () => {
    const lines = steps.flatMap(({ step }) => step.run?.trim().split("\n") ?? [])
    assert.include(lines, "bash .ci/run")
    assert.include(lines, "npm publish")
    assert.deepStrictEqual(lines.flatMap(unknownCommand), [])
    assert.deepStrictEqual(unknownCommand("npm run no-such-script"), ["npm run no-such-script"])
  })

  it("may read the repository, and the job that publishes may say who it is", () => {
    for (const [file, { permissions }] of workflows) assert.deepStrictEqual(permissions, {}, file)
    for (const { at, job, name } of jobs) {
      assert.deepStrictEqual(
        job.permissions,
        name === "publish" ? { contents: "read", "id-token": "write" } : { contents: "read" },
        at
      )
    }
    for (const { at, step } of steps) {
      if (step.uses?.startsWith("actions/checkout@")) assert.strictEqual(step.with?.["persist-credentials"], false, at)
    }
    for (const file of files) assert.notMatch(read(file), /secrets\.|pull_request_target|_TOKEN/, file)
  })

  it("publish on a tag, after the check of the release and then the gate, and run no script of a dependency there", () => {
    const release = workflows.get(".github/workflows/release.yml")!
    assert.deepStrictEqual(release.on, { push: { tags: ["v*"] } })
    assert.strictEqual(release.jobs["publish"]!.needs, "gate")
    assert.strictEqual(release.jobs["gate"]!.needs, "check")
    assert.deepStrictEqual(
      release.jobs["check"]!.steps!.flatMap(({ run }) => run ?? []),
      ["npm run release:check"]
    )
    assert.strictEqual(release.jobs["gate"]!.uses, "./.github/workflows/ci.yml")
    const ci = workflows.get(".github/workflows/ci.yml")!
    assert.containsAllKeys(ci.on, ["workflow_call", "pull_request"])
    assert.include(
      ci.jobs["gate"]!.steps!.map(({ run }) => run),
      "bash .ci/run"
    )
    assert.deepStrictEqual(
      release.jobs["publish"]!.steps!.flatMap(({ run }) => run ?? []),
      ["npm ci --ignore-scripts", "npm publish"]
    )
  })

  it("let the gate clone a workspace that belongs to another user, as one does in a container", () => {
    const folder = realpathSync(mkdtempSync(join(tmpdir(), "workflows-")))
    try {
      const workspace = join(folder, "workspace")
      const run = (command: string, env: NodeJS.ProcessEnv = {}) =>
        execFileSync("sh", ["-c", command], {
          cwd: folder,
          stdio: "pipe",
          env: { PATH: process.env["PATH"], HOME: folder, GITHUB_WORKSPACE: workspace, ...env }
        })
      // git's own way to try it as one user.
      const clone = () => run("git clone -q workspace clone", { GIT_TEST_ASSUME_DIFFERENT_OWNER: "1" })
      run("git init -q workspace")
      assert.throws(clone, /dubious ownership/)
      const ci = workflows.get(".github/workflows/ci.yml")!
      const settings = ci.jobs["gate"]!.steps!.flatMap(({ run }) => (run?.startsWith("git config ") ? [run] : []))
      assert.isNotEmpty(settings)
      for (const setting of settings) run(setting)
      clone()
    } finally {
      rmSync(folder, { recursive: true, force: true })
    }
  })
})
