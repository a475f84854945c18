import * as NodeHttpServer from "@effect/platform-node/NodeHttpServer"
import * as HttpRouter from "effect/http/HttpRouter"
import * as HttpServerResponse from "effect/http/HttpServerResponse"
import * as Layer from "effect/Layer"
import * as ManagedRuntime from "effect/ManagedRuntime"
import * as Schema from "effect/Schema"
import { createServer } from "node:http"
import * as common from "./common.ts"

const UserData = Schema.Struct({ username: Schema.String })

const Bare = HttpRouter.add("GET", "/bare", HttpServerResponse.schemaJson(UserData)(common.bare))

export const start: common.Start = async () => {
  const server = createServer()
  const App = HttpRouter.serve(Bare, { disableLogger: true, disableListenLog: true }).pipe(
    Layer.provide(NodeHttpServer.layer(() => server, { port: 0, host: common.host }))
  )
  await ManagedRuntime.make(App).context()
  return common.portOf(server)
}
