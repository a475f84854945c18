/**
 * `node:crypto`, where the runtime has it (Node, Bun, Deno), found without an import so that bundles for other
 * runtimes stay free of it. Used as a faster way to the very result the crypto services give, never instead of them:
 * see `internal/token/tokenCrypto.ts`.
 *
 * @internal
 */
export interface NodeCrypto {
  readonly hash: (algorithm: "sha256", data: Uint8Array | string, encoding: "base64url" | "latin1") => string
}

interface WithBuiltins {
  readonly process?: { readonly getBuiltinModule?: (id: string) => NodeCrypto | undefined }
}

/** @internal */
export const nodeCrypto = (): NodeCrypto | undefined => {
  // The global object's type does not know `process` in portable code.
  const found = (globalThis as WithBuiltins).process?.getBuiltinModule?.("node:crypto")
  return typeof found?.hash === "function" ? found : undefined
}
