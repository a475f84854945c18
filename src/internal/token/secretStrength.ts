/**
 * Whether a secret can be a signing key: random bytes as a command prints them, not a text a person made up.
 *
 * @internal
 */
import { isPublished } from "./publishedKeys.ts"

const placeholders =
  /secret|password|change.?me|keyboard.?cat|example|placeholder|replace.?(me|this|with)|insert.?(your|here)|your.?key|default|development|production|qwertyu|letmein|lorem.?ipsum|correct.?horse|^(0x)?(deadbeef|31415926|27182818)/

/** Looks for words in one case or with a capital first, because random base64 contains some of them in mixed case. */
const hasPlaceholder = (text: string): boolean =>
  [text.replace(/(?<=[a-z])(?=[A-Z])|(?<=[A-Z])(?=[A-Z][a-z])/g, " "), text.replace(/[^A-Z]+/g, " ")].some((words) =>
    placeholders.test(words.toLowerCase())
  )

/** With dashes or underscores, or 32 digits in braces. Without either, a UUID looks like 16 random bytes in hexadecimal. */
const uuid = /[\da-f]{8}([-_][\da-f]{4}){3}[-_][\da-f]{12}|^\{[\da-f]{32}\}$/i

/** Passphrases are drawn from lists of 7776 words (Diceware). */
const bitsPerWord = Math.log2(7776)

/** How many characters are neither part of a sequence or a run, nor of three characters that occurred before. */
const countNew = (text: string): number => {
  const seen = new Set<string>()
  const goesOn = (i: number, by: number) => {
    const step = text.charCodeAt(i) - text.charCodeAt(i - by)
    return i > by && Math.abs(step) <= 2 && step === text.charCodeAt(i - 1) - text.charCodeAt(i - 1 - by)
  }
  let count = 0
  for (let i = 0; i < text.length; i++) {
    const three = text.slice(i - 2, i + 1)
    // Sequences of neighbours ("2345"), and of every second character ("00112233", "1a2b3c").
    if (!(seen.has(three) || goesOn(i, 1) || goesOn(i, 2))) count++
    if (i >= 2) seen.add(three)
  }
  return count
}

/** The words of a passphrase: separated, or each with a capital. Random letters have capitals side by side. */
const wordsOf = (text: string): ReadonlySet<string> => {
  const apart = text.split(/[\s_.,;:+-]+/).filter((word) => word !== "")
  if (apart.length >= 3 && apart.every((word) => /^([a-z]{1,12}|[A-Z][a-z]{0,11}|[A-Z]{1,12})\d{0,4}$/.test(word))) {
    return new Set(apart)
  }
  const joined = text.split(/(?<=[a-z])(?=[A-Z])/)
  return joined.length >= 3 && joined.every((word) => /^[A-Z]?[a-z]{2,}$/.test(word) && /[aeiouy]/i.test(word))
    ? new Set(joined)
    : new Set()
}

/** Shannon entropy of a character in bits. */
const bitsPerCharacter = (text: string): number => {
  const counts = new Map<string, number>()
  for (const character of text) counts.set(character, (counts.get(character) ?? 0) + 1)
  let bits = 0
  for (const count of counts.values()) bits -= (count / text.length) * Math.log2(count / text.length)
  return bits
}

/**
 * The bits of a character if the text looks like random bytes in hexadecimal, or in base64 of either alphabet. Fewer than
 * one in 10^8 random keys fails these tests of new and of different characters, and, in base64, of changes between
 * capitals, small letters, digits and signs.
 */
const bitsOfRandom = (text: string, fresh: number): number | undefined => {
  if (/^([\da-f]+|[\dA-F]+)$/.test(text)) {
    return fresh >= (text.length * 5) / 8 && new Set(text).size >= 7 ? 4 : undefined
  }
  const stretches = text.match(/[a-z]+|[A-Z]+|\d+|[^a-zA-Z\d]+/g) ?? []
  return /^[\w+/-]+={0,2}$/.test(text) && fresh >= (text.length * 3) / 4 && stretches.length > text.length / 8
    ? 6
    : undefined
}

/** The estimated entropy of a secret in bits. */
const estimate = (text: string): number => {
  const words = wordsOf(text)
  if (words.size > 0) return words.size * bitsPerWord
  const fresh = countNew(text)
  const bits = bitsOfRandom(text, fresh)
  // In a short text the frequencies of characters do not tell random text from other text.
  return bits === undefined ? fresh * bitsPerCharacter(text) : text.length * bits
}

/**
 * The rule a secret breaks, or `undefined` if it is strong enough: at least 32 bytes (ASVS 11.2.3), by estimate at least
 * 128 bits of entropy, no identifier, and not published. Never quotes the secret.
 */
export const weakness = (secret: string): string | undefined => {
  const bytes = new TextEncoder().encode(secret).length
  if (bytes === 0) return "is empty"
  if (bytes < 32) return `has ${bytes} bytes; at least 32 are needed`
  if (isPublished(secret)) return "is published, in the test kit or a document of this library"
  if (uuid.test(secret)) return "contains a UUID, which is an identifier and no key (ASVS 11.5.1)"
  // A file that holds a secret often ends with a line break.
  const text = secret.replace(/\r?\n$/, "").slice(0, 1024)
  if (hasPlaceholder(text)) return "contains a placeholder word"
  if (/^(.+?)\1+$/s.test(text)) return "repeats itself"
  const bits = Math.floor(estimate(text))
  return bits < 128 ? `has about ${bits} bits of entropy; at least 128 are needed` : undefined
}
