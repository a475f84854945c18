import { assert, describe, it, layer } from "@effect/vitest"
import * as Layer from "effect/Layer"
import * as Redacted from "effect/Redacted"
import type { SessionBackend } from "../src/SessionBackend.ts"
import * as NodeMysqlClient from "../src/NodeMysqlClient.ts"
import * as SessionBackendSql from "../src/SessionBackendSql.ts"
import * as SessionBackendTest from "../src/testing/SessionBackendTest.ts"
import { mysqlUrl } from "./support/mariadb.ts"

const suite = (name: string, backend: Layer.Layer<SessionBackend, unknown>) =>
  layer(backend, { excludeTestServices: true })(name, (it) => {
    for (const { effect, name } of [...SessionBackendTest.cases, ...SessionBackendTest.collectingCases]) {
      it.effect(name, () => effect)
    }
  })
suite("x", SessionBackendSql.layerWith({table: "my_try"}).pipe(Layer.provide(NodeMysqlClient.layer({ url: Redacted.make(mysqlUrl) }))))
