/**
 * What plain JSON is, for session data: no deeper than 32 levels, without keys named `__proto__`, and nothing that
 * `JSON.stringify` would change or leave out.
 *
 * @internal
 */

/** @internal */
export const maxDepth = 32

/**
 * What is wrong with the shape of a value: nothing, a key named `__proto__` in it, or too many levels.
 *
 * Such a key is an ordinary one to `JSON.parse`, and to `Object.assign` in some handler it sets the prototype.
 *
 * @internal
 */
export const shapeOf = (json: unknown, levels: number = maxDepth): "fine" | "proto" | "deep" => {
  if (typeof json !== "object" || json === null) return "fine"
  if (levels === 0) return "deep"
  let found: "fine" | "proto" = Object.hasOwn(json, "__proto__") ? "proto" : "fine"
  for (const key in json) {
    const below = shapeOf((json as Record<string, unknown>)[key], levels - 1)
    if (below === "deep") return below
    if (below === "proto") found = below
  }
  return found
}

/**
 * The JSON of a text without keys named `__proto__`, at any depth.
 *
 * @internal
 */
export const parseWithoutProto = (text: string): unknown =>
  JSON.parse(text, (_, value: unknown) => {
    if (typeof value === "object" && value !== null) delete (value as Record<string, unknown>)["__proto__"]
    return value
  })

/** Where a value is, as a path of keys and indices, and what it is. */
interface Foreign {
  readonly path: ReadonlyArray<PropertyKey>
  readonly kind: string
}

/**
 * Whether an object is written as a literal or parsed, in whatever realm, and not made by a class: its prototype is the
 * end of a chain. `toJSON` makes another value of it.
 */
const isPlainObject = (value: object): boolean => {
  const prototype: unknown = Object.getPrototypeOf(value)
  return (
    (prototype === null || Object.getPrototypeOf(prototype) === null) &&
    typeof (value as { readonly toJSON?: unknown }).toJSON !== "function"
  )
}

const isPlainArray = (value: unknown): value is ReadonlyArray<unknown> =>
  Array.isArray(value) && typeof (value as { readonly toJSON?: unknown }).toJSON !== "function"

/**
 * The first value that JSON cannot say. A property that is `undefined` is left out, as JSON does, and reads the same;
 * an element of an array would become `null`. To be asked of what is no deeper than `maxDepth`.
 *
 * @internal
 */
export const findForeign = (value: unknown): Foreign | undefined => {
  switch (typeof value) {
    case "string":
    case "boolean":
      return undefined
    case "number":
      return Number.isFinite(value) ? undefined : { path: [], kind: "a number that is not finite" }
    case "object":
      break
    default:
      return { path: [], kind: value === undefined ? "undefined" : `a ${typeof value}` }
  }
  if (value === null) return undefined
  if (isPlainArray(value)) {
    // By index, so that holes are met too.
    for (let i = 0; i < value.length; i++) {
      const found = findForeign(value[i])
      if (found !== undefined) return { ...found, path: [i, ...found.path] }
    }
    return undefined
  }
  if (!isPlainObject(value)) return { path: [], kind: "an object of a class, or one with a toJSON" }
  for (const [key, below] of Object.entries(value)) {
    const found = below === undefined ? undefined : findForeign(below)
    if (found !== undefined) return { ...found, path: [key, ...found.path] }
  }
  return undefined
}

/**
 * A path as text: `["user"]["names"][0]`. It may lead through keys that are data themselves: those not written like a
 * field are left out.
 *
 * @internal
 */
export const pathText = (path: ReadonlyArray<PropertyKey>): string =>
  path.length === 0
    ? "the top"
    : path
        .map((key) =>
          typeof key === "number"
            ? `[${key}]`
            : typeof key === "string" && /^[A-Za-z_$][\w$]{0,40}$/.test(key)
              ? `["${key}"]`
              : '["…"]'
        )
        .join("")
