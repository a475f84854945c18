/**
 * When a session ends: the earlier of what its record holds and what is configured today. Pure.
 *
 * @internal
 */
import * as Duration from "effect/Duration"
import * as Option from "effect/Option"
import type { CreateOptions, LayerOptions } from "../../Session.ts"
import { clockSlack } from "../../SessionBackend.ts"
import type { SessionRecord } from "../../SessionBackend.ts"
import { SessionDataError } from "../../SessionError.ts"
import type { Setting } from "../registry.ts"
import type { Schedule } from "./rotation.ts"

/** The configured times, in milliseconds. */
export interface Times {
  readonly idle: number
  readonly absolute: number
  readonly touch: number | undefined
  /** How long a backend call may take. */
  readonly backend: number
  readonly rotation: Schedule
}

/** RFC 6265bis 5.5: no browser keeps a cookie longer. */
const maxAbsolute = Duration.toMillis(Duration.days(400))

const slack = Duration.toMillis(clockSlack)

/** `NaN` for what is no duration: a program without types may give anything. */
export const millisOf = (input: Duration.Input): number =>
  Option.match(Duration.fromInput(input), { onNone: () => NaN, onSome: Duration.toMillis })

const text = (millis: number): string => Duration.format(Duration.millis(millis))

/** What was given, in a line. */
const shownOf = (given: string | number): string =>
  typeof given === "string" ? JSON.stringify(given.slice(0, 40)) : String(given)

/** In milliseconds, unless a tenth of the idle timeout is shorter. */
const defaultTouch = 60_000

const minRotation = Duration.toMillis(Duration.minutes(5))
const maxGrace = Duration.toMillis(Duration.minutes(5))

/** The times of a layer, and what is wrong with them. */
export const timesOf = (options: LayerOptions): { readonly times: Times; readonly problems: ReadonlyArray<string> } => {
  const problems: Array<string> = []
  const read = (name: Exclude<keyof LayerOptions, "maxPerPrincipal">, fallback: Duration.Input): number => {
    const given = options[name] ?? fallback
    const millis = millisOf(given)
    if (!(Number.isFinite(millis) && millis >= 1)) {
      const instead = typeof given === "string" || typeof given === "number" ? `, not ${shownOf(given)}` : ""
      problems.push(`${name} must be a finite duration above zero, such as "30 minutes"${instead}`)
    }
    return Math.floor(millis)
  }
  const idle = read("idleTimeout", "1 hour")
  const absolute = read("absoluteTimeout", "24 hours")
  const touch = options.touchInterval === undefined ? undefined : read("touchInterval", 0)
  const backend = read("backendTimeout", "1 second")
  if (idle > absolute)
    problems.push(`idleTimeout must not be longer than absoluteTimeout: ${text(idle)}, ${text(absolute)}`)
  if (absolute > maxAbsolute)
    problems.push(`absoluteTimeout must not be longer than 400 days (RFC 6265bis 5.5): ${text(absolute)}`)
  if (touch !== undefined && touch > idle / 2) {
    problems.push(`touchInterval must not be longer than half the idleTimeout: ${text(touch)}, ${text(idle)}`)
  }
  const every = options.rotateEvery === undefined ? undefined : read("rotateEvery", 0)
  const grace = read("rotationGrace", "30 seconds")
  if (every !== undefined && every < minRotation) problems.push("rotateEvery must be 5 minutes at least")
  if (every !== undefined && every >= absolute) {
    problems.push(`rotateEvery must be shorter than absoluteTimeout: ${text(every)}, ${text(absolute)}`)
  }
  if (every === undefined && options.rotationGrace !== undefined) {
    problems.push("rotationGrace means nothing without rotateEvery: set both, or neither")
  }
  if (grace > maxGrace) problems.push("rotationGrace must be 5 minutes at most: a stolen token stands as long")
  return { times: { idle, absolute, touch, backend, rotation: { every, grace } }, problems }
}

/** The times that all managers of a definition share, by their options. */
export const sharedOf = ({
  absolute,
  backend,
  idle,
  rotation: { every, grace },
  touch
}: Times): Readonly<Record<string, Setting>> => {
  const setting = (millis: number | undefined): Setting => [millis, millis === undefined ? "not set" : text(millis)]
  return {
    idleTimeout: setting(idle),
    absoluteTimeout: setting(absolute),
    touchInterval: setting(touch ?? Math.min(defaultTouch, idle / 10)),
    backendTimeout: setting(backend),
    rotateEvery: setting(every),
    rotationGrace: setting(grace)
  }
}

/** What a session shows of its deadlines. */
export interface Shown {
  readonly idleTimeout: Duration.Duration
  readonly absoluteExpiresAt: number
  readonly expiresAt: number
}

export interface Deadlines {
  readonly shown: (record: SessionRecord, now: number) => Shown
  /** When the record expires, as seen at `now`. At that millisecond it is expired. */
  readonly expiryOf: (record: SessionRecord, now: number) => number
  /** What a touch or an update at `now` writes. */
  readonly seenAt: (record: SessionRecord, now: number) => Pick<SessionRecord, "lastSeenAt" | "idleExpiresAt">
  readonly isTouchDue: (record: SessionRecord, now: number) => boolean
  /** Whether a new session is to live longer than the layer allows, and will not. */
  readonly isCut: (options: CreateOptions) => boolean
  /** The times of a new record. Throws a `SessionDataError` on a timeout that is not positive. */
  readonly startingAt: (
    now: number,
    options: CreateOptions
  ) => Pick<
    SessionRecord,
    "createdAt" | "authenticatedAt" | "lastSeenAt" | "idleTimeout" | "idleExpiresAt" | "absoluteExpiresAt"
  >
}

export const make = (times: Times): Deadlines => {
  const idleOf = (record: SessionRecord): number => Math.min(record.idleTimeout, times.idle)

  /** Times in the future, written by a clock that was ahead, count as now. */
  const absoluteOf = (record: SessionRecord, now: number): number =>
    Math.min(record.absoluteExpiresAt, Math.min(record.createdAt, now) + times.absolute)

  /** A new session's own timeout, cut to the layer's. */
  const shorter = (name: "idleTimeout" | "absoluteTimeout", given: Duration.Input | undefined, layer: number) => {
    if (given === undefined) return layer
    const millis = millisOf(given)
    if (!(millis >= 1)) throw new SessionDataError({ problem: `${name} must be a duration above zero` })
    return Math.min(Math.floor(millis), layer)
  }

  const expiryOf = (record: SessionRecord, now: number): number =>
    // Created further in the future than clocks may differ: its age is unknown.
    record.createdAt - now > slack
      ? -Infinity
      : Math.min(record.idleExpiresAt, Math.min(record.lastSeenAt, now) + idleOf(record), absoluteOf(record, now))
  const configuredIdle = Duration.millis(times.idle)

  return {
    expiryOf,
    shown: (record, now) => ({
      idleTimeout: record.idleTimeout >= times.idle ? configuredIdle : Duration.millis(record.idleTimeout),
      absoluteExpiresAt: absoluteOf(record, now),
      expiresAt: expiryOf(record, now)
    }),
    isCut: (options) =>
      millisOf(options.idleTimeout ?? 0) > times.idle || millisOf(options.absoluteTimeout ?? 0) > times.absolute,
    seenAt: (record, now) => ({
      lastSeenAt: now,
      idleExpiresAt: Math.min(now + idleOf(record), absoluteOf(record, now))
    }),
    isTouchDue: (record, now) => {
      const idle = idleOf(record)
      // A session with an idle timeout of its own could end between two touches of the configured interval.
      const interval =
        times.touch !== undefined && idle === times.idle
          ? times.touch
          : Math.min(times.touch ?? defaultTouch, idle / 10)
      return now - record.lastSeenAt >= interval || record.lastSeenAt - now > slack
    },
    startingAt: (now, options) => {
      const idleTimeout = shorter("idleTimeout", options.idleTimeout, times.idle)
      const absoluteTimeout = shorter("absoluteTimeout", options.absoluteTimeout, times.absolute)
      return {
        createdAt: now,
        authenticatedAt: now,
        lastSeenAt: now,
        idleTimeout,
        idleExpiresAt: now + Math.min(idleTimeout, absoluteTimeout),
        absoluteExpiresAt: now + absoluteTimeout
      }
    }
  }
}
