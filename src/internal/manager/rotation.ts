/**
 * What a token means to the record of its id, where tokens are rotated on a schedule. Pure.
 *
 * The answer that carries a new token may be lost or late, and a second tab may still send the old one. So the old token
 * stands until the new one has arrived, and for the grace after that; then a client that sends it has a stolen copy.
 *
 * @internal
 */
import type { SessionRecord } from "../../SessionBackend.ts"
import { timingSafeEqual } from "../token/tokenCrypto.ts"
import { type Extension, format, parse, rotationOf } from "./extension.ts"

export interface Schedule {
  /** How often tokens are rotated, in milliseconds, if they are. */
  readonly every: number | undefined
  readonly grace: number
}

/** The extension to write: with the token's arrival, or with its rotation to the secret of a hash. */
export interface Writes {
  readonly seen?: string | undefined
  readonly rotated?: ((secretHash: string) => string) | undefined
}

export type Verdict =
  | { readonly _tag: "unknown" }
  | { readonly _tag: "reused" }
  | ({ readonly _tag: "stands" } & Writes)

const unknown: Verdict = { _tag: "unknown" }
const reused: Verdict = { _tag: "reused" }
const stands: Verdict = { _tag: "stands" }

/** The extension of a record whose secret is replaced on schedule. */
const rotatedFrom =
  (extension: Extension, line: string, previous: string, at: number) =>
  (secretHash: string): string =>
    format({ ...extension, rotation: { of: secretHash, line, previous, at } })

export const judge = (
  record: SessionRecord,
  hash: string,
  { arrived, now }: { readonly arrived: number; readonly now: number },
  { every, grace }: Schedule,
  canRotate: boolean
): Verdict => {
  const isCurrent = timingSafeEqual(hash, record.secretHash)
  if (record.extension === "" && every === undefined) return isCurrent ? stands : unknown
  const extension = parse(record)
  const rotation = rotationOf(record, extension)
  const isDue = canRotate && every !== undefined && now - (rotation?.at ?? record.createdAt) >= every
  if (isCurrent) {
    if (rotation !== undefined && rotation.seenAt === undefined) {
      return { _tag: "stands", seen: format({ ...extension, rotation: { ...rotation, seenAt: now } }) }
    }
    if (!isDue || (rotation?.seenAt !== undefined && now - rotation.seenAt < grace)) return stands
    const { secretHash } = record
    return { _tag: "stands", rotated: rotatedFrom(extension, rotation?.line ?? secretHash, secretHash, now) }
  }
  if (rotation === undefined || !timingSafeEqual(hash, rotation.previous)) return unknown
  // By when the request came: a handler may look at its session late, after an upload.
  if (rotation.seenAt !== undefined) return arrived - rotation.seenAt < grace ? stands : reused
  // No client has the present token, or none has sent it: another takes its place.
  return isDue ? { _tag: "stands", rotated: rotatedFrom(extension, rotation.line, rotation.previous, now) } : stands
}
