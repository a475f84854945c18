/** Stores that cannot be opened, as the driver says it: each row is a client's layer, over a real server. */
import { NodeRedis } from "@effect/platform-node"
import { PgClient } from "@effect/sql-pg"
import { Layer, Redacted } from "effect"
import { SessionBackendSql } from "effect-sessions"
import * as NodeMysqlClient from "effect-sessions/NodeMysqlClient"
import type { Row } from "./row.ts"

/** The servers, and one port on which none listens. */
export interface Servers {
  readonly postgres: URL
  readonly mysql: URL
  /** It asks for a password. */
  readonly redis: URL
  readonly closed: number
}

export interface Store extends Row {
  readonly layer: (servers: Servers) => Layer.Layer<never, unknown>
}

/** In every url below, and to be seen nowhere. */
export const password = "hunter2-secret"

const changed = (
  url: URL,
  changes: Partial<Pick<URL, "host" | "password" | "pathname" | "username">>
): Redacted.Redacted => {
  const other = new URL(url)
  Object.assign(other, { password }, changes)
  return Redacted.make(other.href)
}

/** Clients connect when they are asked. */
const table = SessionBackendSql.layerWith({ table: "misuse" })
const postgres = (changes: Parameters<typeof changed>[1]) => (servers: Servers) =>
  table.pipe(Layer.provide(PgClient.layer({ url: changed(servers.postgres, changes) })))
const mysql = (changes: Parameters<typeof changed>[1]) => (servers: Servers) =>
  table.pipe(Layer.provide(NodeMysqlClient.layer({ url: changed(servers.mysql, changes) })))
const redis = (url: string) => NodeRedis.layer({ url })

/** A user who may log in, and make nothing. */
export const reader = "misuse_reader"

export const stores: ReadonlyArray<Store> = [
  {
    did: "Redis: nothing listens there",
    layer: ({ closed }) => redis(`redis://:${password}@127.0.0.1:${closed}`),
    sees: "Error: connect ECONNREFUSED 127.0.0.1:CLOSED",
    change:
      "start it, or set the address. With the client settings of `SessionBackendRedis` the app waits for it, and says this each time it tries"
  },
  {
    did: "Redis: a wrong host name",
    layer: () => redis(`redis://:${password}@no-such-host.invalid:6379`),
    sees: "Error: getaddrinfo ENOTFOUND no-such-host.invalid",
    change: "set the address"
  },
  {
    did: "Redis: a wrong password",
    layer: ({ redis: { port } }) => redis(`redis://:${password}@127.0.0.1:${port}`),
    sees: "Error: WRONGPASS invalid username-password pair or user is disabled.",
    change: "set the password in the url, `redis://:password@host:6379`"
  },
  {
    did: "Redis: no password, where one is asked for",
    layer: ({ redis: { port } }) => redis(`redis://127.0.0.1:${port}`),
    sees:
      "Error: NOAUTH HELLO must be called with the client already authenticated, otherwise the HELLO AUTH <user> <pass> " +
      "option can be used to authenticate the client and select the RESP protocol version at the same time",
    change: "set the password in the url, `redis://:password@host:6379`"
  },
  {
    did: "Redis: an address that is no URL, `127.0.0.1:6379`",
    layer: () => redis("127.0.0.1:6379"),
    sees: "TypeError: Invalid URL",
    change: "`redis://127.0.0.1:6379`"
  },
  {
    did: "Postgres: nothing listens there",
    layer: (servers) => postgres({ host: `127.0.0.1:${servers.closed}` })(servers),
    sees: "Error: connect ECONNREFUSED 127.0.0.1:CLOSED",
    change: "start it, or set the address"
  },
  {
    did: "Postgres: a wrong host name",
    layer: postgres({ host: "no-such-host.invalid:5432" }),
    sees: "Error: getaddrinfo ENOTFOUND no-such-host.invalid",
    change: "set the address"
  },
  {
    did: "Postgres: no such user",
    layer: postgres({ username: "no_such_user" }),
    sees: `Error: role "no_such_user" does not exist`,
    change: "`CREATE ROLE`, or set the user"
  },
  {
    did: "Postgres: no such database",
    layer: postgres({ pathname: "/no_such_database" }),
    sees: `Error: database "no_such_database" does not exist`,
    change: "`CREATE DATABASE`, or set the name"
  },
  {
    did: "Postgres: no right to make the table",
    layer: postgres({ username: reader }),
    sees: "Error: permission denied for schema public",
    change: "make it with another user, and give the app `layerStorage`: [the schema](sql-schema.md)"
  },
  {
    did: "MariaDB or MySQL: nothing listens there",
    layer: (servers) => mysql({ host: `127.0.0.1:${servers.closed}` })(servers),
    sees: "Error: connect ECONNREFUSED 127.0.0.1:CLOSED",
    change: "start it, or set the address"
  },
  {
    did: "MariaDB or MySQL: a wrong password",
    layer: mysql({}),
    sees: "Error: Access denied for user 'root'@'127.0.0.1' (using password: YES)",
    change: "set user and password"
  },
  {
    did: "MariaDB or MySQL: no such database",
    layer: (servers) => mysql({ pathname: "/no_such_database", password: servers.mysql.password })(servers),
    sees: "Error: Unknown database 'no_such_database'",
    change: "`CREATE DATABASE`, or set the name"
  },
  {
    did: "MariaDB or MySQL: a url of another scheme",
    layer: () => NodeMysqlClient.layer({ url: Redacted.make(`http://root:${password}@127.0.0.1/test`) }),
    sees: "Error: the url has to begin with mysql:// or mariadb://"
  }
]
