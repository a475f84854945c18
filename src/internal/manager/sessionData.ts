/**
 * A session's data and principal: through the schema to JSON text and back, within bounds. Data of an older version are
 * brought up to the newest on the way.
 *
 * @internal
 */
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import * as Option from "effect/Option"
import * as Result from "effect/Result"
import * as Schema from "effect/Schema"
import * as SchemaIssue from "effect/SchemaIssue"
import * as SchemaParser from "effect/SchemaParser"
import type { Definition, Tagged, Versions } from "../../Session.ts"
import type { SessionRecord } from "../../SessionBackend.ts"
import { SessionDataError } from "../../SessionError.ts"
import { findForeign, maxDepth, parseWithoutProto, pathText, shapeOf } from "./plainJson.ts"

/** Enough for any session, and small enough to read on every request. */
const maxBytes = 65_536

/** Data as they are stored, and as they read back. */
export interface Encoded<A> {
  readonly value: A
  readonly text: string
  readonly principal: string | undefined
}

/** The part of a record that says what its data are. */
type Stored = Pick<SessionRecord, "data" | "dataVersion">

export interface SessionData<A> {
  /** Makes a value by the schema, and its JSON text; dies with a `SessionDataError`. */
  readonly encode: (data: A) => Exit.Exit<Encoded<A>>
  /** The same for an existing session, whose principal never changes. */
  readonly encodeFor: (record: SessionRecord, data: A) => Exit.Exit<Encoded<A>>
  /** Makes a new value each time; fails with the paths that do not decode, or the broken rule, never a value. */
  readonly decode: (record: Stored) => Result.Result<A, string>
  /** Whether `text` says the same as the record, whose text may be of an older version or lack today's defaults. */
  readonly isSame: (record: Stored, text: string) => boolean
}

const utf8 = new TextEncoder()

/** Encodes only if the length does not decide: a UTF-16 unit takes at most three bytes of UTF-8. */
const isLongerThan = (text: string, bytes: number): boolean =>
  text.length > bytes || (text.length > bytes / 3 && utf8.encode(text).length > bytes)

/** The message names the path and the rule, not the value, and leaves out keys that are data themselves. */
const messageOf = (issue: SchemaIssue.Issue): string =>
  new Schema.SchemaError(issue).message.replace(/\["(?![A-Za-z_$][\w$]{0,40}"\])(?:[^"\\]|\\.)*"\]/g, '["…"]')

const issuesOf = SchemaIssue.makeFormatterStandardSchemaV1()

const pathsOf = (issue: SchemaIssue.Issue): ReadonlyArray<ReadonlyArray<PropertyKey>> =>
  issuesOf(issue).issues.map(({ path }) =>
    // A segment is a key, or an object with one; this formatter writes keys.
    (path ?? []).map((segment) => (typeof segment === "object" ? segment.key : segment))
  )

/** The paths alone: a rule of the application may say the value. */
const pathsText = (issue: SchemaIssue.Issue): string => [...new Set(pathsOf(issue).map(pathText))].join(", ")

const issueIn = <A>(exit: Exit.Exit<A, SchemaIssue.Issue>): SchemaIssue.Issue | undefined =>
  Option.getOrUndefined(Exit.findErrorOption(exit))

/** The value at a path, if there is one. */
const at = (value: unknown, path: ReadonlyArray<PropertyKey>): unknown =>
  path.reduce<unknown>(
    (below, key) =>
      typeof below === "object" && below !== null && Object.hasOwn(below, key)
        ? (below as Record<PropertyKey, unknown>)[key]
        : undefined,
    value
  )

const tooDeep = `nested deeper than ${maxDepth} levels`
const tooLong = `longer than ${maxBytes} bytes as JSON`
const noJson = "it is no JSON"
const schemaFails = "its schema fails"

const foreignProblem = (path: ReadonlyArray<PropertyKey>, kind: string): string =>
  `no plain JSON at ${pathText(path)}: ${kind}; give it a schema that encodes it`

const die = (problem: string): Exit.Exit<never> => Exit.die(new SessionDataError({ problem }))

const decoded = <A>(exit: Exit.Exit<A, SchemaIssue.Issue>): Result.Result<A, string> => {
  if (Exit.isSuccess(exit)) return Result.succeed(exit.value)
  const issue = issueIn(exit)
  return Result.fail(issue === undefined ? schemaFails : pathsText(issue))
}

/** Makes a value by a schema, which checks it and adds its defaults. */
const construct = <A>(
  schema: Schema.Decoder<A>,
  given: unknown,
  textOf: (issue: SchemaIssue.Issue) => string
): Result.Result<A, string> => {
  try {
    // `make` takes the type's input, which the type itself always is, and checks what it gets.
    const made = Effect.runSyncExit(schema.makeEffect(given as never))
    if (Exit.isSuccess(made)) return Result.succeed(made.value)
    const issue = issueIn(made)
    return Result.fail(issue === undefined ? schemaFails : textOf(issue))
  } catch {
    return Result.fail(noJson)
  }
}

const stepProblem = (version: number, problem: string): string => `the step to version ${version}: ${problem}`

/**
 * Decodes data by the schema of an older version, brings them up step by step, each checked by its schema, and writes
 * them as the newest: what no store takes is refused on a read, not by the next change.
 */
const bringingUp = <A, B>(
  { older, schema: newest, version: newestVersion }: Versions<A>,
  write: (value: A) => Result.Result<B, string>
) => {
  const first = newestVersion - older.length
  const decoders = older.map(({ schema }) => SchemaParser.decodeUnknownExit(Schema.toCodecJson(schema)))
  const steps = older.map(({ up }, i) => ({ up, version: first + i + 1, schema: older[i + 1]?.schema ?? newest }))

  return (json: unknown, version: number): Result.Result<B, string> => {
    const decode = decoders[version - first]
    if (decode === undefined) return Result.fail(`version ${version} is older than the first, ${first}`)
    let value: Result.Result<unknown, string> = decoded(decode(json))
    if (Result.isFailure(value)) return Result.fail(`by the schema of version ${version}: ${value.failure}`)
    for (const { schema, up, version: next } of steps.slice(version - first)) {
      try {
        // The schema before has made it.
        value = construct(schema, up(value.success as never), pathsText)
      } catch {
        value = Result.fail("it throws")
      }
      if (Result.isFailure(value)) return Result.fail(stepProblem(next, value.failure))
    }
    // The newest schema has made it.
    return Result.mapError(write(value.success as A), (problem) => stepProblem(newestVersion, problem))
  }
}

/** What is wrong with the number of a definition's version. */
export const problemsOf = ({
  dataVersion,
  versions
}: {
  readonly dataVersion: number
  readonly versions: Versions<unknown> | undefined
}): ReadonlyArray<string> => {
  if (Number.isSafeInteger(dataVersion) && dataVersion - (versions?.older.length ?? 0) >= 1) return []
  const name = versions === undefined ? "dataVersion" : "version in Session.versions(schema, { version })"
  return [`${name} must be a whole number from 1`]
}

export const make = <A>({
  data: schema,
  principal,
  versions
}: Pick<Definition<never, A, ReadonlyArray<Tagged>>, "data" | "principal" | "versions">): SessionData<A> => {
  const codec = Schema.toCodecJson(schema)
  const encodeExit = SchemaParser.encodeUnknownExit(codec)
  const decodeExit = SchemaParser.decodeUnknownExit(codec)

  /** Why a value does not encode. `Schema.Any` reports only the whole value, so the place in it is looked up. */
  const encodeProblem = (value: A, issue: SchemaIssue.Issue | undefined): string => {
    if (shapeOf(value) === "deep") return tooDeep
    const path = issue === undefined ? [] : (pathsOf(issue)[0] ?? [])
    const below = at(value, path)
    const foreign = below === undefined ? undefined : findForeign(below)
    return foreign === undefined
      ? `it does not encode by its schema at ${pathText(path)}`
      : foreignProblem([...path, ...foreign.path], foreign.kind)
  }

  /** The text, and the value as it reads back. */
  const write = (value: A): Result.Result<{ readonly value: A; readonly text: string }, string> => {
    const encoded = encodeExit(value)
    if (Exit.isFailure(encoded)) return Result.fail(encodeProblem(value, issueIn(encoded)))
    const json: unknown = encoded.value
    const shape = shapeOf(json)
    if (shape === "deep") return Result.fail(tooDeep)
    const foreign = findForeign(json)
    if (foreign !== undefined) return Result.fail(foreignProblem(foreign.path, foreign.kind))
    let text = JSON.stringify(json)
    let readBack = value
    if (shape === "proto") {
      const clean = parseWithoutProto(text)
      const decoded = decodeExit(clean)
      if (Exit.isFailure(decoded)) return Result.fail("a key is named __proto__")
      readBack = decoded.value
      text = JSON.stringify(clean)
    }
    return isLongerThan(text, maxBytes) ? Result.fail(tooLong) : Result.succeed({ value: readBack, text })
  }

  const writeSafely = (value: A): ReturnType<typeof write> => {
    try {
      return write(value)
    } catch {
      // A getter or a transformation of the application threw, or the value was too deep for the stack.
      return Result.fail(noJson)
    }
  }

  const encode: SessionData<A>["encode"] = (data) => {
    const written = Result.flatMap(construct(schema, data, messageOf), writeSafely)
    if (Result.isFailure(written)) return die(written.failure)
    const { text, value } = written.success
    let name: string | undefined
    try {
      name = principal?.(value)
    } catch (defect) {
      return Exit.die(defect)
    }
    if (name !== undefined && !isPrincipal(name)) {
      return die("the principal must have 1 to 256 bytes of UTF-8, without NUL")
    }
    return Exit.succeed({ value, text, principal: name })
  }

  const bringUp = versions === undefined ? undefined : bringingUp(versions, writeSafely)
  const isOlder = ({ dataVersion }: Stored): boolean => versions !== undefined && dataVersion < versions.version

  const decode: SessionData<A>["decode"] = (record) => {
    const text = record.data
    if (isLongerThan(text, maxBytes)) return Result.fail(tooLong)
    let json: unknown
    try {
      json = JSON.parse(text)
    } catch {
      return Result.fail(noJson)
    }
    const shape = shapeOf(json)
    if (shape === "deep") return Result.fail(tooDeep)
    if (shape === "proto") json = parseWithoutProto(text)
    if (bringUp === undefined || !isOlder(record)) return decoded(decodeExit(json))
    const written = bringUp(json, record.dataVersion)
    // Read back, they are a copy that shares nothing with what a function of the application answered.
    return Result.flatMap(written, ({ text }) => decoded(decodeExit(JSON.parse(text))))
  }

  return {
    encode,
    encodeFor: (record, data) => {
      const encoded = encode(data)
      return Exit.isFailure(encoded) || encoded.value.principal === record.principal
        ? encoded
        : die("the principal of a session never changes; to log a user in or out, create a new session")
    },
    decode,
    isSame: (record, text) => {
      // The same text may say something else in an older version.
      if (record.data === text && !isOlder(record)) return true
      const written = Result.flatMap(decode(record), writeSafely)
      return Result.isSuccess(written) && written.success.text === text
    }
  }
}

/** 1 to 256 bytes of UTF-8 that every store takes as a text. */
const isPrincipal = (name: string): boolean =>
  name !== "" && !isLongerThan(name, 256) && !name.includes("\0") && name.isWellFormed()
