import { text } from "@sveltejs/kit"
import { run } from "../../run"
import type { RequestHandler } from "./$types"

// A 401 where nobody is logged in.
export const GET: RequestHandler = async ({ locals }) => text((await run(locals.session.get)).data.username)
