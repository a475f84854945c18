/**
 * Checks the origins to trust: they are written as browsers and app shells send them in `Origin`.
 *
 * @internal
 */

/** Pages with one of these schemes have no origin: browsers send "null". */
const opaque = new Set(["about:", "blob:", "data:", "file:", "javascript:"])

/** An origin whose scheme `URL` does not know: `capacitor://localhost`, `app://.`, `chrome-extension://<id>`. */
const appOrigin = /^[a-z][a-z\d+.-]*:\/\/[\w.~-]+(:\d{1,5})?$/i

const isOrigin = (text: string): boolean => {
  if (!URL.canParse(text) || text.includes("*")) return false
  const { origin, protocol } = new URL(text)
  return protocol === "https:" || protocol === "http:"
    ? origin === text.toLowerCase()
    : origin === "null" && !opaque.has(protocol) && appOrigin.test(text)
}

/** What is wrong with a trusted origin. */
export const originProblem = (text: string): ReadonlyArray<string> =>
  isOrigin(text)
    ? []
    : [
        // The text before an @ may be a password.
        `trusted origin ${JSON.stringify(text.replace(/[^/]*@/, "…@").slice(0, 128))} must be an origin as browsers send it, ` +
          `such as "https://app.example.com" or "capacitor://localhost": scheme, host, and port unless it is the ` +
          `scheme's own, with no path, no user and no wildcard`
      ]
