/**
 * Which texts can be origins to trust: written as browsers and app shells send them in `Origin`.
 *
 * @internal
 */

/** Pages of these have no origin of their own: browsers send "null". */
const opaque = new Set(["about:", "blob:", "data:", "file:", "javascript:"])

/** Of a scheme that URLs know nothing of: `capacitor://localhost`, `app://.`, `chrome-extension://<id>`. */
const appOrigin = /^[a-z][a-z\d+.-]*:\/\/[\w.~-]+(:\d{1,5})?$/i

const isOrigin = (text: string): boolean => {
  if (!URL.canParse(text) || text.includes("*")) return false
  const { origin, protocol } = new URL(text)
  return protocol === "https:" || protocol === "http:"
    ? origin === text.toLowerCase()
    : origin === "null" && !opaque.has(protocol) && appOrigin.test(text)
}

/**
 * What is wrong with a trusted origin.
 *
 * @internal
 */
export const originProblem = (text: string): ReadonlyArray<string> =>
  isOrigin(text)
    ? []
    : [
        // What stands before an @ may be a password.
        `trusted origin ${JSON.stringify(text.replace(/[^/]*@/, "…@").slice(0, 128))} must be an origin as browsers send it, ` +
          `such as "https://app.example.com" or "capacitor://localhost": scheme, host, and port unless it is the ` +
          `scheme's own, with no path, no user and no wildcard`
      ]
