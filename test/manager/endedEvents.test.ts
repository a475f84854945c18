/** What is told of sessions that end: the table of all ways, on memory and SQLite. */
import { layer } from "@effect/vitest"
import * as NodeSqliteClient from "../../src/NodeSqliteClient.ts"
import { rows } from "../support/endings.ts"
import { backendOver } from "../support/sqlBackend.ts"
import * as Stack from "../support/stack.ts"

const stores = {
  "in memory": Stack.layerMemory(),
  "on SQLite": backendOver(NodeSqliteClient.layer({ filename: ":memory:" }))
}
for (const [name, store] of Object.entries(stores)) {
  layer(store, { excludeTestServices: true })(`endings ${name}`, (it) => {
    for (const [title, effect] of rows("test/endings", { sweeping: true })) it.effect(title, () => effect)
  })
}
