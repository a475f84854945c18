/**
 * The request's session without HTTP around it: for a request that carries this token, or none. By default it began after
 * all that happens in the test, so that no revocation supersedes its log-ins. A new token is in the response's `x-session`.
 */
import * as Effect from "effect/Effect"
import * as HttpServerRequest from "effect/http/HttpServerRequest"
import * as HttpServerResponse from "effect/http/HttpServerResponse"
import * as Redacted from "effect/Redacted"
import { bind } from "../../src/internal/http/binding.ts"
import { RequestSessionLive } from "../../src/internal/http/requestSession.ts"
import { SessionMissing } from "../../src/SessionError.ts"
import type { SessionFrontend } from "../../src/SessionFrontend.ts"
import { UserSession } from "./userSession.ts"
import type { Manager } from "./userSession.ts"

const request = HttpServerRequest.fromWeb(new Request("http://localhost/"))

const endOfTime = 10n ** 19n

export const requestWith = (manager: Manager, token?: Redacted.Redacted<string>, began: bigint = endOfTime) => {
  const frontend: SessionFrontend["Service"] = {
    security: [],
    extract: () =>
      token === undefined ? Effect.fail(new SessionMissing()) : Effect.succeed([{ token, via: "cookie" }]),
    attach: (response, { token }) => HttpServerResponse.setHeader(response, "x-session", Redacted.value(token)),
    detach: (response) => response
  }
  return new RequestSessionLive(request, bind(UserSession, manager, frontend), () => began)
}
