/**
 * What the library itself keeps in a record, as JSON: proofs of who the user is, the client, a scheduled rotation, a seal.
 *
 * Fields of a newer version of this library are kept when the extension is written, and a part that is not as this version
 * writes it counts as absent.
 *
 * @internal
 */
import * as Predicate from "effect/Predicate"
import type { ClientInfo } from "../../Session.ts"
import type { SessionRecord } from "../../SessionBackend.ts"
import { SessionDataError } from "../../SessionError.ts"

type Extended = Pick<SessionRecord, "extension" | "secretHash">

/** When a method was last passed, in milliseconds. */
export type FactorTime = readonly [method: string, at: number]

/** A scheduled rotation. It holds only while the record's secret is the one it made. */
export interface Rotation {
  /** The hash it put in the record. */
  readonly of: string
  /** The hash with which this chain of scheduled rotations began. */
  readonly line: string
  /** The hash of the token before, or of the last one that a client is known to have. */
  readonly previous: string
  readonly at: number
  /** When the new token first arrived. */
  readonly seenAt?: number | undefined
}

/** A session that is being replaced: its record stands, and no token opens it. */
export interface Seal {
  readonly of: string
  readonly at: number
}

export interface Extension {
  readonly factors?: ReadonlyArray<FactorTime> | undefined
  readonly client?: ClientInfo | undefined
  readonly rotation?: Rotation | undefined
  readonly seal?: Seal | undefined
}

const none: Extension = {}

/** Longer than any that is written. */
const maxLength = 65_536

export const parse = ({ extension: text }: Pick<SessionRecord, "extension">): Extension => {
  if (text === "" || text.length > maxLength) return none
  try {
    const json: unknown = JSON.parse(text)
    // Each part is looked at where it is used.
    return Predicate.isObject(json) ? (json as Extension) : none
  } catch {
    return none
  }
}

export const format = (extension: Extension): string => {
  const text = JSON.stringify(extension)
  return text === "{}" ? "" : text
}

/** The rotation that made the record's present secret, if a scheduled one did. */
export const rotationOf = (record: Extended, { rotation } = parse(record)): Rotation | undefined =>
  Predicate.isObject(rotation) &&
  rotation.of === record.secretHash &&
  typeof rotation.line === "string" &&
  typeof rotation.previous === "string" &&
  typeof rotation.at === "number" &&
  (rotation.seenAt === undefined || typeof rotation.seenAt === "number")
    ? rotation
    : undefined

/** What stays the same over scheduled rotations, and changes with any other change of the secret. */
export const lineOf = (record: Extended): string => rotationOf(record)?.line ?? record.secretHash

/** The seal that the record is under now. */
export const sealOf = (record: Extended, { seal } = parse(record)): Seal | undefined =>
  Predicate.isObject(seal) && seal.of === record.secretHash && typeof seal.at === "number" ? seal : undefined

/** How long a record that a log-in has sealed is that log-in's, in milliseconds. Later it was left by a crash. */
const sealTimeout = 10_000

/** Whether a log-in is making another session in place of the record's just now. */
export const isSealedNow = (record: Extended, now: number): boolean => {
  const seal = sealOf(record)
  return seal !== undefined && Math.abs(now - seal.at) < sealTimeout
}

/** Whether a number is a time that a `Date` can have. */
const isTime = (value: unknown): boolean => Number.isSafeInteger(value) && Math.abs(value as number) <= 8.64e15

export const factorsOf = ({ factors }: Extension): ReadonlyArray<FactorTime> =>
  Array.isArray(factors)
    ? factors.filter((factor) => Array.isArray(factor) && typeof factor[0] === "string" && isTime(factor[1]))
    : []

const methodName = /^[\w.:+-]{1,64}$/
const maxMethods = 16

/** The factors after these methods were passed. Throws a `SessionDataError` on names that are none, or too many. */
export const withMethods = (
  factors: ReadonlyArray<FactorTime>,
  methods: ReadonlyArray<string>,
  now: number
): ReadonlyArray<FactorTime> => {
  if (!methods.every((method) => methodName.test(method))) {
    throw new SessionDataError({
      problem: 'methods must be names like "pwd" or "otp" (RFC 8176), of 1 to 64 characters'
    })
  }
  if (methods.length === 0) return factors
  const passed = new Map([...factors, ...methods.map((method) => [method, now] as const)])
  if (passed.size > maxMethods) throw new SessionDataError({ problem: `methods must be ${maxMethods} at most` })
  return [...passed]
}

const clientFields = ["label", "address", "userAgent"] as const
const maxText = 512

export const clientOf = ({ client }: Extension): ClientInfo => {
  const shown: Partial<Record<(typeof clientFields)[number], string>> = {}
  if (!Predicate.isObject(client)) return shown
  for (const name of clientFields) if (typeof client[name] === "string") shown[name] = client[name]
  return shown
}

/** The client with the fields that are given; a field given as `undefined` is removed. */
export const describedAs = (client: ClientInfo, given: ClientInfo): ClientInfo => ({
  ...client,
  ...Object.fromEntries(
    clientFields.flatMap((name) =>
      // A cut in the middle of a character would leave half of it.
      Object.hasOwn(given, name) ? [[name, given[name]?.slice(0, maxText).toWellFormed()]] : []
    )
  )
})
