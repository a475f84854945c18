/**
 * A backend's failure, for the log.
 *
 * @internal
 */

const text = (value: unknown): string | undefined =>
  (typeof value === "string" || typeof value === "number") && /^[\w.-]{1,64}$/.test(String(value))
    ? String(value)
    : undefined

/**
 * A cause as the names and codes along its chain: `SqlError ConnectionError ECONNREFUSED`. Messages are left out, since
 * drivers quote keys, arguments and rows in them.
 */
export const describeCause = (cause: unknown): string => {
  const words: Array<string> = []
  let current: unknown = cause
  for (let depth = 0; depth < 6 && typeof current === "object" && current !== null; depth++) {
    const { _tag, cause, code, name, reason } = current as Record<string, unknown>
    for (const word of [text(_tag) ?? text(name), text(code)]) {
      if (word !== undefined && !words.includes(word)) words.push(word)
    }
    current = reason ?? cause
  }
  return words.join(" ") || "unknown"
}
