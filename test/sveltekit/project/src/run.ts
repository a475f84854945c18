import { error } from "@sveltejs/kit"
import type { Effect } from "effect"
import { runtime, statusOf } from "./sessions"

/** Runs what a page does with its session. A failure is a page with its status, such as 401 or 503. */
export const run = <A, E>(effect: Effect.Effect<A, E>): Promise<A> =>
  runtime.runPromise(effect).catch(async (failure) => error(await statusOf(failure), "Try again, or log in"))
