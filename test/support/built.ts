/** The package as it is published, from the sources as they are: for programs that import it by its name. */
import { spawnSync } from "node:child_process"
import { cpSync } from "node:fs"
import { join } from "node:path"

const root = join(import.meta.dirname, "../..")

/** Builds the package into a folder. Types are checked elsewhere. */
export const buildInto = (folder: string): void => {
  const tsc = join(root, "node_modules/typescript/bin/tsc")
  const { status, stdout, stderr } = spawnSync(
    process.execPath,
    [tsc, "-p", join(root, "src"), "--outDir", join(folder, "dist"), "--noCheck"],
    { encoding: "utf8" }
  )
  if (status !== 0) throw new Error(stdout + stderr)
  cpSync(join(root, "package.json"), join(folder, "package.json"))
}
