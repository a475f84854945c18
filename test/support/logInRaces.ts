/**
 * Log-ins that race with what ends or changes their sessions, over managers in two processes on one store. Times are taken
 * here, on one clock. Each race answers what it has counted, for a test or a script to judge.
 */
import { setTimeout as pause } from "node:timers/promises"
import type { RemoteManager } from "./remoteManager.ts"

type Two = readonly [RemoteManager, RemoteManager]

const random = (below: number): number => Math.floor(Math.random() * below)

/** Microseconds since the epoch. */
const now = (): number => Math.round((performance.timeOrigin + performance.now()) * 1000)

const nanos = (micros: number): string => String(BigInt(micros) * 1000n)

/** Does something `count` times, `inFlight` at once. */
const many = async (count: number, inFlight: number, one: (i: number) => Promise<void>): Promise<void> => {
  let next = 0
  const worker = async () => {
    while (next < count) await one(next++)
  }
  await Promise.all(Array.from({ length: Math.min(count, inFlight) }, worker))
}

/** What is wrong: the counts that are not as they must be. */
const wrong = (counted: Readonly<Record<string, boolean>>): ReadonlyArray<string> =>
  Object.entries(counted).flatMap(([what, isSo]) => (isSo ? [what] : []))

const count = <A>(all: ReadonlyArray<A>, is: (one: A) => boolean): number => all.filter(is).length

/**
 * Log-ins, each of which began before its session is made, and revocations of all of a user's sessions beside them: what
 * stands in the end, and what a token opened that was handed out too late.
 */
export const revocations = async (two: Two, options: { readonly logIns: number; readonly inFlight: number }) => {
  const users = Array.from({ length: Math.max(1, options.logIns / 50) }, (_, i) => `revoked${i}-${now()}`)
  interface Fence {
    readonly before: number
    returned: number
  }
  const fences = new Map(users.map((user) => [user, [] as Array<Fence>]))
  const logIns: Array<{ readonly user: string; readonly began: number; readonly word: string; readonly id: string }> =
    []
  let opened = 0
  let looked = 0
  const isFenced = (user: string, began: number) =>
    fences.get(user)!.some(({ before, returned }) => returned < Infinity && began < before)

  const over = new AbortController()
  const revoker = async (manager: RemoteManager) => {
    while (!over.signal.aborted) {
      const user = users[random(users.length)]!
      const fence: Fence = { before: now(), returned: Infinity }
      fences.get(user)!.push(fence)
      const { word } = await manager.revokeAll(user, { before: nanos(fence.before) })
      if (word !== "ok") throw new Error(`revokeAll: ${word}\n${manager.output()}`)
      fence.returned = now()
    }
  }
  const revoking = Promise.all([...two, ...two].map(revoker))
  await many(options.logIns, options.inFlight, async (i) => {
    const user = users[i % users.length]!
    const manager = two[random(2)]!
    const began = now()
    // The password is checked.
    await pause(random(40))
    const { value, word } = await manager.create({ user, items: [] }, { began: nanos(began) })
    logIns.push({ user, began, word, id: value?.id ?? "" })
    if (value === undefined || !isFenced(user, began)) return
    looked++
    if ((await two[random(2)]!.resolve(value.token)).word === "ok") opened++
  })
  over.abort()
  await revoking
  // The last ones began after all revocations have returned.
  await many(2 * users.length, options.inFlight, async (i) => {
    const [user, began] = [users[i % users.length]!, now()]
    const { value, word } = await two[i % 2]!.create({ user, items: [] }, { began: nanos(began) })
    logIns.push({ user, began, word, id: value?.id ?? "" })
  })

  const standing = new Set<string>()
  for (const user of users) for (const { id } of (await two[0].list(user)).value ?? []) standing.add(id)
  const stands = ({ id }: { readonly id: string }) => standing.has(id)
  const isAfterAll = (user: string, began: number) => fences.get(user)!.every(({ returned }) => returned < began)
  const failed = new Set(logIns.map(({ word }) => word))
  for (const word of ["ok", "SessionInvalid Superseded"]) failed.delete(word)
  const survivors = count(logIns, (one) => stands(one) && isFenced(one.user, one.began))
  const missing = count(logIns, (one) => isAfterAll(one.user, one.began) && !stands(one))
  const isCrossed = (user: string, began: number) => fences.get(user)!.some(({ before }) => began < before)
  const refused = count(logIns, ({ began, user, word }) => word !== "ok" && !isCrossed(user, began))
  return {
    logIns: logIns.length,
    revocations: [...fences.values()].flat().length,
    superseded: count(logIns, ({ word }) => word === "SessionInvalid Superseded"),
    standing: count(logIns, stands),
    later: count(logIns, ({ began, user }) => isAfterAll(user, began)),
    /** Tokens that were answered after a revocation that their log-in began before. */
    looked,
    survivors,
    problems: wrong({
      [`${survivors} sessions stand that began before a revocation`]: survivors > 0,
      [`${opened} of them opened a session`]: opened > 0,
      [`${missing} that began after all revocations do not stand`]: missing > 0,
      [`${refused} were refused that began after the last revocation`]: refused > 0,
      [[...failed].join()]: failed.size > 0
    })
  }
}

/** Rounds of log-ins of one user, all at once, where `max` may live: how many do after each, and after one more. */
export const limited = async (
  two: Two,
  options: { readonly rounds: number; readonly atOnce: number; readonly max: number }
) => {
  const live: Record<number, number> = {}
  const after: Record<number, number> = {}
  const failed: Array<string> = []
  /** The last log-in, which nothing comes after, has ended. */
  let lost = 0
  for (let round = 0; round < options.rounds; round++) {
    const user = `limited${round}-${now()}`
    const living = async () => (await two[round % 2]!.list(user)).value!.map(({ id }) => id)
    await many(options.atOnce, options.atOnce, async (i) => {
      const { word } = await two[i % 2]!.create({ user, items: [] })
      if (word !== "ok") failed.push(word)
    })
    const { length } = await living()
    live[length] = (live[length] ?? 0) + 1
    // In a millisecond of its own.
    await pause(2)
    const last = await two[round % 2]!.create({ user, items: [] })
    const left = await living()
    after[left.length] = (after[left.length] ?? 0) + 1
    if (!left.includes(last.value!.id)) lost++
  }
  const isOnly = (lengths: Record<number, number>, ...allowed: ReadonlyArray<number>) =>
    Object.keys(lengths)
      .map(Number)
      .every((length) => allowed.includes(length))
  return {
    live,
    after,
    problems: wrong({
      "more or fewer live than may": !isOnly(live, options.max, options.max + 1),
      "more or fewer live after the next log-in": !isOnly(after, options.max),
      [`${lost} log-ins that nothing came after do not stand`]: lost > 0,
      [`${failed.length} failed: ${failed[0]}`]: failed.length > 0
    })
  }
}

/** Carts of visitors, to which one process adds while the other logs them in: what was answered, and is not there. */
export const carts = async (
  two: Two,
  options: { readonly carts: number; readonly inFlight: number; readonly items: number }
) => {
  let answered = 0
  let refused = 0
  let lost = 0
  let conflicts = 0
  const words = new Set<string>()
  await many(options.carts, options.inFlight, async (i) => {
    const [one, other] = i % 2 === 0 ? two : [two[1], two[0]]
    const cart = (await one.create({ items: ["first"] })).value!
    const kept = ["first"]
    const adding = Array.from({ length: options.items }, async (_, item) => {
      await pause(random(20))
      const { word } = await other.addItem(cart.token, `item${item}`)
      words.add(word)
      if (word === "ok") kept.push(`item${item}`)
      else refused++
    })
    await pause(random(20))
    const loggedIn = await one.logIn(cart.token, `cart${i}-${now()}`)
    await Promise.all(adding)
    // On a slow machine the changes of the other may be too many for it: it has left the cart as it was.
    if (loggedIn.word === "SessionConflict") conflicts++
    else if (loggedIn.word !== "ok") words.add(`log-in: ${loggedIn.word}`)
    const { items } = (await other.resolve(loggedIn.value?.token ?? cart.token)).value!.data
    answered += kept.length
    lost += count(kept, (item) => !items.includes(item))
  })
  for (const word of ["ok", "SessionInvalid NotFound"]) words.delete(word)
  return {
    answered,
    refused,
    conflicts,
    lost,
    problems: wrong({
      [`${lost} items that were answered are lost`]: lost > 0,
      [`${conflicts} log-ins gave up`]: conflicts > options.carts / 20,
      [[...words].join()]: words.size > 0
    })
  }
}
