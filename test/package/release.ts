/**
 * `npm run release:check`: what is missing for the tag of this run to be published. The variables are those of GitHub
 * Actions.
 */
import { readFileSync } from "node:fs"
import { join } from "node:path"

export interface Release {
  readonly manifest: { readonly version: string; readonly repository?: { readonly url: string } | undefined }
  readonly changelog: string
  readonly security: string
  /** As `v0.1.0`. */
  readonly tag: string | undefined
  /** As `owner/name`. */
  readonly repository: string | undefined
}

/** An address, of a mailbox or of a page, in the part of SECURITY.md that says how to report. */
const address = /^## How to report\n(?:(?!^## )[^])*?(?:[\w.+-]+@[\w-]+\.\w|https:\/\/)/m

export const missing = ({ changelog, manifest, repository, security, tag }: Release): ReadonlyArray<string> => {
  const { version } = manifest
  const url = manifest.repository?.url
  const escaped = version.replaceAll(".", "\\.")
  return [
    ...(tag === `v${version}` ? [] : [`the tag is ${tag}, the version of package.json ${version}`]),
    ...(new RegExp(`^## ${escaped} - \\d{4}-\\d\\d-\\d\\d$`, "m").test(changelog)
      ? []
      : [`CHANGELOG.md has no heading "## ${version} - YYYY-MM-DD"`]),
    // npm compares it with the repository of the identity, and refuses the provenance of another.
    ...(url === undefined
      ? ["package.json has no repository"]
      : url === `git+https://github.com/${repository}.git`
        ? []
        : [`the repository of package.json is ${url}, this run is of ${repository}`]),
    ...(address.test(security) ? [] : ["SECURITY.md names no address to report to"])
  ]
}

if (import.meta.main) {
  const read = (file: string): string => readFileSync(join(import.meta.dirname, "../..", file), "utf8")
  const problems = missing({
    manifest: JSON.parse(read("package.json")),
    changelog: read("CHANGELOG.md"),
    security: read("SECURITY.md"),
    tag: process.env["GITHUB_REF_NAME"],
    repository: process.env["GITHUB_REPOSITORY"]
  })
  for (const problem of problems) console.error(problem)
  process.exitCode = problems.length === 0 ? 0 : 1
}
