/**
 * The keys of the Redis backend, and the entries of an index.
 *
 * @internal
 */
import * as Base64Url from "effect/encoding/Base64Url"
import * as Result from "effect/Result"
import type { EndedHint } from "../../SessionBackend.ts"

export const prefixProblems = (prefix: string): ReadonlyArray<string> => {
  const problems: Array<string> = []
  const bytes = new TextEncoder().encode(prefix).length
  if (bytes === 0 || bytes > 64) problems.push(`prefix: has to be 1 to 64 bytes long, not ${bytes}`)
  if (/[{}]/.test(prefix)) problems.push("prefix: no braces, Redis Cluster reads them as a hash tag")
  if (/["'`]/.test(prefix)) problems.push("prefix: no quotes")
  if (/[\s\p{C}]/u.test(prefix)) problems.push("prefix: no white space and no control or invisible characters")
  if (/[*?[\]\\]/.test(prefix)) problems.push("prefix: none of * ? [ ] \\, they mean something in key patterns")
  return problems
}

/** An id is a part of the key unchanged; one with characters that base64url does not have is `~` and its base64url. */
const idPart = (id: string): string => (/^[\w-]+$/.test(id) ? id : `~${Base64Url.encode(id)}`)

/** The id of a record whose key ends with this part. One that does not decode is answered as it is. */
export const idOfPart = (part: string): string =>
  part.startsWith("~") ? Result.getOrElse(Base64Url.decodeString(part.slice(1)), () => part) : part

export const make = (prefix: string) => {
  // Namespaces are few: there is one for each session definition.
  const namespaces = new Map<string, string>()
  const namespacePart = (namespace: string): string => {
    let part = namespaces.get(namespace)
    if (part === undefined) namespaces.set(namespace, (part = Base64Url.encode(namespace)))
    return part
  }
  const records = (namespace: string): string => `${prefix}:s:${namespacePart(namespace)}:`
  return {
    /** What the keys of a namespace's records begin with. No character of it means something in a key pattern. */
    records,
    record: (namespace: string, id: string): string => records(namespace) + idPart(id),
    index: (namespace: string, principal: string): string =>
      `${prefix}:p:${namespacePart(namespace)}:${Base64Url.encode(principal)}`
  }
}

/** The channel of `ended`. Its messages are the last two parts of the key of a record. */
export const channel = (prefix: string): string => `${prefix}:ended`

/** More than the key of any record has: a message may have 512 MB, and its parts take forty times as much. */
const maxMessage = 8192

/** What a message on the channel says. Any client of Redis may publish there: what is not written as a key has it is no hint. */
export const hintsOf = (message: string): ReadonlyArray<EndedHint> => {
  if (message.length > maxMessage) return []
  const [namespacePart = "", part = "", ...rest] = message.split(":")
  if (namespacePart === "" || part === "" || rest.length > 0) return []
  const namespace = Result.getOrElse(Base64Url.decodeString(namespacePart), () => "")
  const id = idOfPart(part)
  return Base64Url.encode(namespace) === namespacePart && idPart(id) === part ? [{ namespace, id }] : []
}

/** The length of what comes before the id in an entry. */
const markLength = 16

/**
 * The entry of a record in the index of its principal: "c", when the record was created, and its id. The former version
 * wrote when a record ends, as 16 digits, and its id. It drops the entries that sort before the present time and goes
 * through all others; "c" sorts after digits, so that it sees these, and leaves them.
 */
export const entry = ({ createdAt, id }: { readonly createdAt: number; readonly id: string }): string => {
  const millis = Math.min(Math.max(0, Math.floor(createdAt)), 10 ** (markLength - 1) - 1)
  return `c${String(millis).padStart(markLength - 1, "0")}${id}`
}

export const idOfEntry = (entry: string): string => entry.slice(markLength)
