import { fail, redirect } from "@sveltejs/kit"
import { Schema } from "effect"
import { run } from "../run"
import { userOf } from "../sessions"
import type { Actions, PageServerLoad } from "./$types"

const LogIn = Schema.decodeUnknownOption(Schema.Struct({ username: Schema.NonEmptyString }))

export const load: PageServerLoad = async ({ locals }) => ({ user: await run(userOf(locals.session)) })

export const actions: Actions = {
  logIn: async ({ locals, request }) => {
    const form = LogIn(Object.fromEntries(await request.formData()))
    if (form._tag === "None") return fail(400, { problem: "a name, please" })
    await run(locals.session.create(form.value))
    redirect(303, "/")
  },
  logOut: async ({ locals }) => {
    await run(locals.session.destroy)
    redirect(303, "/")
  }
}
