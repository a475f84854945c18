/**
 * `node:crypto`, where the runtime has it (Node, Bun, Deno). It is found without an import, so that bundles for other
 * runtimes do not contain it. `tokenCrypto.ts` says when it is used.
 *
 * @internal
 */
export interface NodeCrypto {
  readonly hash: (algorithm: "sha256", data: Uint8Array | string, encoding: "base64url" | "latin1") => string
}

interface WithBuiltins {
  readonly process?: { readonly getBuiltinModule?: (id: string) => NodeCrypto | undefined }
}

export const nodeCrypto = (): NodeCrypto | undefined => {
  // The global object's type does not know `process` in portable code.
  const found = (globalThis as WithBuiltins).process?.getBuiltinModule?.("node:crypto")
  return typeof found?.hash === "function" ? found : undefined
}
