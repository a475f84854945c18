/** Loggers that keep a test's log lines, or drop them. */
import * as Layer from "effect/Layer"
import * as Logger from "effect/Logger"
import * as References from "effect/References"

/** Gathers every log line, of every level, as the text of its message and its annotations. */
export const capturing = (lines: Array<string>) =>
  Layer.merge(
    Logger.layer([
      Logger.map(Logger.formatStructured, (entry) => {
        lines.push(JSON.stringify(entry))
      }),
      Logger.map(Logger.formatLogFmt, (line) => {
        lines.push(line)
      })
    ]),
    Layer.succeed(References.MinimumLogLevel, "Trace")
  )

export const silent = Logger.layer([])
