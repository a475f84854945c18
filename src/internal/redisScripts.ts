/**
 * The Lua scripts of the Redis backend. Each touches one key only, so that record and index may live anywhere.
 *
 * Numbers stay the strings they came as, so Lua never rounds one; only comparisons and time-to-live are computed. Every
 * script writes with a command that Redis may refuse (out of memory, read-only) before any other, so a refusal means
 * that nothing was done.
 *
 * @internal
 */
import * as Redis from "effect/persistence/Redis"

/** The fields of a record's hash, in the order in which `HMGET` and the scripts answer them. */
export const fields = [
  "secretHash",
  "version",
  "principal",
  "data",
  "dataVersion",
  "extension",
  "createdAt",
  "authenticatedAt",
  "lastSeenAt",
  "idleTimeout",
  "idleExpiresAt",
  "absoluteExpiresAt",
  "persistent"
] as const

/** A record as Redis answers it: a value per field, `null` where it has none. */
export type Row = ReadonlyArray<string | null>

const row = `redis.call('HMGET', KEYS[1], ${fields.map((field) => `'${field}'`).join(", ")})`

/**
 * Redis's own time in milliseconds. It stamps and judges `end`, and nothing else: whether a session is valid is decided
 * by the application's clock.
 */
const clock = `
local time = redis.call('TIME')
local clock = time[1] * 1000 + math.floor(time[2] / 1000)`

/** `end` as text: 16 digits, so that it sorts as a number does. */
const digits = (expression: string) => `string.format('%016.0f', ${expression})`

/** Sets the key's time-to-live, unless it has a longer one. */
const keep = (ttl: string) => `
local ttl = math.ceil(${ttl})
if redis.call('PTTL', KEYS[1]) < ttl then redis.call('PEXPIRE', KEYS[1], ttl) end`

/** Up to the nearer deadline as seen from `now`, with slack, but not past the record's end. */
const remaining = (now: string, idle: string, slack: string) =>
  keep(`math.min(math.max(0, math.min(${idle}, absolute) - ${now}) + ${slack}, finish - clock)`)

const later = `
local function later(a, b) if tonumber(b) > tonumber(a) then return b end return a end`

const single = (key: string, ...args: ReadonlyArray<string>): ReadonlyArray<string> => [key, ...args]

/**
 * Writes a record that is not there: ttl, life, fields. Answers its `end`, the latest time at which Redis may still
 * hold it, or nothing if the key is taken.
 */
export const create = Redis.script(single, {
  numberOfKeys: 1,
  lua: `if redis.call('EXISTS', KEYS[1]) == 1 then return false end${clock}
local finish = ${digits("clock + ARGV[2]")}
redis.call('HSET', KEYS[1], 'end', finish, unpack(ARGV, 3))
redis.call('PEXPIRE', KEYS[1], ARGV[1])
return finish`
}).withReturnType<string | null>()

/**
 * Changes a record at the expected version: expected, next, lastSeenAt, idleExpiresAt, slack, fields. Answers whether
 * it did and the record now stored, or nothing if there is none.
 */
export const update = Redis.script(single, {
  numberOfKeys: 1,
  lua: `local r = redis.call('HMGET', KEYS[1], 'version', 'lastSeenAt', 'idleExpiresAt', 'absoluteExpiresAt', 'end')
if not r[1] then return false end
if r[1] ~= ARGV[1] then return {0, ${row}} end${later}${clock}
local seen, idle, absolute, finish = later(r[2], ARGV[3]), later(r[3], ARGV[4]), r[4], r[5]
redis.call('HSET', KEYS[1], 'version', ARGV[2], 'lastSeenAt', seen, 'idleExpiresAt', idle, unpack(ARGV, 6))
${remaining("ARGV[3]", "idle", "ARGV[5]")}
return {1, ${row}}`
}).withReturnType<readonly [changed: number, row: Row] | null>()

/** Moves a record's times forward: lastSeenAt, idleExpiresAt, slack. Answers 1, 0 if unchanged, or nothing. */
export const touch = Redis.script(single, {
  numberOfKeys: 1,
  lua: `local r = redis.call('HMGET', KEYS[1], 'lastSeenAt', 'idleExpiresAt', 'absoluteExpiresAt', 'end')
if not r[1] then return false end
if tonumber(r[1]) >= tonumber(ARGV[1]) then return 0 end${later}${clock}
local idle, absolute, finish = later(r[2], ARGV[2]), r[3], r[4]
redis.call('HSET', KEYS[1], 'lastSeenAt', ARGV[1], 'idleExpiresAt', idle)
${remaining("ARGV[1]", "idle", "ARGV[3]")}
return 1`
}).withReturnType<number | null>()

/** Deletes a record, given a principal only theirs. Answers whose it was and its `end`, or nothing. */
export const remove = Redis.script(single, {
  numberOfKeys: 1,
  lua: `local r = redis.call('HMGET', KEYS[1], 'principal', 'end')
if ARGV[1] and r[1] ~= ARGV[1] then return false end
if redis.call('DEL', KEYS[1]) == 0 then return false end
return r`
}).withReturnType<readonly [principal: string | null, end: string | null] | null>()

/**
 * Adds a record's entry to its principal's index: end, id. Entries whose end has passed are dropped on the way, so an
 * index that is only ever added to does not grow. One that is itself past its end is not added: it would leave a key
 * without a time-to-live.
 */
export const addEntry = Redis.script(single, {
  numberOfKeys: 1,
  lua: `${clock}
if ARGV[1] - clock <= 0 then return end
redis.call('ZADD', KEYS[1], 0, ARGV[1] .. ARGV[2])
redis.call('ZREMRANGEBYLEX', KEYS[1], '-', '(' .. ${digits("clock")})${keep("ARGV[1] - clock")}`
})

/** An index entry is its record's `end` followed by the id: entries sort by it, and name one incarnation of an id. */
export const endLength = 16
