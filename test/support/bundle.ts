/** Bundles of code that imports `effect-sessions` as it is published: built, with its own `package.json`. */
import { nodeResolve } from "@rollup/plugin-node-resolve"
import { mkdtempSync, realpathSync, rmSync, symlinkSync, writeFileSync } from "node:fs"
import { tmpdir } from "node:os"
import { join } from "node:path"
import { gzipSync } from "node:zlib"
import * as Esbuild from "esbuild"
import * as Rollup from "rollup"
import * as Vite from "vite"
import { buildInto } from "./built.ts"

const root = join(import.meta.dirname, "../..")

export const bundlers = ["esbuild", "Rollup", "Vite"] as const
export type Bundler = (typeof bundlers)[number]

export interface Bundle {
  readonly text: string
  readonly bytes: number
  readonly gzip: number
  /** The files of this package that something of is in the bundle, as `dist/Session.js`. */
  readonly own: ReadonlyArray<string>
  /** Those of other packages, by their path. */
  readonly others: ReadonlyArray<string>
}

export interface App {
  readonly bundle: (bundler: Bundler, code: string) => Promise<Bundle>
  readonly dispose: () => void
}

/** A folder that has the package and `effect` installed. */
export const makeApp = (): App => {
  const folder = realpathSync(mkdtempSync(join(tmpdir(), "effect-sessions-bundle-")))
  const installed = join(folder, "node_modules/effect-sessions")
  buildInto(installed)
  symlinkSync(join(root, "node_modules/effect"), join(folder, "node_modules/effect"))

  const entry = join(folder, "entry.js")
  const outputs: Record<Bundler, () => Promise<{ readonly text: string; readonly files: ReadonlyArray<string> }>> = {
    esbuild: async () => {
      const { metafile, outputFiles } = await Esbuild.build({
        entryPoints: [entry],
        absWorkingDir: folder,
        bundle: true,
        format: "esm",
        platform: "browser",
        minify: true,
        metafile: true,
        write: false,
        outdir: "out",
        logLevel: "silent"
      })
      const inputs = Object.values(metafile.outputs).flatMap((output) => Object.entries(output.inputs))
      return {
        text: outputFiles.map((file) => file.text).join("\n"),
        files: inputs.filter(([, { bytesInOutput }]) => bytesInOutput > 0).map(([file]) => join(folder, file))
      }
    },
    Rollup: async () => {
      const build = await Rollup.rollup({
        input: entry,
        plugins: [nodeResolve({ browser: true })],
        onLog: (level, log) => {
          if (level === "warn" && log.code !== "CIRCULAR_DEPENDENCY") throw new Error(log.message)
        }
      })
      const { output } = await build.generate({ format: "es" })
      await build.close()
      const { files, text } = chunks(output)
      return { files, text: (await Esbuild.transform(text, { minify: true })).code }
    },
    Vite: async () => {
      const built = await Vite.build({
        root: folder,
        configFile: false,
        logLevel: "silent",
        build: { write: false, minify: true, rolldownOptions: { input: entry, preserveEntrySignatures: "strict" } }
      })
      return chunks([built].flat().flatMap((result) => ("output" in result ? result.output : [])))
    }
  }
  const chunks = (
    output: ReadonlyArray<
      | { readonly type: "asset" }
      | {
          readonly type: "chunk"
          readonly code: string
          readonly modules: { readonly [id: string]: { readonly renderedLength: number } }
        }
    >
  ) => {
    const found = output.filter((file) => file.type === "chunk")
    return {
      text: found.map(({ code }) => code).join("\n"),
      files: found.flatMap(({ modules }) =>
        Object.entries(modules)
          .filter(([, { renderedLength }]) => renderedLength > 0)
          .map(([id]) => id)
      )
    }
  }
  return {
    bundle: async (bundler, code) => {
      writeFileSync(entry, (await Esbuild.transform(code, { loader: "ts" })).code)
      const { files, text } = await outputs[bundler]()
      const inside = `${installed}/`
      return {
        text,
        bytes: Buffer.byteLength(text),
        gzip: gzipSync(text).length,
        own: files.filter((file) => file.startsWith(inside)).map((file) => file.slice(inside.length)),
        others: files.filter((file) => !file.startsWith(inside) && file !== entry)
      }
    },
    dispose: () => rmSync(folder, { recursive: true, force: true })
  }
}
