/**
 * Tests of the documents' sections: that each number comes from the results, and that they say what it says.
 */
import assert from "node:assert/strict"
import { spawnSync } from "node:child_process"
import { copyFileSync, mkdirSync, mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from "node:fs"
import { tmpdir } from "node:os"
import { join } from "node:path"
import { after, describe, it } from "node:test"
import { fileURLToPath } from "node:url"
import type { BundleResult, HttpResult, MicroResult, ProfileResult, SubjectResult } from "./results.ts"

describe("table", () => {
  const figureOf = (value: number) => ({ median: value, low: value - 1, high: value + 1 })
  const environment = {
    date: "2026-01-02T03:04:05.000Z",
    node: "v24.0.0",
    cpu: "a processor",
    cores: 2,
    commit: "0123456789abcdef",
    dirty: false
  }
  const kinds = ["bare", "visitor", "anonymous", "whoami", "forged", "create", "update", "destroy"]
  const subjectOf = (name: string, ours: boolean, base: number): SubjectResult => ({
    name,
    store: "memory",
    ours,
    versions: { [name]: "1.0.0" },
    cpu: Object.fromEntries(kinds.map((kind, index) => [kind, figureOf(base + index)])),
    cpuMean: {},
    cpuLeast: {},
    difference: figureOf(3),
    requestsPerSecond: figureOf(12_345),
    busy: figureOf(1),
    p50: figureOf(0.5),
    p99: figureOf(2),
    behaviour: { cookieBytes: 100, logoutRevokes: true },
    memory: { sessions: 100_000, bytesPerSession: base, rssPerSession: 999 },
    connections: [
      { connections: 1, cpu: figureOf(base + 100) },
      { connections: 1000, ...(ours ? { cpu: figureOf(20) } : { failure: "no" }) }
    ]
  })
  const ratiosOf = (low: number, high: number) => {
    const ratio = { median: (low + high) / 2, low, high }
    return { whoami: ratio, session: { median: 1, low: 0.9, high: 1.1 } }
  }
  const http: HttpResult = {
    environment,
    options: { rounds: 3, rate: 1000, connections: 64 },
    subjects: [
      { ...subjectOf("dear", false, 27), ratios: ratiosOf(1.9, 2.1) },
      { ...subjectOf("cheap", false, 7), ratios: ratiosOf(0.5, 0.7) },
      subjectOf("ours", true, 12)
    ],
    leftOut: [{ subject: "effect-sessions (postgres)", reason: "no Postgres answers" }],
    growth: [{ sessions: 1000, cpu: 15.25, cpuMean: 16, bare: 5.15, bareMean: 5, bytesPerSession: 800 }]
  }
  const rowOf = (name: string) => ({ name, kind: 5.04, against: 2, difference: 3.04 })
  const profile: ProfileResult = {
    environment,
    versions: { effect: "1.0.0" },
    subject: "ours (memory)",
    kind: "whoami",
    against: "bare",
    options: {},
    cpu: rowOf("CPU"),
    groups: [rowOf("crypto"), { name: "nothing", kind: 0, against: 0, difference: 0 }],
    sum: rowOf("sum"),
    functions: [rowOf("f")]
  }
  const micro: MicroResult = { environment, versions: {}, parts: [{ name: "a part", nanoseconds: 1234, mean: 2000 }] }
  const size = { minified: 2048, gzipped: 1024 }
  const bundle: BundleResult = {
    environment,
    entries: [{ name: "ours", versions: { effect: "1.0.0" }, without: size, with: size, added: size }]
  }

  const prepare = (text: string, results: Record<string, unknown>) => {
    const folder = mkdtempSync(join(tmpdir(), "bench-"))
    after(() => rmSync(folder, { recursive: true }))
    mkdirSync(join(folder, "docs"))
    const path = join(folder, "docs/performance.md")
    const readme = join(folder, "README.md")
    for (const document of [path, readme]) writeFileSync(document, text)
    for (const [name, result] of Object.entries(results)) {
      writeFileSync(join(folder, `${name}.json`), JSON.stringify(result))
    }
    const script = fileURLToPath(new URL("./table.ts", import.meta.url))
    const run = (...flags: ReadonlyArray<string>) =>
      spawnSync(process.execPath, [script, "--root", folder, "--results", folder, ...flags]).status
    const written = () => readFileSync(path, "utf8")
    return { path, readme, run, written }
  }
  const text = "before\n<!-- bench:start -->\nold\n<!-- bench:end -->\nafter\n"

  it("writes both documents' parts from the results, and --check fails on any other number in either", () => {
    const { path, readme, run, written } = prepare(text, { http })
    assert.equal(run("--check"), 1)
    assert.equal(written(), text)
    assert.equal(run(), 0)
    assert.equal(run("--check"), 0)
    const made = written()
    assert.ok(made.startsWith("before\n<!-- bench:start -->\n") && made.endsWith("<!-- bench:end -->\nafter\n"))
    writeFileSync(path, made.replace("15.0 (", "14.0 ("))
    assert.equal(run("--check"), 1)
    writeFileSync(path, made)
    writeFileSync(readme, readFileSync(readme, "utf8").replace("2026-01-02", "2026-01-03"))
    assert.equal(run("--check"), 1)
  })

  it("gives the README one row of each library and store, a median a request", () => {
    const subjects = ["@fastify/session", "koa-session", "effect-sessions"].map((name, i) =>
      subjectOf(name, name === "effect-sessions", 10 * i)
    )
    const { readme, run } = prepare(text, { http: { ...http, subjects } })
    run()
    assert.deepEqual(
      readFileSync(readme, "utf8")
        .split("\n")
        .filter((line) => line.includes("memory")),
      [
        "| **effect-sessions, memory** | 20.0 | 23.0 | 24.0 | 25.0 | 26.0 | 27.0 |",
        "| @fastify/session, memory | 0.0 | 3.0 | 4.0 | 5.0 | 6.0 | 7.0 |"
      ]
    )
  })

  it("puts the cheapest /whoami first, and says what is dearer than ours and what is cheaper", () => {
    const { run, written } = prepare(text, { http })
    run()
    // /whoami is the fourth kind: 15 of ours, 30 of the dear one, 10 of the cheap one.
    const rows = written()
      .split("\n")
      .filter((line) => /^\| (\*\*ours\*\*|dear|cheap) \| memory/.test(line))
    assert.deepEqual(rows, [
      "| cheap | memory | 7.0 (6.0–8.0) | 10.0 (9.0–11.0) | 3.0 (2.0–4.0) | 0.60 (0.50–0.70) | yes |",
      "| **ours** | memory | 12.0 (11.0–13.0) | 15.0 (14.0–16.0) | 3.0 (2.0–4.0) |  | yes |",
      "| dear | memory | 27.0 (26.0–28.0) | 30.0 (29.0–31.0) | 3.0 (2.0–4.0) | 2.00 (1.90–2.10) | yes |"
    ])
    assert.match(written(), /Dearer than ours: dear \(memory\) 2\.00×\. Cheaper than ours: cheap \(memory\) 0\.60×\./)
    assert.match(
      written(),
      /session alone.* No clear difference[^:]*: cheap \(memory\) 1\.00×, dear \(memory\) 1\.00×\./
    )
    assert.match(written(), /The peer is cheaper: visitor \(13\.0 µs; cheap 8\.0\)/)
    assert.doesNotMatch(written(), /Ours is cheaper/)
    assert.match(written(), /a session:\*\* cheap 7, \*\*ours 12\*\*, dear 27\./)
  })

  it("shows connections, growth beside the bare route, and what was left out", () => {
    const { run, written } = prepare(text, { http })
    run()
    assert.match(written(), /\| connections \| 1 \| 1,000 \|/)
    assert.match(written(), /\| \*\*ours \(memory\)\*\* \| 112\.0 \(111\.0–113\.0\) \| 20\.0 \(19\.0–21\.0\) \|/)
    assert.match(written(), /\| dear \(memory\) \| 127\.0 .* \| fails \|/)
    assert.match(written(), /\| 1,000 \| 15\.3 \| 5\.2 \| 10\.1 \| 800 \|/)
    assert.match(written(), /Not measured: effect-sessions \(postgres\), as no Postgres answers\./)
  })

  it("adds the profile, the parts and the bundle when they are there", () => {
    const { run, written } = prepare(text, { profile, micro, bundle })
    assert.equal(run(), 0)
    assert.match(written(), /Where the microseconds of a session go/)
    assert.match(written(), /\| crypto \| 2\.0 \| 5\.0 \| 3\.0 \|/)
    assert.doesNotMatch(written(), /nothing/)
    assert.match(written(), /\| a part \| 1,234 \|/)
    assert.match(written(), /\| ours \| 2\.0 KiB \| 1\.0 KiB \| 1\.0 KiB \|/)
    assert.doesNotMatch(written(), /log-out revokes/)
  })

  it("needs no package of this folder: CI checks the documents without them", () => {
    const folder = mkdtempSync(join(tmpdir(), "bench-"))
    after(() => rmSync(folder, { recursive: true }))
    for (const file of readdirSync(import.meta.dirname).filter((name) => /^\w+\.ts$/.test(name))) {
      copyFileSync(join(import.meta.dirname, file), join(folder, file))
    }
    writeFileSync(join(folder, "package.json"), JSON.stringify({ type: "module" }))
    mkdirSync(join(folder, "docs"))
    for (const document of ["README.md", "docs/performance.md"]) writeFileSync(join(folder, document), text)
    writeFileSync(join(folder, "http.json"), JSON.stringify(http))
    const flags = ["--root", folder, "--results", folder]
    assert.equal(spawnSync(process.execPath, [join(folder, "table.ts"), ...flags]).status, 0)
  })

  it("fails on a document without its marks", () => {
    assert.equal(prepare("nothing", {}).run(), 1)
  })
})
