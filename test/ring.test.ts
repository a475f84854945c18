/** The rings by which the memory backend links the sessions of a principal. */
import { assert, describe, it } from "@effect/vitest"
import * as Ring from "../src/internal/backend/ring.ts"

class Item {
  readonly name: string
  older: this = this
  newer: this = this

  constructor(name: string) {
    this.name = name
  }
}

/** Each order in which items can be removed. */
const orders = (items: ReadonlyArray<Item>): ReadonlyArray<ReadonlyArray<Item>> =>
  items.length === 0
    ? [[]]
    : items.flatMap((item) => orders(items.filter((other) => other !== item)).map((rest) => [item].concat(rest)))

describe("Ring", () => {
  it("holds its items in the order in which they came, whichever are removed", () => {
    for (let size = 0; size <= 4; size++) {
      const count = orders(Array.from({ length: size }, () => new Item(""))).length
      for (let n = 0; n < count; n++) {
        const items = Array.from({ length: size }, (_, i) => new Item(String(i)))
        let newest: Item | undefined
        for (const item of items) {
          Ring.add(newest, item)
          newest = item
        }
        let left = items
        for (const removed of orders(items)[n]!) {
          assert.deepStrictEqual(Ring.toArray(newest), left.toReversed())
          assert.strictEqual(newest?.newer, left[0])
          for (const item of left) assert.strictEqual(item.older.newer, item)
          newest = Ring.remove(newest, removed)
          left = left.filter((item) => item !== removed)
        }
        assert.isUndefined(newest)
      }
    }
  })
})
