/**
 * A binary heap of deadlines, the earliest first.
 *
 * @internal
 */
export interface Deadline<A> {
  readonly at: number
  readonly value: A
}

export class DeadlineHeap<A> {
  #heap: Array<Deadline<A>> = []

  get size(): number {
    return this.#heap.length
  }

  get first(): Deadline<A> | undefined {
    return this.#heap[0]
  }

  push(deadline: Deadline<A>): void {
    const heap = this.#heap
    let i = heap.push(deadline) - 1
    while (i > 0) {
      const parent = (i - 1) >> 1
      if (heap[parent]!.at <= deadline.at) break
      heap[i] = heap[parent]!
      i = parent
    }
    heap[i] = deadline
  }

  pop(): void {
    const heap = this.#heap
    const last = heap.pop()
    if (last === undefined || heap.length === 0) return
    let i = 0
    for (;;) {
      let child = 2 * i + 1
      if (child >= heap.length) break
      if (child + 1 < heap.length && heap[child + 1]!.at < heap[child]!.at) child++
      if (heap[child]!.at >= last.at) break
      heap[i] = heap[child]!
      i = child
    }
    heap[i] = last
  }

  retain(predicate: (deadline: Deadline<A>) => boolean): void {
    // An array sorted by `at` is a heap.
    this.#heap = this.#heap.filter(predicate).sort((a, b) => a.at - b.at)
  }
}
