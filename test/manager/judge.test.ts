/** What a token means to its record, rule by rule, at the boundaries. Pure: hashes and times are made up. */
import { assert, describe, it } from "@effect/vitest"
import { format, lineOf, parse, rotationOf } from "../../src/internal/manager/extension.ts"
import type { Extension, Rotation } from "../../src/internal/manager/extension.ts"
import { judge } from "../../src/internal/manager/rotation.ts"
import type { SessionRecord } from "../../src/SessionBackend.ts"

const every = 600_000
const grace = 30_000

const recordWith = (extension: Extension, secretHash = "now"): SessionRecord => ({
  namespace: "test/UserSession",
  id: "id",
  secretHash,
  version: 3,
  principal: "ada",
  data: "{}",
  dataVersion: 1,
  extension: format(extension),
  createdAt: 0,
  authenticatedAt: 0,
  lastSeenAt: 0,
  idleTimeout: 3_600_000,
  idleExpiresAt: 3_600_000,
  absoluteExpiresAt: 86_400_000,
  persistent: true
})

/** A rotation from "old" to "now", at a time. */
const at = 1_000_000
const rotation = (more: Partial<Rotation> = {}): Rotation => ({
  of: "now",
  line: "first",
  previous: "old",
  at,
  ...more
})
const plain = recordWith({})
const unseen = recordWith({ rotation: rotation() })
const seen = recordWith({ rotation: rotation({ seenAt: at + 5 }) })

/** The verdict in a word, with what is written of the rotation where the new hash is "next". */
const verdictOf = (
  record: SessionRecord,
  hash: string,
  now: number,
  { canRotate = true, ...schedule }: { canRotate?: boolean; every?: number | undefined; grace?: number } = {}
): string => {
  const verdict = judge(record, hash, { now, arrived: now }, { every, grace, ...schedule }, canRotate)
  if (verdict._tag !== "stands") return verdict._tag
  if (verdict.seen !== undefined) {
    const written = rotationOf({ ...record, extension: verdict.seen })!
    return `seen at ${written.seenAt}, ${written.previous}, line ${written.line}, at ${written.at}`
  }
  if (verdict.rotated === undefined) return "stands"
  const next = rotationOf({ secretHash: "next", extension: verdict.rotated("next") })!
  return `rotated, ${next.previous}, line ${next.line}, at ${next.at}, ${next.seenAt === undefined ? "unseen" : "seen"}`
}

const firstTime = (now: number) => `seen at ${now}, old, line first, at ${at}`
const rows: ReadonlyArray<readonly [rule: string, actual: string, expected: string]> = [
  ["never rotated, not due", verdictOf(plain, "now", every - 1), "stands"],
  ["2: never rotated, due", verdictOf(plain, "now", every), `rotated, now, line now, at ${every}, unseen`],
  ["2: due, where no response carries it", verdictOf(plain, "now", every, { canRotate: false }), "stands"],
  ["2: without a schedule", verdictOf(plain, "now", every * 9, { every: undefined }), "stands"],
  ["no token of the record", verdictOf(plain, "other", every), "unknown"],
  ["1: the new token for the first time", verdictOf(unseen, "now", at + 1), firstTime(at + 1)],
  ["1: and due at once", verdictOf(unseen, "now", at + every), firstTime(at + every)],
  ["1: where nothing may rotate", verdictOf(unseen, "now", at + 1, { canRotate: false }), firstTime(at + 1)],
  ["1: the schedule was switched off", verdictOf(unseen, "now", at + 1, { every: undefined }), firstTime(at + 1)],
  ["the new token again", verdictOf(seen, "now", at + every - 1), "stands"],
  ["2: the new token, due", verdictOf(seen, "now", at + every), `rotated, now, line first, at ${at + every}, unseen`],
  ["3: the old token, the new one never seen", verdictOf(unseen, "old", at + every - 1), "stands"],
  [
    "3: and long ago: the current one is replaced, the old one kept",
    verdictOf(unseen, "old", at + every),
    `rotated, old, line first, at ${at + every}, unseen`
  ],
  ["3: long ago, and nothing may rotate", verdictOf(unseen, "old", at + 9 * every, { canRotate: false }), "stands"],
  ["3: long ago, without a schedule", verdictOf(unseen, "old", at + 9 * every, { every: undefined }), "stands"],
  ["4: the old token, within the grace", verdictOf(seen, "old", at + 5 + grace - 1), "stands"],
  ["4: the old token, the grace over", verdictOf(seen, "old", at + 5 + grace), "reused"],
  ["4: nothing may rotate", verdictOf(seen, "old", at + 5 + grace, { canRotate: false }), "reused"],
  ["4: the schedule was switched off", verdictOf(seen, "old", at + 5 + grace, { every: undefined }), "reused"],
  ["5: one before the old one", verdictOf(seen, "first", at + 5 + grace), "unknown"],
  ["5: the same, unseen", verdictOf(unseen, "first", at), "unknown"]
]

// A token that is seen late: the next one is due while the grace runs.
const seenLate = recordWith({ rotation: rotation({ seenAt: at + every }) })
const graceRows: typeof rows = [
  ["2: due, and the grace runs", verdictOf(seenLate, "now", at + every + grace - 1), "stands"],
  [
    "2: due, and the grace is over",
    verdictOf(seenLate, "now", at + every + grace),
    `rotated, now, line first, at ${at + every + grace}, unseen`
  ],
  ["4: the grace runs from the arrival", verdictOf(seenLate, "old", at + every + grace - 1), "stands"],
  ["4: and ends so long after it", verdictOf(seenLate, "old", at + every + grace), "reused"]
]

describe("a token's meaning to its record", () => {
  for (const [rule, actual, expected] of [...rows, ...graceRows]) {
    it(`[R55] rule ${rule}`, () => assert.strictEqual(actual, expected))
  }

  it("[R55] any other change of the secret ends the old token, and begins a line", () => {
    for (const record of [unseen, seen]) {
      const changed = { ...record, secretHash: "other" }
      assert.strictEqual(verdictOf(changed, "old", at), "unknown")
      assert.strictEqual(verdictOf(changed, "now", at), "unknown")
      assert.strictEqual(verdictOf(changed, "other", at), `rotated, other, line other, at ${at}, unseen`)
      assert.deepStrictEqual([lineOf(record), lineOf(changed)], ["first", "other"])
      // A seal is put back with the extension it was made over.
      assert.strictEqual(verdictOf({ ...changed, secretHash: "now" }, "old", at), "stands")
    }
  })

  it("[R55] the old token is judged by when it arrived: a handler may look late", () => {
    const judged = (arrived: number) =>
      judge(seen, "old", { now: at + 10 * grace, arrived }, { every, grace }, false)._tag
    assert.deepStrictEqual(
      [judged(at - 1), judged(at + 5 + grace - 1), judged(at + 5 + grace)],
      ["stands", "stands", "reused"]
    )
  })

  it("[R55] what else the extension holds stays there", () => {
    const client = { label: "phone" }
    const factors = [["pwd", 7]] as const
    const record = recordWith({ client, factors, rotation: rotation() })
    const first = judge(record, "now", { now: at, arrived: at }, { every, grace }, true)
    assert.deepStrictEqual(first._tag === "stands" && parse({ extension: first.seen! }), {
      client,
      factors: [["pwd", 7]],
      rotation: rotation({ seenAt: at })
    })
    const due = judge(recordWith({ client, factors }), "now", { now: every, arrived: every }, { every, grace }, true)
    assert.deepStrictEqual(due._tag === "stands" && parse({ extension: due.rotated!("next") }), {
      client,
      factors: [["pwd", 7]],
      rotation: { of: "next", line: "now", previous: "now", at: every }
    })
  })

  it("[R55] a rotation that is not as it is written counts for nothing", () => {
    for (const extension of [
      "junk",
      "[]",
      "null",
      "{}",
      '{"rotation":null}',
      '{"rotation":"now"}',
      '{"rotation":{"of":"now"}}',
      '{"rotation":{"of":"now","line":1,"previous":"old","at":0}}',
      '{"rotation":{"of":"now","line":"first","previous":["old"],"at":0}}',
      '{"rotation":{"of":"now","line":"first","previous":"old","at":"0"}}',
      '{"rotation":{"of":"now","line":"first","previous":"old","at":0,"seenAt":null}}'
    ]) {
      const record = { ...plain, extension }
      assert.strictEqual(verdictOf(record, "old", 1), "unknown", extension)
      assert.strictEqual(verdictOf(record, "now", 1), "stands", extension)
    }
  })
})
