import { Effect } from "effect"
import { SessionMiddleware } from "effect-sessions"
import { headers } from "next/headers"
import { runtime, UserSession } from "../sessions"

export default async function Page() {
  const request = new Request("http://localhost/", { headers: await headers() })
  const asking = SessionMiddleware.fromRequest(UserSession, request).pipe(
    Effect.map(({ data }) => data.username),
    Effect.catchTag(["SessionMissing", "SessionInvalid"], () => Effect.succeed(undefined))
  )
  const user = await runtime.runPromise(asking)
  return user === undefined ? (
    <form action="/login" method="post">
      <p>hello stranger</p>
      <input name="username" aria-label="name" required />
      <button>Log in</button>
    </form>
  ) : (
    <form action="/logout" method="post">
      <p>{`hello ${user}`}</p>
      <button>Log out</button>
    </form>
  )
}
