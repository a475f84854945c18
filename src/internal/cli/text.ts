/**
 * Text from outside, for a terminal: what could move its cursor, colour it, or turn the direction of what follows is written
 * as an escape of ASCII.
 *
 * @internal
 */
import * as CliOutput from "effect/cli/CliOutput"

const escaped = (text: string, escape: (unit: string) => string): string =>
  // Control, format, unassigned and private characters, and the separators of lines.
  text.replace(/[\p{C}\p{Zl}\p{Zp}]/gu, (character) => character.split("").map(escape).join(""))

const hex = (unit: string): string => `\\u${unit.charCodeAt(0).toString(16).padStart(4, "0")}`

/** A text on one line of a terminal. */
export const plain = (text: string): string => escaped(text, hex)

/** JSON of one line. In it such a character can only be in a string, where the escape means the same. */
export const json = (value: unknown): string => escaped(JSON.stringify(value), hex)

export const widthOf = CliOutput.displayWidth

const graphemes = new Intl.Segmenter(undefined, { granularity: "grapheme" })

/** At most so many columns of a text. */
export const cut = (text: string, width: number): string => {
  if (text.length <= width && widthOf(text) <= width) return text
  let kept = ""
  let used = 0
  for (const { segment } of graphemes.segment(text)) {
    used += widthOf(segment)
    if (used > width - 1) return width < 1 ? "" : `${kept}…`
    kept += segment
  }
  return kept
}

export const pad = (text: string, width: number): string => text + " ".repeat(Math.max(0, width - widthOf(text)))
