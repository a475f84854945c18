import type { Handle } from "@sveltejs/kit/hooks"
import { runtime, withSession } from "./sessions"

export const handle: Handle = ({ event, resolve }) =>
  withSession(event.request, async (session) => {
    event.locals.session = session
    return resolve(event)
  })

// Of adapter-node: once the last request has been answered.
process.once("sveltekit:shutdown", () => runtime.dispose())
