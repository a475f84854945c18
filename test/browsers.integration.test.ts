/** The scenarios of docs/browsers.md in Chromium. `npm run test:browsers` runs them in Firefox too. */
import { assert, it } from "@effect/vitest"
import { spawnSync } from "node:child_process"
import { readFileSync } from "node:fs"
import { placesIn } from "./browsers/report.ts"
import { runIn } from "./browsers/scenario.ts"
import { scenarios } from "./browsers/scenarios.ts"
import { hosts } from "./browsers/sites.ts"
import { has } from "./support/browsers.ts"
import { makeCertificate } from "./support/certificate.ts"
import { needing } from "./support/processes.ts"

const hasOpenssl = spawnSync("openssl", ["version"]).status === 0

needing(has("Chromium") && hasOpenssl, "there is no chromium or no openssl on the PATH to start")("in Chromium", () => {
  const certificate = hasOpenssl ? makeCertificate(hosts) : undefined
  for (const scenario of scenarios) {
    it(scenario.title, { timeout: 120_000 }, async () => {
      const { seen, version } = await runIn("Chromium", certificate!, scenario)
      assert.match(version, /^Chromium \d+$/)
      assert.isNotEmpty(seen)
    })
  }
})

it("each scenario has a place in docs/browsers.md, and the short table one in docs/proxies.md", () => {
  const places = (file: string) => placesIn(readFileSync(new URL(`../${file}`, import.meta.url), "utf8"))
  assert.deepStrictEqual(places("docs/browsers.md"), ["date", ...scenarios.map(({ key }) => key)])
  assert.deepStrictEqual(places("docs/proxies.md"), ["local in short"])
})
