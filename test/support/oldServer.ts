/**
 * A server of the version before (`oldManager.ts` says which) beside new ones, on one store, as while they are replaced one
 * by one. Nobody's session is lost, and nothing that has ended comes back.
 */
import { assert } from "@effect/vitest"
import type { Old } from "./oldManager.ts"
import type { Answering } from "./remoteManager.ts"

export interface Servers {
  readonly old: Answering<Old>
  readonly one: Answering
  /** A new one that rotates tokens on a schedule, and whose clock is six minutes ahead, so that all are due. */
  readonly rotating: Answering
}

const notFound = "SessionInvalid NotFound"

/** What an answer must hold. */
const ok = async <A>(answer: Promise<{ readonly word: string; readonly value?: A }>): Promise<A> => {
  const { value, word } = await answer
  assert.strictEqual(word, "ok")
  return value!
}

const wordsOf = (all: ReadonlyArray<Promise<{ readonly word: string }>>) =>
  Promise.all(all).then((answers) => answers.map(({ word }) => word))

/** Each with a user of its own. */
export const scenarios: Record<string, (servers: Servers, user: string) => Promise<void>> = {
  "a new server reads, lists, changes, describes and ends what an old one made": async ({ old, one }, user) => {
    const { id, token } = await ok(old.create({ user, items: [] }))
    assert.deepStrictEqual((await ok(one.resolve(token))).data, { user, items: [] })
    await ok(one.addItem(token, "new"))
    await ok(old.addItem(token, "old"))
    assert.strictEqual(await ok(one.addItemToAll(user, "all")), 1)
    await ok(one.describe(token, "phone"))
    // The old one keeps what it does not know.
    await ok(old.addItem(token, "last"))
    const [info] = await ok(one.list(user))
    assert.deepInclude(info, { id, label: "phone", data: { user, items: ["new", "old", "all", "last"] } })
    assert.isTrue(await ok(one.revoke(id, user)))
    assert.deepStrictEqual(await wordsOf([old.resolve(token), one.resolve(token)]), [notFound, notFound])
  },

  "a new server logs a visitor of an old one in, and the old token opens nothing on either": async (
    { old, one },
    user
  ) => {
    const cart = await ok(old.create({ items: ["bread"] }))
    const loggedIn = await ok(one.logIn(cart.token, user))
    const again = await ok(one.reauthenticate(loggedIn.token, ["pwd"]))
    const dead = [cart.token, loggedIn.token]
    for (const server of [old, one]) {
      assert.deepStrictEqual((await ok(server.resolve(again.token))).data, { user, items: ["bread"] })
      assert.deepStrictEqual(await wordsOf(dead.map((token) => server.resolve(token))), [notFound, notFound])
      assert.deepStrictEqual(await wordsOf(dead.map((token) => server.addItem(token, "late"))), [notFound, notFound])
    }
    assert.strictEqual((await ok(old.list(user))).length, 1)
  },

  "of items that an old server adds while a new one logs the visitor in, none that was answered is lost": async (
    { old, one },
    user
  ) => {
    for (let round = 0; round < 20; round++) {
      const cart = await ok(old.create({ items: [] }))
      const adding = Array.from({ length: 5 }, (_, i) => old.addItem(cart.token, `item${i}`))
      const [loggedIn, answers] = await Promise.all([one.logIn(cart.token, user), Promise.all(adding)])
      const { items } = (await ok(old.resolve(loggedIn.value?.token ?? cart.token))).data
      for (const [i, { word }] of answers.entries()) {
        assert.include(["ok", notFound], word)
        if (word === "ok") assert.include(items, `item${i}`)
      }
    }
    await ok(one.revokeAll(user))
  },

  "an old server reads, changes, rotates, lists and ends what a new one made": async ({ old, one }, user) => {
    const made = await ok(one.create({ user, items: [] }, { methods: ["pwd"], client: { label: "phone" } }))
    assert.deepStrictEqual((await ok(old.resolve(made.token))).data, { user, items: [] })
    await ok(old.addItem(made.token, "old"))
    const rotated = await ok(old.rotate(made.token))
    const kept = { id: made.id, methods: ["pwd"], label: "phone", data: { user, items: ["old"] } }
    assert.deepInclude(await ok(one.resolve(rotated.token)), kept)
    assert.strictEqual((await one.resolve(made.token)).word, notFound)
    assert.deepStrictEqual(
      (await ok(old.list(user))).map(({ id }) => id),
      [made.id]
    )
    await ok(old.destroy(rotated.token))
    assert.deepStrictEqual(await wordsOf([old.resolve(rotated.token), one.resolve(rotated.token)]), [
      notFound,
      notFound
    ])
    assert.deepStrictEqual(await ok(one.list(user)), [])
  },

  "after a scheduled rotation an old server takes the new token alone, and a rotation of its own ends the rest": async (
    { old, one, rotating },
    user
  ) => {
    const first = await ok(one.create({ user, items: [] }, { client: { label: "phone" } }))
    const rotated = await ok(rotating.resolve(first.token, { rotate: true }))
    assert.notStrictEqual(rotated.token, first.token)
    // A new server takes the token before as well, as long as the new one has not arrived. An old one does not: so all
    // servers must know the rules before one rotates on schedule.
    assert.deepStrictEqual(await wordsOf([one.resolve(first.token), old.resolve(first.token)]), ["ok", notFound])
    await ok(old.addItem(rotated.token, "old"))
    assert.deepInclude(await ok(one.resolve(first.token)), { label: "phone" })
    const third = await ok(old.rotate(rotated.token))
    // Neither is taken for a stolen copy.
    for (const token of [first.token, rotated.token]) {
      assert.deepStrictEqual(await wordsOf([one.resolve(token), rotating.resolve(token), old.resolve(token)]), [
        notFound,
        notFound,
        notFound
      ])
    }
    assert.deepInclude((await ok(rotating.resolve(third.token))).data, { items: ["old"] })
  },

  "a log-out on an old server with the token before a scheduled rotation ends the session": async (all, user) => {
    const { old, one, rotating } = all
    const first = await ok(one.create({ user, items: [] }))
    const rotated = await ok(rotating.resolve(first.token, { rotate: true }))
    await ok(old.destroy(first.token))
    assert.deepStrictEqual(await wordsOf([one, rotating, old].map((server) => server.resolve(rotated.token))), [
      notFound,
      notFound,
      notFound
    ])
  },

  "each ends all that both have made, and a log-in under way is refused by the new ones alone": async (all, user) => {
    const { old, one } = all
    const make = () => Promise.all([old, one].map((server) => ok(server.create({ user, items: [] }))))
    for (const ending of [old, one]) {
      const made = await make()
      const began = String(BigInt(Date.now() - 1000) * 1_000_000n)
      assert.strictEqual(await ok(ending.revokeAll(user)), 2)
      for (const { token } of made) {
        assert.deepStrictEqual(await wordsOf([old.resolve(token), one.resolve(token)]), [notFound, notFound])
      }
      // An old server writes no fence, and asks for none: the promise is kept once all servers are new.
      const late = await one.create({ user, items: [] }, { began })
      assert.strictEqual(late.word, ending === old ? "ok" : "SessionInvalid Superseded")
      const lateOnOld = await ok(old.create({ user, items: [] }))
      assert.strictEqual((await one.resolve(lateOnOld.token)).word, "ok")
      await ok(old.revokeAll(user))
    }
    // The fence is no session to an old server either.
    assert.deepStrictEqual(await ok(old.list(user)), [])
    assert.strictEqual(await ok(old.revokeAll(user)), 0)
  }
}
