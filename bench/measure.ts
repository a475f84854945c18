/**
 * How the cost of a request is measured: in short windows, between two readings of the server process's CPU time.
 */
import { closedLoop, connect, type Client, type Load, type Next } from "./client.ts"
import { startServer, type ServerProcess } from "./serverProcess.ts"
import { median } from "./stats.ts"
import { emptyStore } from "./stores.ts"
import { label, type Subject } from "./subjects.ts"

/** A server that is measured. */
export interface Measured {
  readonly subject: Subject
  readonly process: ServerProcess
}

export interface Sample extends Load {
  /** Microseconds of the server process. */
  readonly cpu: number
}

/** Requests before a window that are not counted: others had the core and its caches meanwhile. */
export const settling = 200

/** Loads the server and counts the CPU time it took meanwhile. */
export const sample = async (
  { process }: Measured,
  client: Client,
  next: Next,
  until: Parameters<typeof closedLoop>[2]
): Promise<Sample> => {
  const before = await process.ask("usage")
  const load = await closedLoop(client, next, until)
  const after = await process.ask("usage")
  return { ...load, cpu: after.cpu - before.cpu }
}

/** A window, after some requests to settle. */
export const measureWindow = async (
  server: Measured,
  client: Client,
  next: Next,
  milliseconds: number
): Promise<Sample> => {
  await closedLoop(client, next, { requests: Math.max(settling, 2 * client.connections.length) })
  return sample(server, client, next, { milliseconds })
}

export const perRequest = ({ cpu, requests }: Sample): number => cpu / requests
export const perSecond = ({ requests, seconds }: Sample): number => requests / seconds
export const busy = ({ cpu, seconds }: Sample): number => cpu / 1e6 / seconds

/** The median of windows: whatever disturbs the machine for less than half of them does not move it. */
export const medianOf = (samples: ReadonlyArray<Sample>, of: (sample: Sample) => number): number =>
  median(samples.map(of))

/** All windows together, disturbances and collections included. */
export const meanOf = (samples: ReadonlyArray<Sample>): number =>
  samples.reduce((sum, { cpu }) => sum + cpu, 0) / samples.reduce((sum, { requests }) => sum + requests, 0)

/** Connections to the server for as long as they are used: servers close idle ones after a while. */
export const withClient = async <A>(
  { process }: Measured,
  connections: number,
  use: (client: Client) => Promise<A>
): Promise<A> => {
  const client = await connect(process.port, connections)
  try {
    return await use(client)
  } finally {
    client.close()
  }
}

/** Says whose failure it is. */
export const labelled = async <A>(subject: Subject, action: () => Promise<A>): Promise<A> => {
  try {
    return await action()
  } catch (cause) {
    throw new Error(`${label(subject)}: ${cause instanceof Error ? cause.message : String(cause)}`, { cause })
  }
}

/** Starts the subjects, each in a process of its own on one core, and leaves nothing behind, in their stores either. */
export const withServers = async <A>(
  subjects: ReadonlyArray<Subject>,
  options: { readonly core: number; readonly env?: Record<string, string> },
  use: (servers: ReadonlyArray<Measured>) => Promise<A>
): Promise<A> => {
  const servers: Array<Measured> = []
  try {
    for (const subject of subjects) {
      servers.push({ subject, process: await labelled(subject, () => startServer(subject, options)) })
    }
    return await use(servers)
  } finally {
    for (const { process } of servers) await process.stop()
    for (const store of new Set(subjects.map(({ store }) => store))) await emptyStore(store)
  }
}

export const withServer = <A>(
  subject: Subject,
  options: { readonly core: number; readonly env?: Record<string, string> },
  use: (server: Measured) => Promise<A>
): Promise<A> => withServers([subject], options, ([server]) => labelled(subject, () => use(server!)))
