/**
 * The Lua scripts of the Redis backend. `redisRecord.ts` describes the text of a record.
 *
 * Each script uses one key, and the channel of `ended`, which is no key. Numbers are copied as text, so that Lua does
 * not round them. The first write of a script is a command that Redis may refuse (out of memory, read-only), so a refusal
 * means that nothing was written.
 *
 * A script that finds no record deletes it all the same: that does nothing on a primary, and a replica, which may lack
 * what its primary has, refuses it instead of saying that the record is gone.
 *
 * @internal
 */
import * as Duration from "effect/Duration"
import { clockSlack } from "../../SessionBackend.ts"
import { headLength, timeLength } from "./redisRecord.ts"

/** A script of one key, and the type of its reply. */
export interface Script<Reply> {
  readonly lua: string
  /** For the type alone. */
  readonly reply?: Reply
}

/** A pattern of `end` and the three times after it. `end` is a keyword of Lua, so its variable is `finish`. */
const times = "([^:]*):([^:]*):([^:]*):([^:]*)"

/** Defines the times after a touch or an update, with the exception for a wrong clock that `SessionBackend` describes. */
const advance = `
local function isAhead(stored, given) return tonumber(stored) > tonumber(given) + ${Duration.toMillis(clockSlack)} end
local function later(stored, given) if tonumber(given) > tonumber(stored) then return given end return stored end
local function advance(seen, idle, givenSeen, givenIdle)
  if isAhead(seen, givenSeen) then return givenSeen, givenIdle end
  return later(seen, givenSeen), later(idle, givenIdle)
end`

/** Defines Redis's own time in milliseconds, for `end` and the time-to-live. Deadlines are not compared with it. */
const clock = `
local time = redis.call('TIME')
local clock = time[1] * 1000 + math.floor(time[2] / 1000)`

/** A time as 16 digits, which sort as the numbers do. */
const digits = (millis: string) => `string.format('%016.0f', ${millis})`

/** The time-to-live of a record: from `now` to its nearer deadline, and slack, but not past its end. */
const timeToLive = (now: string, slack: string) =>
  `math.ceil(math.min(math.max(0, math.min(idle, absolute) - ${now}) + ${slack}, finish - clock))`

/** Sets the key's time-to-live, unless it has a longer one. One that has passed deletes a key without any. */
const extend = (millis: string) => `
local ttl, has = ${millis}, redis.call('PTTL', KEYS[1])
if has < 0 or has < ttl then redis.call('PEXPIRE', KEYS[1], ttl) end`

/**
 * Says on `<prefix>:ended` that a record may have ended: where it is, as its key has it. Whether it may, or can, changes no
 * answer.
 */
const tell = `
  local prefix, place = string.match(KEYS[1], '^(.*):s:([^:]*:[^:]*)$')
  if place then redis.pcall('PUBLISH', prefix .. ':ended', place) end`

/**
 * Stores a record if its key is free, and returns its `end`, or nil if the key is taken.
 * Arguments: time-to-live, milliseconds until `end`, the record without `end`.
 */
export const create: Script<string | null> = {
  lua: `if redis.call('EXISTS', KEYS[1]) == 1 then return false end${clock}
local finish = ${digits("clock + ARGV[2]")}
redis.call('SET', KEYS[1], finish .. ':' .. ARGV[3], 'PX', ARGV[1])
return finish`
}

/**
 * Changes a record at the expected version, and returns 1 or 0 for whether it did with the record as it is now, or nil
 * if there is none.
 * Arguments: expected version, next version, lastSeenAt, idleExpiresAt, slack, secretHash and dataVersion (each empty if
 * unchanged), then the names and values of data and extension if changed.
 */
export const update: Script<readonly [changed: number, record: string] | null> = {
  lua: `local record = redis.call('GET', KEYS[1])
local finish, seen, idle, absolute, version, dataVersion, hash, rest, extension, data = string.match(record or '',
  '^${times}:([^:]*):([^:]*):([^:]*):([^%z]*)%z([^%z]*)%z(.*)$')
if not data then
  if not record then redis.call('DEL', KEYS[1]) end
  return false
end
if version ~= ARGV[1] then return {0, record} end${advance}
seen, idle = advance(seen, idle, ARGV[3], ARGV[4])
local isRotated = ARGV[6] ~= '' and ARGV[6] ~= hash
if isRotated then hash = ARGV[6] end
if ARGV[7] ~= '' then dataVersion = ARGV[7] end
for i = 8, #ARGV, 2 do
  if ARGV[i] == 'data' then data = ARGV[i + 1] else extension = ARGV[i + 1] end
end
record = table.concat({finish, seen, idle, absolute, ARGV[2], dataVersion, hash, rest}, ':')
  .. '\\0' .. extension .. '\\0' .. data${clock}
local ttl = math.max(1, redis.call('PTTL', KEYS[1]), ${timeToLive("ARGV[3]", "ARGV[5]")})
redis.call('SET', KEYS[1], record, 'PX', ttl)
if isRotated then${tell}
end
return {1, record}`
}

/**
 * Moves a record's times, and returns 1, or 0 if they stay, or nil if there is no record.
 * Arguments: lastSeenAt, idleExpiresAt, slack.
 */
export const touch: Script<number | null> = {
  lua: `local text = redis.call('GETRANGE', KEYS[1], 0, ${4 * (timeLength + 1) - 2})
local finish, seen, idle, absolute = string.match(text, '^${times}$')
if not absolute then
  if text == '' then redis.call('DEL', KEYS[1]) end
  return false
end${advance}
if tonumber(seen) >= tonumber(ARGV[1]) and not isAhead(seen, ARGV[1]) then return 0 end
seen, idle = advance(seen, idle, ARGV[1], ARGV[2])
redis.call('SETRANGE', KEYS[1], ${timeLength + 1}, seen .. ':' .. idle)${clock}${extend(timeToLive("ARGV[1]", "ARGV[3]"))}
return 1`
}

/** Deletes a record, and returns its head, or nil if there is none. Arguments: the principal it must have, or none. */
export const remove: Script<string | null> = {
  lua: `local record = redis.call('GET', KEYS[1])
local head = string.match(record or '', '^[^%z]*')
if record and ARGV[1] and string.match(head, '^' .. string.rep('[^:]*:', ${headLength - 1}) .. '(.*)$') ~= ARGV[1] then
  return false
end
if redis.call('DEL', KEYS[1]) == 0 then return false end${tell}
return head`
}

/**
 * Sends a command, its arguments. A replica refuses a write of a script with `READONLY` before it looks at anything else; a
 * write on its own it may refuse with `MISCONF`, as a primary does.
 */
export const relay: Script<unknown> = { lua: "return redis.call(unpack(ARGV))" }

/** An index with more entries than this is looked after. */
const tidySize = 32

/** How many entries are looked at for each new one. With `n` of live sessions, about `n / 3` of dead ones are left. */
const tidyCount = 4

/**
 * Adds an entry to the index of a principal, and returns a few at random if it has many: those whose records are gone are
 * to be dropped. Arguments: `end`, the entry.
 */
export const addEntry: Script<ReadonlyArray<string>> = {
  lua: `${clock.trimStart()}
redis.call('ZADD', KEYS[1], 0, ARGV[2])${extend("ARGV[1] - clock")}
if redis.call('ZCARD', KEYS[1]) <= ${tidySize} then return {} end
return redis.call('ZRANDMEMBER', KEYS[1], ${tidyCount})`
}
