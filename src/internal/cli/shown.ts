/**
 * What the command shows of a session: as JSON, as a row, and in full.
 *
 * @internal
 */
import * as DateTime from "effect/DateTime"
import * as Duration from "effect/Duration"
import * as Option from "effect/Option"
import type { SessionInfo } from "../../Session.ts"
import type { Column } from "./table.ts"
import { json, pad, plain } from "./text.ts"

type Info = SessionInfo<unknown>

/** A session, and its data as JSON where these are asked for: `undefined` if they do not decode, or not encode. */
export interface Shown {
  readonly info: Info
  readonly data?: { readonly json: unknown }
}

const iso = (time: DateTime.Utc): string => DateTime.formatIso(time)

/** To the second, for people. */
const seconds = (time: DateTime.Utc): string => iso(time).replace(/\.\d+Z$/, "Z")

const unknown = "—"

const text = (value: string | undefined): string => (value === undefined || value === "" ? unknown : plain(value))

const dataText = ({ data }: Shown): string => (data?.json === undefined ? unknown : json(data.json))

const clientText = ({ address, label, userAgent }: Info["client"]): string => {
  const name = label ?? userAgent
  return text([name, address === undefined || name === undefined ? address : `(${address})`].filter(Boolean).join(" "))
}

export const toJson = ({ data, info }: Shown): string =>
  json({
    id: info.id,
    principal: Option.getOrNull(info.principal),
    createdAt: iso(info.createdAt),
    authenticatedAt: iso(info.authenticatedAt),
    factors: info.factors.map(({ at, method }) => ({ method, at: iso(at) })),
    lastSeenAt: iso(info.lastSeenAt),
    expiresAt: iso(info.expiresAt),
    absoluteExpiresAt: iso(info.absoluteExpiresAt),
    idleTimeout: Duration.toMillis(info.idleTimeout) / 1000,
    persistent: info.persistent,
    client: {
      label: info.client.label ?? null,
      address: info.client.address ?? null,
      userAgent: info.client.userAgent ?? null
    },
    version: info.version,
    ...(data === undefined ? {} : { data: data.json ?? null })
  })

export const columns = (withData: boolean): ReadonlyArray<Column<Shown>> => [
  { title: "ID", cell: ({ info }) => info.id },
  { title: "PRINCIPAL", cell: ({ info }) => text(Option.getOrUndefined(info.principal)), least: 9 },
  { title: "CREATED", cell: ({ info }) => seconds(info.createdAt), rank: 4 },
  { title: "LAST SEEN", cell: ({ info }) => seconds(info.lastSeenAt), rank: 1 },
  { title: "EXPIRES", cell: ({ info }) => seconds(info.expiresAt), rank: 3 },
  { title: "CLIENT", cell: ({ info }) => clientText(info.client), rank: 2, least: 12 },
  ...(withData ? [{ title: "DATA", cell: dataText, least: 12 }] : [])
]

/** A line for each thing that is known of a session. */
export const inFull = (shown: Shown): ReadonlyArray<string> => {
  const { client, factors, ...info } = shown.info
  const rows: ReadonlyArray<readonly [string, string]> = [
    ["id", info.id],
    ["principal", text(Option.getOrUndefined(info.principal))],
    ["created", seconds(info.createdAt)],
    ["authenticated", seconds(info.authenticatedAt)],
    ["factors", text(factors.map(({ at, method }) => `${method} ${seconds(at)}`).join(", "))],
    ["last seen", seconds(info.lastSeenAt)],
    ["expires", seconds(info.expiresAt)],
    ["expires at the latest", seconds(info.absoluteExpiresAt)],
    ["idle timeout", Duration.format(info.idleTimeout)],
    ["cookie", info.persistent ? "kept when the browser is closed" : "until the browser is closed"],
    ["label", text(client.label)],
    ["address", text(client.address)],
    ["user agent", text(client.userAgent)],
    ["version", String(info.version)],
    ...(shown.data === undefined ? [] : [["data", dataText(shown)] as const])
  ]
  return rows.map(([name, value]) => `${pad(name, 22)} ${value}`)
}
