/**
 * An intrusive circular list, doubly linked, in the order in which items came: known by its newest item, whose `newer` is
 * the oldest. Empty, it is `undefined`. It takes no memory beside the links, which matters with as many lists as items.
 *
 * @internal
 */
export interface Linked {
  /** The one before it: the newest, of the oldest. Itself, if it is alone. */
  older: this
  /** The one after it: the oldest, of the newest. */
  newer: this
}

/** Adds an item that is alone, as the newest. */
export const add = <A extends Linked>(newest: A | undefined, item: A): void => {
  if (newest === undefined) return
  const oldest = newest.newer
  item.older = newest
  item.newer = oldest
  newest.newer = item
  oldest.older = item
}

/** Takes an item out, and answers the newest of those that are left. */
export const remove = <A extends Linked>(newest: A | undefined, item: A): A | undefined => {
  const { newer, older } = item
  older.newer = newer
  newer.older = older
  if (newest !== item) return newest
  return older === item ? undefined : older
}

/** The items, the newest first. */
export const toArray = <A extends Linked>(newest: A | undefined): Array<A> => {
  const items: Array<A> = []
  for (let item = newest; item !== undefined; item = item.older === newest ? undefined : item.older) items.push(item)
  return items
}
