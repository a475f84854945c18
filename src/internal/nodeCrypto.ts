/**
 * `node:crypto`, where the runtime has it (Node, Bun, Deno), found without an import so that bundles for other
 * runtimes stay free of it. Used as a faster way to the very result the crypto services give, never instead of them:
 * see `internal/tokenCrypto.ts`.
 *
 * @internal
 */
export interface NodeCrypto {
  readonly createSecretKey: (key: Uint8Array) => unknown
  readonly createHmac: (
    algorithm: "sha256",
    key: unknown
  ) => {
    readonly update: (data: string) => { readonly digest: (encoding: "base64url") => string }
  }
  readonly hash: (algorithm: "sha256", data: string, encoding: "base64url") => string
}

interface WithBuiltins {
  readonly process?: { readonly getBuiltinModule?: (id: string) => NodeCrypto | undefined }
}

/** @internal */
export const nodeCrypto = (): NodeCrypto | undefined => {
  // The global object's type does not know `process` in portable code.
  const found = (globalThis as WithBuiltins).process?.getBuiltinModule?.("node:crypto")
  return typeof found?.hash === "function" && typeof found.createSecretKey === "function" ? found : undefined
}
