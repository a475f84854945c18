/** Where this code runs: the same words as `Runtime` has them. */
export const here = (): string => {
  const { Deno } = globalThis as { readonly Deno?: { readonly version: { readonly deno: string } } }
  if (Deno !== undefined) return `Deno ${Deno.version.deno}`
  const { bun, node } = process.versions
  return bun === undefined ? `Node ${node}` : `Bun ${bun}`
}
