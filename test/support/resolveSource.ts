/**
 * For `node --import`: what imports `effect-sessions` gets the sources of this repository, so that a server process of a
 * test runs what is there now, and needs no build. With `BUILT_PACKAGE`, the folder of a package that was built, it gets
 * that one: an older version of the library, for example.
 */
import { registerHooks } from "node:module"
import { pathToFileURL } from "node:url"

const built = process.env["BUILT_PACKAGE"]
const root = built === undefined ? new URL("../../src/", import.meta.url) : pathToFileURL(`${built}/dist/`)
const extension = built === undefined ? "ts" : "js"

registerHooks({
  resolve(specifier, context, nextResolve) {
    const [, module] = /^effect-sessions(?:\/(.+))?$/.exec(specifier) ?? []
    if (!/^effect-sessions(\/|$)/.test(specifier)) return nextResolve(specifier, context)
    const file = module === undefined ? "index" : module === "testing" ? "testing/index" : module
    return nextResolve(new URL(`${file}.${extension}`, root).href, context)
  }
})
