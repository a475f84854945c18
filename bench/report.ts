/**
 * Prints a result to the terminal.
 */
import type { HttpResult, Scenario, SubjectResult } from "./results.ts"
import type { Figure } from "./stats.ts"

const scenarios: ReadonlyArray<Scenario> = [
  "bare",
  "visitor",
  "anonymous",
  "whoami",
  "forged",
  "create",
  "update",
  "destroy"
]

export const subjectLabel = ({ name, store }: SubjectResult): string => `${name} (${store})`

/** The median, and how far the rounds lie from it. */
const spread = (value: Figure | undefined, digits: number): string =>
  value === undefined
    ? ""
    : `${value.median.toFixed(digits)} (${value.low.toFixed(digits)}–${value.high.toFixed(digits)})`

export const printTable = (head: ReadonlyArray<string>, rows: ReadonlyArray<ReadonlyArray<string>>): void => {
  const widths = head.map((title, column) => Math.max(title.length, ...rows.map((row) => row[column]!.length)))
  const line = (cells: ReadonlyArray<string>) =>
    cells.map((cell, column) => (column === 0 ? cell.padEnd(widths[0]!) : cell.padStart(widths[column]!))).join("  ")
  console.log(`\n${line(head)}`)
  for (const row of rows) console.log(line(row))
}

export const printResult = (result: HttpResult): void => {
  printTable(
    ["CPU µs a request", ...scenarios, "whoami - bare"],
    result.subjects.map((subject) => [
      subjectLabel(subject),
      ...scenarios.map((kind) => spread(subject.cpu[kind], 1)),
      spread(subject.difference, 1)
    ])
  )
  for (const [title, field] of [
    ["mean of all windows", "cpuMean"],
    ["lowest window", "cpuLeast"]
  ] as const) {
    printTable(
      [title, ...scenarios],
      result.subjects.map((subject) =>
        [subjectLabel(subject)].concat(scenarios.map((kind) => spread(subject[field][kind], 1)))
      )
    )
  }
  const compared = result.subjects.filter(({ ratios }) => ratios !== undefined)
  if (compared.length > 0) {
    printTable(
      ["times ours", "/whoami", "whoami - bare"],
      compared.map((subject) => [
        subjectLabel(subject),
        spread(subject.ratios!.whoami, 2),
        spread(subject.ratios!.session, 2)
      ])
    )
  }
  printTable(
    [
      "/whoami",
      "requests/s",
      "busy",
      `p50 ms at ${result.options["rate"]}/s`,
      "p99 ms",
      "cookie bytes",
      "log-out revokes"
    ],
    result.subjects.map((subject) => [
      subjectLabel(subject),
      spread(subject.requestsPerSecond, 0),
      spread(subject.busy, 2),
      spread(subject.p50, 2),
      spread(subject.p99, 2),
      subject.behaviour === undefined ? "" : String(subject.behaviour.cookieBytes),
      subject.behaviour === undefined ? "" : subject.behaviour.logoutRevokes ? "yes" : "no"
    ])
  )
  const connections = result.subjects.filter((subject) => subject.connections !== undefined)
  if (connections.length > 0) {
    printTable(
      ["CPU µs of /whoami at", ...connections[0]!.connections!.map(({ connections }) => `${connections} conn.`)],
      connections.map((subject) =>
        [subjectLabel(subject)].concat(
          subject.connections!.map(({ cpu }) => (cpu === undefined ? "failed" : spread(cpu, 1)))
        )
      )
    )
  }
  const memory = result.subjects.filter((subject) => subject.memory !== undefined)
  if (memory.length > 0) {
    printTable(
      ["memory a session", "sessions", "live bytes", "resident bytes"],
      memory.map((subject) => [
        subjectLabel(subject),
        String(subject.memory!.sessions),
        String(subject.memory!.bytesPerSession),
        String(subject.memory!.rssPerSession)
      ])
    )
  }
  if (result.growth.length > 0) {
    printTable(
      ["growth", "CPU µs of /whoami", "mean", "/bare beside it", "mean", "live bytes a session"],
      result.growth.map(({ bare, bareMean, bytesPerSession, cpu, cpuMean, sessions }) => [
        String(sessions),
        cpu.toFixed(1),
        cpuMean.toFixed(1),
        bare.toFixed(1),
        bareMean.toFixed(1),
        String(bytesPerSession)
      ])
    )
  }
  const trips = result.subjects.filter((subject) => subject.roundTrips !== undefined)
  if (trips.length > 0) {
    printTable(
      ["round trips to the store", ...scenarios.slice(1)],
      trips.map((subject) =>
        [subjectLabel(subject)].concat(scenarios.slice(1).map((kind) => subject.roundTrips![kind]?.toFixed(2) ?? ""))
      )
    )
  }
  for (const subject of result.subjects) {
    if (subject.touching === undefined) continue
    const { cpu, roundTrips } = subject.touching
    const trips = roundTrips === undefined ? "" : `, ${roundTrips} round trips`
    console.log(`\n${subjectLabel(subject)}, a touch on every /whoami: ${cpu.toFixed(1)} µs${trips}`)
  }
  for (const { reason, subject } of result.leftOut) console.log(`left out: ${subject}, as ${reason}`)
}
