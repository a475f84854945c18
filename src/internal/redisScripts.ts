/**
 * The Lua scripts of the Redis backend. Each touches one key only, so that record and index may live anywhere.
 *
 * A record is one string, since that is the cheapest thing to read: its head, the extension and the data, with a NUL
 * between them, which JSON never holds. The head is one line:
 *
 * ```text
 * end:lastSeenAt:idleExpiresAt:absoluteExpiresAt
 *   :version:dataVersion:secretHash:createdAt:authenticatedAt:idleTimeout:persistent:principal
 * ```
 *
 * The times of the first line have 16 characters each, so that a touch writes two of them in their place and leaves the
 * rest alone, however long it is. Only the principal, at its end, may hold a colon; it is empty if there is none.
 * `end` is the latest time at which Redis may still hold the record, by its own clock.
 *
 * Numbers stay the strings they came as, so Lua never rounds one; only comparisons and the time-to-live are computed.
 * Every script begins its writing with a command that Redis may refuse (out of memory, read-only), so a refusal means
 * that nothing was done.
 *
 * @internal
 */
import * as Redis from "effect/persistence/Redis"

/** What stands between head, extension and data. */
export const separator = "\0"

/** How many parts a head has. */
export const parts = 12

/** How long a time is where it has its place. */
export const timeLength = 16

const firstLine = "([^:]*):([^:]*):([^:]*):([^:]*)"

/** Takes the record apart, and answers nothing if there is none. */
const open = `local record = redis.call('GET', KEYS[1])
local finish, seen, idle, absolute, version, dataVersion, hash, rest, extension, data = string.match(record or '',
  '^${firstLine}:([^:]*):([^:]*):([^:]*):([^%z]*)%z([^%z]*)%z(.*)$')
if not data then return false end`

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

/** Up to the nearer deadline as seen from `now`, with slack, but not past the record's end. */
const life = (now: string, slack: string) =>
  `math.ceil(math.min(math.max(0, math.min(idle, absolute) - ${now}) + ${slack}, finish - clock))`

/** Sets the key's time-to-live, unless it has a longer one. */
const keep = (millis: string) => `
local ttl = ${millis}
if redis.call('PTTL', KEYS[1]) < ttl then redis.call('PEXPIRE', KEYS[1], ttl) end`

const single = (key: string, ...args: ReadonlyArray<string>): ReadonlyArray<string> => [key, ...args]

/**
 * Writes a record that is not there: time-to-live, the time from now to its end, the record but for that end. Answers
 * its end, or nothing if the key is taken.
 */
export const create = Redis.script(single, {
  numberOfKeys: 1,
  lua: `if redis.call('EXISTS', KEYS[1]) == 1 then return false end${clock}
local finish = ${digits("clock + ARGV[2]")}
redis.call('SET', KEYS[1], finish .. ':' .. ARGV[3], 'PX', ARGV[1])
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
if version ~= ARGV[1] then return {0, record} end${later}
seen = later(seen, ARGV[3])
idle = later(idle, ARGV[4])
if ARGV[6] ~= '' then hash = ARGV[6] end
if ARGV[7] ~= '' then dataVersion = ARGV[7] end
for i = 8, #ARGV, 2 do
  if ARGV[i] == 'data' then data = ARGV[i + 1] else extension = ARGV[i + 1] end
end
record = table.concat({finish, seen, idle, absolute, ARGV[2], dataVersion, hash, rest}, ':')
  .. '\\0' .. extension .. '\\0' .. data${clock}
local ttl = math.max(1, redis.call('PTTL', KEYS[1]), ${life("ARGV[3]", "ARGV[5]")})
redis.call('SET', KEYS[1], record, 'PX', ttl)
return {1, record}`
}).withReturnType<readonly [changed: number, record: string] | null>()

/** Moves a record's times forward: lastSeenAt, idleExpiresAt, slack. Answers 1, 0 if unchanged, or nothing. */
export const touch = Redis.script(single, {
  numberOfKeys: 1,
  lua: `local times = redis.call('GETRANGE', KEYS[1], 0, ${4 * (timeLength + 1) - 2})
local finish, seen, idle, absolute = string.match(times, '^${firstLine}$')
if not absolute then return false end
if tonumber(seen) >= tonumber(ARGV[1]) then return 0 end${later}
idle = later(idle, ARGV[2])
redis.call('SETRANGE', KEYS[1], ${timeLength + 1}, ARGV[1] .. ':' .. idle)${clock}${keep(life("ARGV[1]", "ARGV[3]"))}
return 1`
}).withReturnType<number | null>()

/** Deletes a record, given a principal only theirs. Answers its head, or nothing. */
export const remove = Redis.script(single, {
  numberOfKeys: 1,
  lua: `local head = string.match(redis.call('GET', KEYS[1]) or '', '^[^%z]*')
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

/** An index entry is its record's end and the id: entries sort by it, and name one incarnation of an id. */
export const endLength = timeLength
