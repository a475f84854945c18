/** nginx, HAProxy and Caddy as docs/proxies.md configures them, before a server of a test's own, and what asks through them. */
import { spawnSync } from "node:child_process"
import { readFileSync, writeFileSync } from "node:fs"
import * as Http2 from "node:http2"
import * as Https from "node:https"
import { join } from "node:path"
import type { Readable } from "node:stream"
import * as Tls from "node:tls"
import type { Certificate } from "./certificate.ts"
import { ended, freePort, hasEnded, listens, start, until } from "./processes.ts"
import { ownFolder, removeFolder } from "./redisNodes.ts"

export const proxyNames = ["nginx", "HAProxy", "Caddy"] as const
export type ProxyName = (typeof proxyNames)[number]

const versions: Record<ProxyName, readonly [string, string]> = {
  nginx: ["nginx", "-v"],
  HAProxy: ["haproxy", "-v"],
  Caddy: ["caddy", "version"]
}

export const hasProxy = (name: ProxyName): boolean => {
  const [command, option] = versions[name]
  return spawnSync(command, [option]).status === 0
}

/** The name that users type; the test's clients know where it is. */
export const host = "app.test"

const guide = readFileSync(join(import.meta.dirname, "../../docs/proxies.md"), "utf8")

/** Replaces what has to be there. */
export const replace = (text: string, what: string, by: string): string => {
  if (!text.includes(what)) throw new Error(`the documented configuration has no ${what}`)
  return text.replaceAll(what, by)
}

interface Place {
  readonly port: number
  readonly folder: string
  /** `127.0.0.1:1234` */
  readonly upstreams: ReadonlyArray<string>
}

/** The documented configuration, with a test's own addresses and files in the place of those there, and what surrounds it. */
const configurations: Record<
  ProxyName,
  { readonly fence: string; readonly of: (documented: string, place: Place) => string }
> = {
  nginx: {
    fence: "nginx",
    of: (documented, { folder, port, upstreams }) => {
      const kept = ["client_body", "proxy", "fastcgi", "uwsgi", "scgi"].map((of) => `${of}_temp_path ${folder}/${of};`)
      const servers = upstreams.map((address) => `server ${address};`)
      const server = replace(replace(documented, "listen 443", `listen 127.0.0.1:${port}`), "127.0.0.1:3000", "app")
      return [
        "daemon off; master_process off; pid nginx.pid; error_log stderr; events {}",
        `http { access_log off; ${kept.join(" ")} upstream app { ${servers.join(" ")} }`,
        replace(server, "/etc/ssl", folder),
        "}"
      ].join("\n")
    }
  },
  HAProxy: {
    fence: "haproxy",
    of: (documented, { folder, port, upstreams }) => {
      const servers = upstreams.map((address, i) => `server app${i} ${address}`)
      const bound = replace(replace(documented, "bind :443", `bind 127.0.0.1:${port}`), "/etc/ssl", folder)
      return replace(bound, "server app 127.0.0.1:3000", servers.join("\n  "))
    }
  },
  Caddy: {
    fence: "caddy",
    of: (documented, { folder, port, upstreams }) => {
      const site = replace(
        documented,
        `${host} {`,
        `${host}:${port} {\n  bind 127.0.0.1\n  tls ${folder}/${host}.crt ${folder}/${host}.key`
      )
      return `{\n  admin off\n  auto_https disable_redirects\n}\n${replace(site, "127.0.0.1:3000", upstreams.join(" "))}`
    }
  }
}

const configuration = (name: ProxyName, place: Place): string => {
  const { fence, of } = configurations[name]
  const documented = new RegExp(`^\`\`\`${fence}\n([^]*?)^\`\`\`$`, "m").exec(guide)?.[1]
  if (documented === undefined) throw new Error(`docs/proxies.md has no configuration of ${name}`)
  return of(replace(documented, "app.example.com", host), place)
}

const commandOf: Record<ProxyName, (folder: string, file: string) => readonly [string, ...ReadonlyArray<string>]> = {
  nginx: (folder, file) => ["nginx", "-p", folder, "-e", "stderr", "-c", file],
  HAProxy: (_, file) => ["haproxy", "-db", "-f", file],
  Caddy: (_, file) => ["caddy", "run", "--adapter", "caddyfile", "--config", file]
}

export interface ReverseProxy {
  readonly port: number
  /** As a browser sends it. */
  readonly origin: string
  readonly dispose: () => Promise<void>
}

/** Starts a proxy before servers on these ports; `edit` changes the documented configuration first. */
export const startReverseProxy = async (
  name: ProxyName,
  certificate: Certificate,
  upstreams: ReadonlyArray<number>,
  edit: (configuration: string) => string = (same) => same
): Promise<ReverseProxy> => {
  const folder = ownFolder(name)
  const port = await freePort()
  const write = (file: string, text: string) => writeFileSync(join(folder, `${host}.${file}`), text)
  write("crt", certificate.cert)
  write("key", certificate.key)
  write("pem", certificate.cert + certificate.key)
  const file = join(folder, "configuration")
  const addresses = upstreams.map((upstream) => `127.0.0.1:${upstream}`)
  writeFileSync(file, edit(configuration(name, { port, folder, upstreams: addresses })))
  const [command, ...options] = commandOf[name](folder, file)
  const env = { ...process.env, HOME: folder, XDG_DATA_HOME: folder, XDG_CONFIG_HOME: folder }
  const child = start(command, options, { env, cwd: folder, isHeard: true })
  let said = ""
  for (const output of [child.stdout!, child.stderr!]) output.on("data", (chunk) => (said += chunk))
  await until(() => {
    if (hasEnded(child)) throw new Error(`${name} ended: ${said}`)
    return listens(`tcp://127.0.0.1:${port}`, port)
  }, `${name} listens`)
  return {
    port,
    origin: `https://${host}:${port}`,
    dispose: async () => {
      child.kill("SIGKILL")
      await ended(child)
      removeFolder(folder)
    }
  }
}

// -----------------------------------------------------------------------------
// Clients
// -----------------------------------------------------------------------------

export const protocols = ["HTTP/1.1", "HTTP/2"] as const
export type Protocol = (typeof protocols)[number]

export interface Asked {
  readonly method?: string
  readonly headers?: Readonly<Record<string, string | ReadonlyArray<string>>>
  /** The address it comes from. */
  readonly from?: string
}

export interface Answer {
  readonly status: number
  readonly headers: Readonly<Record<string, string | ReadonlyArray<string> | undefined>>
  readonly body: Readable
}

export type Ask = (protocol: Protocol, path: string, asked?: Asked) => Promise<Answer>

/** Asks a proxy over a connection of its own, believing this certificate. */
export const asking =
  (port: number, { cert }: Certificate): Ask =>
  (protocol, path, { from = "127.0.0.1", headers = {}, method = "GET" } = {}) =>
    new Promise((resolve, reject) => {
      const place = { host: "127.0.0.1", port, servername: host, ca: cert, localAddress: from }
      if (protocol === "HTTP/1.1") {
        // Fields of one name are for HTTP/2 alone.
        const sent = { host: `${host}:${port}`, ...headers } as Https.RequestOptions["headers"] & object
        Https.request({ ...place, method, path, agent: false, headers: sent })
          .on("response", (response) =>
            resolve({ status: response.statusCode!, headers: response.headers, body: response })
          )
          .on("upgrade", (response, socket) => {
            socket.destroy()
            resolve({ status: response.statusCode!, headers: response.headers, body: response })
          })
          .on("error", reject)
          .end()
        return
      }
      const session = Http2.connect(`https://${host}:${port}`, {
        createConnection: () => Tls.connect({ ...place, ALPNProtocols: ["h2"] })
      }).on("error", reject)
      const stream = session.request({ ":method": method, ":path": path, ...headers } as Http2.OutgoingHttpHeaders)
      stream
        .on("response", (answered) => resolve({ status: answered[":status"]!, headers: answered, body: stream }))
        .on("error", reject)
        .on("close", () => session.close())
        .end()
    })

export const textOf = async ({ body }: Answer): Promise<string> => {
  let text = ""
  for await (const chunk of body) text += chunk
  return text
}
