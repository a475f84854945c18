/** Everything that is said anywhere: logs, spans, errors and printed values, and a search for secrets in it. */
import * as Cause from "effect/Cause"
import * as Exit from "effect/Exit"
import * as Layer from "effect/Layer"
import * as Logger from "effect/Logger"
import * as Redacted from "effect/Redacted"
import * as References from "effect/References"
import * as Tracer from "effect/Tracer"
import { inspect } from "node:util"

/** Session data that occurs nowhere else. */
export const canary = "CANARY-7f3b9d-data"
const utf8 = new TextEncoder()

/** A secret in the forms it may be written in. Of the base64 of a part of a text, what does not hang on its neighbours. */
export const formsOf = (secret: string): ReadonlyArray<string> => {
  const bytes = Buffer.from(utf8.encode(secret))
  const raw = /^[\w-]{43}$/.test(secret) ? Buffer.from(secret, "base64url") : bytes
  return [
    secret,
    encodeURIComponent(secret),
    encodeURIComponent(encodeURIComponent(secret)),
    bytes.toString("hex"),
    raw.toString("hex"),
    raw.toString("base64"),
    raw.toString("base64url"),
    JSON.stringify([...raw]).slice(1, -1),
    [0, 1, 2].map((skip) => bytes.subarray(skip).toString("base64").slice(0, 24))
  ]
    .flat()
    .filter((form) => form.length >= 8)
}

/** Everything that was said anywhere, searched at the end. */
export class Evidence {
  readonly said: Array<readonly [string, string]> = []
  readonly secrets = new Map<string, string>()

  hide(name: string, secret: string): void {
    for (const form of formsOf(secret)) this.secrets.set(form, name)
  }
  hideToken(token: Redacted.Redacted<string>): void {
    const text = Redacted.value(token)
    const [, , , secret, mac] = text.split(".")
    this.hide("token", text)
    this.hide("client's secret", secret!)
    this.hide("mac", mac!)
  }
  say(where: string, text: string): void {
    this.said.push([where, text])
  }
  /** All the ways a value is printed. */
  show(where: string, value: unknown): void {
    this.say(
      `${where}: inspect`,
      inspect(value, { depth: 12, showHidden: true, maxArrayLength: null, maxStringLength: null })
    )
    this.say(`${where}: inspect, plain`, inspect(value, { depth: Infinity }))
    this.say(`${where}: String`, String(value))
    try {
      this.say(`${where}: JSON`, JSON.stringify(value) ?? "")
    } catch {
      // What has no JSON leaks nothing through it.
    }
    if (value instanceof Error) this.say(`${where}: stack`, `${value.stack}\n${value.message}\n${inspect(value.cause)}`)
  }
  exit(where: string, exit: Exit.Exit<unknown, unknown>): void {
    this.show(where, exit)
    if (Exit.isSuccess(exit)) return
    this.say(`${where}: cause`, Cause.pretty(exit.cause))
    this.show(`${where}: squashed`, Cause.squash(exit.cause))
  }
  get hits(): ReadonlyArray<string> {
    return this.said.flatMap(([where, text]) =>
      [...this.secrets].flatMap(([form, name]) => (text.includes(form) ? [`${name} in ${where}`] : []))
    )
  }
}

/** Logs of every level, spans with their attributes, events and exits, and metrics, gathered as text. */
export const listening = (evidence: Evidence) =>
  Layer.mergeAll(
    Logger.layer([
      Logger.make((entry) => {
        evidence.show("log", [entry.message, entry.cause, entry.logLevel])
        evidence.show(
          "log's fiber",
          Object.fromEntries(Object.entries(entry.fiber.getRef(References.CurrentLogAnnotations)))
        )
      }),
      Logger.map(Logger.formatLogFmt, (line) => evidence.say("log", line)),
      Logger.map(Logger.formatJson, (line) => evidence.say("log", line))
    ]),
    Layer.succeed(References.MinimumLogLevel, "Trace"),
    Layer.succeed(
      Tracer.Tracer,
      Tracer.make({
        span: (options) => {
          const span = Tracer.nativeTracer.span(options)
          const end = span.end.bind(span)
          const event = span.event.bind(span)
          span.end = (time, exit) => {
            evidence.say("span", span.name)
            evidence.show("span's attributes", [...span.attributes])
            evidence.exit("span's exit", Exit.isSuccess(exit) ? Exit.void : exit)
            end(time, exit)
          }
          span.event = (name, time, attributes) => {
            evidence.show("span's event", [name, attributes])
            event(name, time, attributes)
          }
          return span
        }
      })
    )
  )
