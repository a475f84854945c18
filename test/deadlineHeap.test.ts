/** The heap of deadlines of the memory backend, beside a list that is sorted anew each time. */
import { assert, describe, it } from "@effect/vitest"
import { DeadlineHeap, nowhere, type Scheduled } from "../src/internal/backend/deadlineHeap.ts"

interface Item extends Scheduled {
  readonly name: number
}

/** Numbers from 0 to below `bound`, the same in each run. */
const numbers = (seed: number) => (bound: number) => {
  seed = (Math.imul(seed, 1_664_525) + 1_013_904_223) >>> 0
  return Math.floor((seed / 2 ** 32) * bound)
}

/** Takes all items out, the first first. */
const drained = (heap: DeadlineHeap<Item>): ReadonlyArray<readonly [name: number, deadline: number]> => {
  const found: Array<readonly [number, number]> = []
  for (let { first } = heap; first !== undefined; first = heap.first) {
    assert.strictEqual(heap.deadlineOf(first), heap.earliest)
    found.push([first.name, heap.earliest])
    heap.remove(first)
  }
  return found
}

describe("DeadlineHeap", () => {
  it("of nothing has no first, and no deadline before the end of time", () => {
    const heap = new DeadlineHeap<Item>()
    assert.isUndefined(heap.first)
    assert.strictEqual(heap.earliest, Infinity)
  })

  it("of one item is empty once that is removed, and takes it again", () => {
    const heap = new DeadlineHeap<Item>()
    const item = { name: 1, place: nowhere }
    heap.schedule(item, 5)
    heap.schedule(item, 7)
    assert.strictEqual(heap.first, item)
    assert.strictEqual(heap.earliest, 7)
    heap.remove(item)
    assert.strictEqual(item.place, nowhere)
    assert.isUndefined(heap.first)
    assert.strictEqual(heap.earliest, Infinity)
    heap.schedule(item, 3)
    assert.deepStrictEqual(drained(heap), [[1, 3]])
  })

  for (const range of [5, 50, 1e13]) {
    it(`has the earliest first, whatever was put in, moved and removed, of ${range} deadlines`, () => {
      for (let seed = 1; seed <= 40; seed++) {
        const number = numbers(seed)
        const heap = new DeadlineHeap<Item>()
        const model = new Map<Item, number>()
        for (let step = 0; step < 300; step++) {
          const items = [...model.keys()]
          const any = items[number(items.length)]
          const deadline = number(range)
          switch (any === undefined ? 0 : number(4)) {
            case 0:
            case 1: {
              const item = { name: step, place: nowhere }
              heap.schedule(item, deadline)
              model.set(item, deadline)
              break
            }
            case 2:
              heap.schedule(any!, deadline)
              model.set(any!, deadline)
              break
            default:
              heap.remove(any!)
              model.delete(any!)
              assert.strictEqual(any!.place, nowhere)
          }
          assert.strictEqual(heap.earliest, Math.min(...model.values()))
        }
        for (const [item, deadline] of model) assert.strictEqual(heap.deadlineOf(item), deadline)
        const found = drained(heap)
        assert.deepStrictEqual(
          found.map(([, deadline]) => deadline),
          [...model.values()].sort((a, b) => a - b)
        )
        assert.sameDeepMembers(
          [...found],
          [...model].map(([{ name }, deadline]) => [name, deadline] as const)
        )
      }
    })
  }
})
