/** A certificate for a test's own https servers, made when it is needed. */
import { spawnSync } from "node:child_process"
import { createHash, X509Certificate } from "node:crypto"
import { mkdtempSync, readFileSync, rmSync } from "node:fs"
import { tmpdir } from "node:os"
import { join } from "node:path"

export interface Certificate {
  readonly key: string
  readonly cert: string
  /** SHA-256 of its public key, base64. */
  readonly publicKeyHash: string
}

export const makeCertificate = (hosts: ReadonlyArray<string>): Certificate => {
  const folder = mkdtempSync(join(tmpdir(), "certificate-"))
  try {
    const file = (name: string) => join(folder, name)
    const names = hosts.map((host) => `DNS:${host}`).join(",")
    const { error, status, stderr } = spawnSync(
      "openssl",
      (
        "req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -days 2 -subj /CN=test " +
        `-addext subjectAltName=${names} -keyout ${file("key")} -out ${file("cert")}`
      ).split(" "),
      { encoding: "utf8" }
    )
    if (status !== 0) throw new Error(`openssl: ${error?.message ?? stderr}`)
    const cert = readFileSync(file("cert"), "utf8")
    const publicKey = new X509Certificate(cert).publicKey.export({ type: "spki", format: "der" })
    return {
      key: readFileSync(file("key"), "utf8"),
      cert,
      publicKeyHash: createHash("sha256").update(publicKey).digest("base64")
    }
  } finally {
    rmSync(folder, { recursive: true, force: true })
  }
}
