/**
 * Whether the security schemes an API declares are those of a frontend.
 *
 * @internal
 */
import type { HttpApiSecurity } from "effect/http-api/HttpApiSecurity"
import type { SessionFrontend } from "../../SessionFrontend.ts"

/** The schemes of a test's frontend, which stands for any other. */
export const any: ReadonlyArray<HttpApiSecurity> = []

const describe = (scheme: HttpApiSecurity): string => {
  switch (scheme._tag) {
    case "ApiKey":
      // Header names are compared in any case, cookie names are not.
      return `${scheme.in} ${JSON.stringify(scheme.in === "header" ? scheme.key.toLowerCase() : scheme.key)}`
    case "Http":
      return `Authorization: ${scheme.scheme.toLowerCase()}`
    case "Basic":
      return "Authorization: basic"
  }
}

export const problemsOf = (
  middleware: string,
  declared: Readonly<Record<string, HttpApiSecurity>>,
  definition: string,
  frontend: SessionFrontend["Service"]
): ReadonlyArray<string> => {
  if (frontend.security === any) return []
  const read = frontend.security.map(describe)
  return Object.entries(declared).flatMap(([name, scheme]) =>
    read.includes(describe(scheme))
      ? []
      : [
          `${middleware} declares the security scheme "${name}" (${describe(scheme)}), which the frontend of ` +
            `${definition} does not read: it reads ${read.join(", ") || "none"}; declare one of these, or give the ` +
            `definition a frontend that reads it`
        ]
  )
}
