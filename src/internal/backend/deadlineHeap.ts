/**
 * A binary heap of items by their deadlines, the earliest first. An item knows its place, so that it can be moved and
 * removed wherever it is.
 *
 * @internal
 */
export interface Scheduled {
  /** Where it is in the heap; `nowhere` if it is not in it. Written by the heap alone. */
  place: number
}

export const nowhere = -1

export class DeadlineHeap<A extends Scheduled> {
  // Two arrays rather than one of pairs: a number in an array of numbers is no object of its own.
  readonly #deadlines: Array<number> = []
  readonly #items: Array<A> = []

  get first(): A | undefined {
    return this.#items[0]
  }

  /** The deadline of the first, `Infinity` if there is none. */
  get earliest(): number {
    return this.#deadlines.length === 0 ? Infinity : this.#deadlines[0]!
  }

  /** The deadline under which an item is in the heap. */
  deadlineOf({ place }: A): number {
    return this.#deadlines[place]!
  }

  /** Puts an item in, or moves it to another deadline. */
  schedule(item: A, deadline: number): void {
    this.#settle(item.place === nowhere ? this.#items.length : item.place, item, deadline)
  }

  remove(item: A): void {
    const { place } = item
    // The last one fills the gap.
    const deadline = this.#deadlines.pop()!
    const last = this.#items.pop()!
    if (last !== item) this.#settle(place, last, deadline)
    item.place = nowhere
  }

  /** Fills the gap at `i` with an item, or with others that it moves there, up or down. */
  #settle(i: number, item: A, deadline: number): void {
    const deadlines = this.#deadlines
    while (i > 0) {
      const parent = (i - 1) >> 1
      if (deadlines[parent]! <= deadline) break
      this.#put(i, this.#items[parent]!, deadlines[parent]!)
      i = parent
    }
    for (;;) {
      let child = 2 * i + 1
      if (child >= deadlines.length) break
      if (child + 1 < deadlines.length && deadlines[child + 1]! < deadlines[child]!) child++
      if (deadlines[child]! >= deadline) break
      this.#put(i, this.#items[child]!, deadlines[child]!)
      i = child
    }
    this.#put(i, item, deadline)
  }

  #put(i: number, item: A, deadline: number): void {
    this.#deadlines[i] = deadline
    this.#items[i] = item
    item.place = i
  }
}
