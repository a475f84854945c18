/**
 * The Lua scripts of the Redis backend. Each touches one key only, so that record and index may live anywhere.
 *
 * A record is a hash of three fields, because what a read costs grows with their number: `data`, `extension`, and all
 * the rest as one line, the head:
 *
 * ```text
 * end:version:lastSeenAt:idleExpiresAt:dataVersion:secretHash
 *   :createdAt:authenticatedAt:idleTimeout:absoluteExpiresAt:persistent:principal
 * ```
 *
 * Only the principal, at its end, may hold a colon; it is empty if there is none. `end` is the latest time at which
 * Redis may still hold the record, by its own clock.
 *
 * Numbers stay the strings they came as, so Lua never rounds one; only comparisons and the time-to-live are computed.
 * Every script begins its writing with a command that Redis may refuse (out of memory, read-only), so a refusal means
 * that nothing was done.
 *
 * @internal
 */
import * as Redis from "effect/persistence/Redis"

/** The fields of a record's hash, in the order in which they are read. */
export const fields = ["head", "data", "extension"] as const

/** A record as Redis answers it, `null` for what is not there. */
export type Row = readonly [head: string | null, data: string | null, extension: string | null]

/** How many parts a head has. */
export const parts = 12

const row = `redis.call('HMGET', KEYS[1], ${fields.map((field) => `'${field}'`).join(", ")})`

/** Takes the head apart, and answers nothing if there is none. */
const open = `local head = redis.call('HGET', KEYS[1], 'head')
local finish, version, seen, idle, dataVersion, hash, rest, absolute = string.match(head or '',
  '^([^:]*):([^:]*):([^:]*):([^:]*):([^:]*):([^:]*):([^:]*:[^:]*:[^:]*:([^:]*):.*)$')
if not rest then return false end`

const later = `
local function later(a, b) if tonumber(b) > tonumber(a) then return b end return a end`

/**
 * Redis's own time in milliseconds. It stamps and judges `end`, and nothing else: whether a session is valid is decided
 * by the application's clock.
 */
const clock = `
local time = redis.call('TIME')
local clock = time[1] * 1000 + math.floor(time[2] / 1000)`

/** As 16 digits, so that it sorts as a number does. */
const digits = (millis: string) => `string.format('%016.0f', ${millis})`

/** Sets the key's time-to-live, unless it has a longer one. */
const keep = (millis: string) => `
local ttl = math.ceil(${millis})
if redis.call('PTTL', KEYS[1]) < ttl then redis.call('PEXPIRE', KEYS[1], ttl) end`

/** Up to the nearer deadline as seen from `now`, with slack, but not past the record's end. */
const extend = (now: string, slack: string) =>
  clock + keep(`math.min(math.max(0, math.min(idle, absolute) - ${now}) + ${slack}, finish - clock)`)

const single = (key: string, ...args: ReadonlyArray<string>): ReadonlyArray<string> => [key, ...args]

/**
 * Writes a record that is not there: time-to-live, the time from now to its end, its head but for that end, data,
 * extension. Answers its end, or nothing if the key is taken.
 */
export const create = Redis.script(single, {
  numberOfKeys: 1,
  lua: `if redis.call('EXISTS', KEYS[1]) == 1 then return false end${clock}
local finish = ${digits("clock + ARGV[2]")}
redis.call('HSET', KEYS[1], 'head', finish .. ':' .. ARGV[3], 'data', ARGV[4], 'extension', ARGV[5])
redis.call('PEXPIRE', KEYS[1], ARGV[1])
return finish`
}).withReturnType<string | null>()

/**
 * Changes a record at the expected version: expected, next, lastSeenAt, idleExpiresAt, slack, secretHash, dataVersion
 * (each empty if it stays), then data and extension by name if they change. Answers whether it did (1 or 0) and the
 * record now stored, or nothing if there is none.
 */
export const update = Redis.script(single, {
  numberOfKeys: 1,
  lua: `${open}
if version ~= ARGV[1] then return {0, ${row}} end${later}
idle = later(idle, ARGV[4])
if ARGV[6] ~= '' then hash = ARGV[6] end
if ARGV[7] ~= '' then dataVersion = ARGV[7] end
head = table.concat({finish, ARGV[2], later(seen, ARGV[3]), idle, dataVersion, hash, rest}, ':')
redis.call('HSET', KEYS[1], 'head', head, unpack(ARGV, 8))${extend("ARGV[3]", "ARGV[5]")}
return {1, ${row}}`
}).withReturnType<readonly [changed: number, row: Row] | null>()

/** Moves a record's times forward: lastSeenAt, idleExpiresAt, slack. Answers 1, 0 if unchanged, or nothing. */
export const touch = Redis.script(single, {
  numberOfKeys: 1,
  lua: `${open}
if tonumber(seen) >= tonumber(ARGV[1]) then return 0 end${later}
idle = later(idle, ARGV[2])
head = table.concat({finish, version, ARGV[1], idle, dataVersion, hash, rest}, ':')
redis.call('HSET', KEYS[1], 'head', head)${extend("ARGV[1]", "ARGV[3]")}
return 1`
}).withReturnType<number | null>()

/** Deletes a record, given a principal only theirs. Answers its head, or nothing. */
export const remove = Redis.script(single, {
  numberOfKeys: 1,
  lua: `local head = redis.call('HGET', KEYS[1], 'head') or ''
if ARGV[1] and string.match(head, '^' .. string.rep('[^:]*:', ${parts - 1}) .. '(.*)$') ~= ARGV[1] then return false end
if redis.call('DEL', KEYS[1]) == 0 then return false end
return head`
}).withReturnType<string | null>()

/**
 * Adds a record's entry to its principal's index: end, id. Entries whose end has passed are dropped on the way, so an
 * index that is only ever added to does not grow; this one too, if it arrives that late.
 */
export const addEntry = Redis.script(single, {
  numberOfKeys: 1,
  lua: `${clock.trimStart()}
redis.call('ZADD', KEYS[1], 0, ARGV[1] .. ARGV[2])
redis.call('ZREMRANGEBYLEX', KEYS[1], '-', '(' .. ${digits("clock")})${keep("ARGV[1] - clock")}`
})

/** An index entry is its record's end, this long, and the id: entries sort by it, and name one incarnation of an id. */
export const endLength = 16
