/**
 * Whether a secret can be a signing key: long enough, and not something a person made up.
 *
 * @internal
 */

const placeholders =
  /secret|password|change.?me|keyboard.?cat|example|placeholder|replace.?(me|this|with)|insert.?(your|here)|your.?key|default|development|production|qwerty|letmein|lorem.?ipsum|correct.?horse|deadbeef/i

/** How many of the characters say something new: not part of a run, a sequence or a repetition met before. */
const surprising = (text: string): number => {
  const seen = new Set<string>()
  const step = (i: number, by: number) => text.charCodeAt(i) - text.charCodeAt(i - by)
  let count = 0
  for (let i = 0; i < text.length; i++) {
    // Of neighbours ("2345"), and of every second character ("00112233", "1a2b3c").
    const goesOn = (i >= 2 && step(i, 1) === step(i - 1, 1)) || (i >= 3 && step(i, 2) === step(i - 1, 2))
    const three = i >= 2 ? text.slice(i - 2, i + 1) : undefined
    const repeated = three !== undefined && seen.has(three)
    if (three !== undefined) seen.add(three)
    if (!repeated && !goesOn) count++
  }
  return count
}

/** Shannon entropy of a character, in bits, from how often each occurs. */
const bitsPerCharacter = (text: string): number => {
  const counts = new Map<string, number>()
  for (const character of text) counts.set(character, (counts.get(character) ?? 0) + 1)
  let bits = 0
  for (const count of counts.values()) bits -= (count / text.length) * Math.log2(count / text.length)
  return bits
}

/** An estimate of a secret's entropy in bits. Words count as drawn from a list of 7,776. */
const estimate = (text: string): number => {
  const words = text.split(/[\s_.,;:+-]+/).filter((word) => word.length > 0)
  if (words.length >= 3 && words.every((word) => /^([a-z]{1,12}|[A-Z][a-z]{0,11}|[A-Z]{1,12})\d{0,4}$/.test(word))) {
    return new Set(words).size * Math.log2(7776)
  }
  // Words written together, each with a capital. Random letters have capitals side by side.
  const joined = text.split(/(?<=[a-z])(?=[A-Z])/)
  if (joined.length >= 3 && joined.every((word) => /^[A-Z]?[a-z]{2,}$/.test(word)))
    return joined.length * Math.log2(7776)
  return surprising(text) * bitsPerCharacter(text)
}

/**
 * The rule a secret breaks, or `undefined` if it is strong enough: at least 32 bytes (ASVS 11.2.3), and by estimate at
 * least 128 bits of entropy. Never quotes the secret.
 *
 * @internal
 */
export const weakness = (secret: string): string | undefined => {
  const bytes = new TextEncoder().encode(secret).length
  if (bytes === 0) return "is empty"
  if (bytes < 32) return `has ${bytes} bytes; at least 32 are needed`
  if (placeholders.test(secret)) return "contains a placeholder word"
  if (/^(.+?)\1+$/s.test(secret.slice(0, 1024))) return "repeats itself"
  const bits = Math.floor(estimate(secret.slice(0, 1024)))
  if (bits < 128) return `has about ${bits} bits of entropy; at least 128 are needed`
  return undefined
}
