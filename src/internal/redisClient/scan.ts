/**
 * `SCAN` over all masters of a Cluster, of which each knows its own keys alone: one after the other, in the order of the
 * first slot that each has.
 *
 * The cursor says where a walk is: `<slot>-<cursor of Redis>-<master>`. If the slot has another master by now, whose
 * cursors are others, its keys are walked from the beginning. So none is missed in a failover, and a walk comes to an end.
 *
 * @internal
 */

const slotCount = 16_384

interface Masters {
  /** What names the master of a slot, without a space. */
  readonly nameOf: (slot: number) => string | undefined
  /** Sends a command to the master of a slot. */
  readonly send: (slot: number, command: ReadonlyArray<string>) => Promise<unknown>
}

/** The least slot after one that is the first of its master. */
const firstAfter = (after: number, nameOf: Masters["nameOf"]): number | undefined => {
  const known = new Set<string>()
  for (let slot = 0; slot < slotCount; slot++) {
    const name = nameOf(slot)
    if (name === undefined) throw new Error("CLUSTERDOWN a slot has no master, so not all keys can be found")
    if (known.has(name)) continue
    known.add(name)
    if (slot > after) return slot
  }
  return undefined
}

/** The slot, and the cursor of its master, where a walk goes on. */
const placeOf = (cursor: string, nameOf: Masters["nameOf"]): readonly [slot: number, cursor: string] => {
  if (cursor === "0") return [firstAfter(-1, nameOf)!, "0"]
  const [, slot, own, name] = /^(\d{1,5})-(\d+)-(\S+)$/.exec(cursor) ?? []
  if (own === undefined || Number(slot) >= slotCount) throw new Error("ERR invalid cursor")
  return [Number(slot), nameOf(Number(slot)) === name ? own : "0"]
}

/** Answers as `SCAN` does, with a cursor of its own. */
export const scan = async (
  { nameOf, send }: Masters,
  [cursor = "", ...options]: ReadonlyArray<string>
): Promise<readonly [cursor: string, keys: unknown]> => {
  const [slot, own] = placeOf(cursor, nameOf)
  const name = nameOf(slot)
  // What `SCAN` answers.
  const [next, keys] = (await send(slot, ["SCAN", own, ...options])) as readonly [string, unknown]
  if (String(next) !== "0") return [`${slot}-${next}-${name}`, keys]
  const following = firstAfter(slot, nameOf)
  return [following === undefined ? "0" : `${following}-0-${nameOf(following)}`, keys]
}
