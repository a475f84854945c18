/** The smallest application, for a Deno that may listen and read files, and of the environment `PORT` alone. */
// Not the whole package, of which Effect's cluster reads the environment as soon as it is imported.
import * as NodeCrypto from "@effect/platform-node/NodeCrypto"
import { Effect, Layer, Redacted, Schema } from "effect"
import { HttpRouter, HttpServer, HttpServerResponse } from "effect/http"
import {
  Session,
  SessionBackendMemory,
  SessionFrontend,
  SessionKeys,
  SessionMiddleware,
  SessionVerifier
} from "effect-sessions"

declare const Deno: {
  readonly env: { readonly get: (name: string) => string | undefined }
  readonly serve: (options: object, handler: (request: Request) => Promise<Response>) => unknown
}

const UserData = Schema.Struct({ username: Schema.String })

class UserSession extends Session.Service<UserSession>()("test/FewPermissions", { data: UserData }) {}

const LogInParams = HttpRouter.schemaPathParams(UserData)
const userDataJson = HttpServerResponse.schemaJson(UserData)

const { handler } = HttpRouter.toWebHandler(
  Layer.mergeAll(
    HttpRouter.add(
      "POST",
      "/create_session/:username",
      Effect.gen(function* () {
        yield* (yield* UserSession).create(yield* LogInParams)
        return HttpServerResponse.text("done")
      })
    ),
    HttpRouter.add(
      "POST",
      "/delete_session",
      Effect.gen(function* () {
        yield* (yield* UserSession).destroy
        return HttpServerResponse.text("done")
      })
    ),
    HttpRouter.add(
      "GET",
      "/whoami",
      Effect.gen(function* () {
        const { data } = yield* (yield* UserSession).get
        return yield* userDataJson(data)
      })
    )
  ).pipe(
    Layer.provide(SessionMiddleware.router(UserSession).layer),
    Layer.provide(SessionMiddleware.layer(UserSession)),
    Layer.provide([
      SessionFrontend.layerCookie({ secure: false }),
      SessionBackendMemory.layer,
      SessionVerifier.layerExists(UserSession),
      SessionKeys.layer(Redacted.make("Zq3vT8kLw1yXc5RbNh7UdJ2mPs9EaGf4oKiVtHxQ6zM="))
    ]),
    Layer.provide([NodeCrypto.layer, HttpServer.layerServices])
  )
)

const options = { port: Number(Deno.env.get("PORT")), hostname: "localhost", onListen: () => console.log("listening") }
Deno.serve(options, (request) => handler(request))
