/** Browsers of a test's own, each with a new profile and its own defaults, driven by puppeteer-core. */
import { spawnSync } from "node:child_process"
import { mkdtempSync, rmSync, writeFileSync } from "node:fs"
import { tmpdir } from "node:os"
import { join } from "node:path"
import { setTimeout as pause } from "node:timers/promises"
import { type Browser, connect } from "puppeteer-core"
import { type Certificate } from "./certificate.ts"
import { ended, start } from "./processes.ts"

export type BrowserName = "Chromium" | "Firefox"

/** Where a name is resolved to this machine, and whose certificate is believed. */
export interface BrowserOptions {
  readonly hosts?: ReadonlyArray<string> | undefined
  readonly certificate?: Certificate | undefined
}

const commands: Record<BrowserName, ReadonlyArray<string>> = {
  Chromium: ["chromium", "chromium-browser", "google-chrome"],
  Firefox: ["firefox-esr", "firefox"]
}

const found = new Map<BrowserName, string | undefined>()

const commandOf = (name: BrowserName): string | undefined => {
  if (!found.has(name)) {
    found.set(
      name,
      commands[name].find((command) => spawnSync(command, ["--version"]).status === 0)
    )
  }
  return found.get(name)
}

export const has = (name: BrowserName): boolean => commandOf(name) !== undefined

const chromiumArguments = (profile: string, { certificate, hosts = [] }: BrowserOptions): ReadonlyArray<string> => [
  "--headless=new",
  "--no-sandbox",
  "--disable-gpu",
  "--no-first-run",
  // It asks for nothing by itself, and a machine may have no network.
  "--disable-background-networking",
  "--disable-component-update",
  "--disable-sync",
  "--disable-quic",
  `--user-data-dir=${profile}`,
  ...(hosts.length === 0 ? [] : [`--host-resolver-rules=${hosts.map((host) => `MAP ${host} 127.0.0.1`).join(",")}`]),
  // Believed without an error, with which nothing would be cached or fetched ahead.
  ...(certificate === undefined ? [] : [`--ignore-certificate-errors-spki-list=${certificate.publicKeyHash}`]),
  "--remote-debugging-port=0",
  "about:blank"
]

const firefoxArguments = (profile: string, { hosts = [] }: BrowserOptions): ReadonlyArray<string> => {
  const preferences = {
    // Those that a remote control recommends change what cookies do.
    "remote.prefs.recommended": false,
    "network.dns.localDomains": hosts.join(","),
    // It asks for nothing by itself, and a machine may have no network.
    "app.normandy.enabled": false,
    "app.update.disabledForTesting": true,
    "browser.safebrowsing.downloads.enabled": false,
    "browser.safebrowsing.malware.enabled": false,
    "browser.safebrowsing.phishing.enabled": false,
    "browser.shell.checkDefaultBrowser": false,
    "browser.startup.page": 0,
    "datareporting.policy.dataSubmissionEnabled": false,
    "network.captive-portal-service.enabled": false,
    "network.connectivity-service.enabled": false,
    "services.settings.server": "data:,#nothing/v1",
    "toolkit.telemetry.enabled": false
  }
  const lines = Object.entries(preferences).map(([name, value]) => `user_pref("${name}", ${JSON.stringify(value)});\n`)
  writeFileSync(join(profile, "user.js"), lines.join(""))
  return ["--headless", "--no-remote", "--profile", profile, "--remote-debugging-port=0", "about:blank"]
}

/** A browser that runs until it is disposed of. */
export interface Running extends AsyncDisposable {
  readonly browser: Browser
  /** `Chromium 156`. */
  readonly version: string
}

export const launch = async (name: BrowserName, options: BrowserOptions = {}): Promise<Running> => {
  const command = commandOf(name)
  if (command === undefined) throw new Error(`there is no ${commands[name].join(" or ")} on the PATH`)
  const isFirefox = name === "Firefox"
  const profile = mkdtempSync(join(tmpdir(), "browser-"))
  const child = start(command, (isFirefox ? firefoxArguments : chromiumArguments)(profile, options), {
    env: { ...process.env, HOME: profile },
    isHeard: true
  })
  const dispose = async () => {
    child.kill("SIGKILL")
    await ended(child)
    rmSync(profile, { recursive: true, force: true, maxRetries: 5 })
  }
  try {
    const address = await new Promise<string>((resolve, reject) => {
      let said = ""
      child.stderr!.on("data", (chunk: Buffer) => {
        said += chunk.toString()
        const [, found] = /(?:DevTools|WebDriver BiDi) listening on (ws:\S+)/.exec(said) ?? []
        if (found !== undefined) resolve(found)
      })
      child.once("error", reject).once("exit", () => reject(new Error(`${name} ended: ${said}`)))
    })
    const browser = await connect({
      browserWSEndpoint: isFirefox ? `${address}/session` : address,
      protocol: isFirefox ? "webDriverBiDi" : "cdp",
      acceptInsecureCerts: isFirefox && options.certificate !== undefined,
      // A window has the size it has.
      defaultViewport: null
    })
    const [, version] = /(\d+)[.\d]*/.exec(await browser.version()) ?? []
    return {
      browser,
      version: `${name} ${version}`,
      // Asked to end, it ends its other processes too, which would still write into the profile.
      [Symbol.asyncDispose]: async () => {
        await Promise.race([
          Promise.all([browser.close(), ended(child)]).catch(() => undefined),
          pause(10_000, undefined, { ref: false })
        ])
        await dispose()
      }
    }
  } catch (error) {
    await dispose()
    throw error
  }
}
