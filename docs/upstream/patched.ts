/**
 * A second copy of `effect` and `@effect/platform-node` in this process, with the changes that the texts here propose:
 * what is imported as `effect/DateTime?patched` is that copy. Each change is a piece of the compiled file, and what takes
 * its place; one whose piece is not there exactly once is an error, as then its text is out of date.
 */
import { readFileSync } from "node:fs"
import { registerHooks } from "node:module"
import { fileURLToPath } from "node:url"

interface Change {
  readonly file: string
  readonly from: string
  readonly to: string
}

const changes: ReadonlyArray<Change> = [
  {
    file: "@effect/platform-node/dist/NodeHttpServer.js",
    from: `  nodeResponse.strictContentLength = true;
  const body = response.body;`,
    to: `  const body = response.body;
  nodeResponse.strictContentLength = body._tag !== "Uint8Array" || headers["content-length"] !== String(body.contentLength);`
  },
  {
    file: "effect/dist/http/Headers.js",
    from: `export const fromInput = input => {`,
    to: `export const fromLowerCase = input => {
  const out = Object.create(Proto);
  for (const name of Object.keys(input)) {
    const value = input[name];
    out[name] = Array.isArray(value) ? value.join(", ") : value;
  }
  return out;
};
const fill = (out, input) => {
  if (Symbol.iterator in input) return Object.assign(out, fromInput(input));
  for (const name of Object.keys(input)) {
    const value = input[name];
    if (value !== undefined) out[name.toLowerCase()] = Array.isArray(value) ? value.join(", ") : value;
  }
  return out;
};
export const fromInput = input => {`
  },
  {
    file: "effect/dist/http/Headers.js",
    from: `(self, headers) => make({
  ...self,
  ...fromInput(headers)
})`,
    to: `(self, headers) => fill(make(self), headers)`
  },
  {
    file: "effect/dist/encoding/Base64Url.js",
    from: `export const encode = input => Base64.encode(input).replace(/=/g, "").replace(/\\+/g, "-").replace(/\\//g, "_");`,
    to: `const alphabet = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";
export const encode = input => {
  if (typeof input === "string" || input.length >= 128) {
    return Base64.encode(input).replace(/=/g, "").replace(/\\+/g, "-").replace(/\\//g, "_");
  }
  let text = "";
  let left = 0;
  let bits = 0;
  for (const byte of input) {
    left = left << 8 | byte;
    bits += 8;
    while (bits >= 6) text += alphabet[left >> (bits -= 6) & 63];
    left &= 63;
  }
  return bits === 0 ? text : text + alphabet[left << 6 - bits & 63];
};`
  },
  {
    file: "effect/dist/internal/dateTime.js",
    from: `const makeUtc = epochMillis => {
  const self = Object.create(ProtoUtc);
  self.epochMilliseconds = epochMillis;
  Object.defineProperty(self, "partsUtc", {
    value: undefined,
    enumerable: false,
    writable: true
  });
  return self;
};`,
    to: `class Utc {
  epochMilliseconds;
  #parts;
  constructor(epochMilliseconds) {
    this.epochMilliseconds = epochMilliseconds;
  }
  get partsUtc() {
    return this.#parts;
  }
  set partsUtc(parts) {
    this.#parts = parts;
  }
}
Object.setPrototypeOf(Utc.prototype, ProtoUtc);
const makeUtc = epochMillis => new Utc(epochMillis);`
  },
  {
    file: "effect/dist/internal/dateTime.js",
    from: `export const makeUnsafe = input => {
  if (isDateTime(input)) {`,
    to: `export const makeUnsafe = input => {
  if (typeof input === "number" && Math.abs(input) <= 8.64e15) {
    return makeUtc(Math.trunc(input) + 0);
  } else if (isDateTime(input)) {`
  },
  {
    file: "effect/dist/internal/redacted.js",
    from: `export const redactedRegistry = /*#__PURE__*/new WeakMap();`,
    to: `export class Secret {
  #value;
  #isHere = true;
  constructor(value) {
    this.#value = value;
  }
  static has(self) {
    return #value in self && self.#isHere;
  }
  static get(self) {
    return Secret.has(self) ? self.#value : undefined;
  }
  static delete(self) {
    const had = Secret.has(self);
    if (had) {
      self.#value = undefined;
      self.#isHere = false;
    }
    return had;
  }
}
export const redactedRegistry = Secret;`
  },
  {
    file: "effect/dist/Redacted.js",
    from: `  const self = Object.create(Proto);
  if (options?.label) {
    self.label = options.label;
  }
  redacted.redactedRegistry.set(self, value);
  return self;`,
    to: `  const self = new redacted.Secret(value);
  if (options?.label) {
    self.label = options.label;
  }
  return self;`
  },
  {
    file: "effect/dist/Redacted.js",
    from: `/**
 * Retrieves the original value`,
    to: `Object.setPrototypeOf(redacted.Secret.prototype, Proto);
/**
 * Retrieves the original value`
  },
  {
    file: "effect/dist/SchemaAST.js",
    from: `  delete s.out[p.name];
  if (!isOptional(p.type)) {`,
    to: `  if (Object.hasOwn(s.out, p.name)) delete s.out[p.name];
  if (!isOptional(p.type)) {`
  },
  {
    file: "effect/dist/Pool.js",
    from: `internal.flatMap(state.resizeSemaphore.withPermitsIfAvailable(1)(Effect.forkIn(Effect.interruptible(resize(self)), state.scope)), () => step)`,
    to: `state.resizePending ? step : internal.flatMap(forkResize(self), () => step)`
  },
  {
    file: "effect/dist/Pool.js",
    from: `const resize = self =>`,
    to: `const forkResize = self => internal.suspend(() => {
  self.state.resizePending = true;
  const done = internal.sync(() => {
    self.state.resizePending = false;
  });
  return Effect.forkIn(Effect.interruptible(Effect.ensuring(self.state.resizeSemaphore.withPermits(1)(Effect.andThen(done, resizeLoop(self))), done)), self.state.scope);
});
const resize = self =>`
  }
]

const mark = "?patched"

registerHooks({
  resolve(specifier, context, nextResolve) {
    const isOurs = specifier.endsWith(mark)
    const resolved = nextResolve(isOurs ? specifier.slice(0, -mark.length) : specifier, context)
    const isWithin =
      context.parentURL?.endsWith(mark) === true && /\/node_modules\/(@effect|effect)\//.test(resolved.url)
    return isOurs || isWithin ? { ...resolved, url: resolved.url + mark } : resolved
  },
  load(url, context, nextLoad) {
    if (!url.endsWith(mark)) return nextLoad(url, context)
    const file = fileURLToPath(url.slice(0, -mark.length))
    const source = changes
      .filter((change) => file.endsWith(`/node_modules/${change.file}`))
      .reduce(
        (text, { from, to }) => {
          if (text.split(from).length !== 2) throw new Error(`${file} is not as it was:\n${from}`)
          return text.replace(from, () => to)
        },
        readFileSync(file, "utf8")
      )
    return { format: "module", source, shortCircuit: true }
  }
})

/** A module as it is, or with the changes. */
export const load = <A>(specifier: string, which: "today" | "changed"): Promise<A> =>
  import(which === "today" ? specifier : `${specifier}${mark}`)

/** A module as it is, and with the changes. */
export const both = async <A>(specifier: string): Promise<{ readonly today: A; readonly changed: A }> => ({
  today: await load<A>(specifier, "today"),
  changed: await load<A>(specifier, "changed")
})
