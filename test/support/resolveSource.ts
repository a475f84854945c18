/**
 * For `node --import`: what imports `effect-sessions` gets the sources of this repository, so that a server process of a
 * test runs what is there now, and needs no build.
 */
import { registerHooks } from "node:module"

const sources = new URL("../../src/", import.meta.url)

registerHooks({
  resolve(specifier, context, nextResolve) {
    const [, module] = /^effect-sessions(?:\/(.+))?$/.exec(specifier) ?? []
    if (!/^effect-sessions(\/|$)/.test(specifier)) return nextResolve(specifier, context)
    const file = module === undefined ? "index.ts" : module === "testing" ? "testing/index.ts" : `${module}.ts`
    return nextResolve(new URL(file, sources).href, context)
  }
})
