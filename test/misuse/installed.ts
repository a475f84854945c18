/** A folder of a user's, with the package as it is built and no driver of a store. */
import { spawnSync } from "node:child_process"
import { mkdirSync, mkdtempSync, symlinkSync, writeFileSync } from "node:fs"
import { tmpdir } from "node:os"
import { join } from "node:path"
import { buildInto } from "../support/built.ts"

const root = join(import.meta.dirname, "../..")

export const install = (): string => {
  const folder = mkdtempSync(join(tmpdir(), "effect-sessions-misuse-"))
  const modules = join(folder, "node_modules")
  mkdirSync(modules)
  for (const name of ["effect", "@effect", "@types"]) {
    symlinkSync(join(root, "node_modules", name), join(modules, name))
  }
  buildInto(join(modules, "effect-sessions"))
  writeFileSync(join(folder, "package.json"), JSON.stringify({ type: "module" }))
  return folder
}

/** What the compiler says of each file, without the place. */
export const check = (folder: string, files: Readonly<Record<string, string>>): ReadonlyMap<string, string> => {
  for (const [name, text] of Object.entries(files)) writeFileSync(join(folder, name), text)
  const options =
    "--ignoreConfig --noEmit --strict --exactOptionalPropertyTypes --skipLibCheck --module nodenext --target es2022 " +
    "--allowImportingTsExtensions --types node --pretty false"
  const { stdout } = spawnSync(
    process.execPath,
    [join(root, "node_modules/typescript/bin/tsc"), ...options.split(" "), ...Object.keys(files)],
    { cwd: folder, encoding: "utf8" }
  )
  const messages = new Map<string, string>()
  for (const message of stdout.split(/\n(?=\S)/)) {
    const [, name, said] = /^(.+?)\(\d+,\d+\): error TS\d+: (.*)$/s.exec(message.trimEnd()) ?? []
    // The first is the one to look at.
    if (name !== undefined && said !== undefined && !messages.has(name)) messages.set(name, said)
  }
  return messages
}
