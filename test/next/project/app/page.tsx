import { Effect } from "effect"
import { SessionMiddleware } from "effect-sessions"
import { headers } from "next/headers"
import { runtime, UserSession } from "../sessions"

export default async function Page() {
  const request = new Request("http://localhost/", { headers: await headers() })
  const greeting = SessionMiddleware.fromRequest(UserSession, request).pipe(
    Effect.map(({ data }) => `hello ${data.username}`),
    Effect.catchTag(["SessionMissing", "SessionInvalid"], () => Effect.succeed("hello stranger"))
  )
  return <p>{await runtime.runPromise(greeting)}</p>
}
