/**
 * What plain JSON is, for session data: no deeper than 32 levels, without keys named `__proto__`, and nothing that
 * `JSON.stringify` would change or leave out.
 *
 * @internal
 */

export const maxDepth = 32

/**
 * Whether a value has too many levels, or a key named `__proto__`: `JSON.parse` takes it for an ordinary key, and
 * `Object.assign` in a handler sets the prototype by it.
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

/** The JSON of a text without keys named `__proto__`, at any depth. */
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

/** Whether an object, of any realm, is no instance of a class and has no `toJSON`, which would replace it. */
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
 * The first value that JSON cannot represent, of a value no deeper than `maxDepth`. A property that is `undefined` is
 * left out and reads the same; an element of an array would become `null`.
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

/** A path as text: `["user"]["names"][0]`. Keys that are not written like a field may be data, and are left out. */
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
