/** An identity provider with `response_mode=form_post`, PKCE and a nonce: whoever comes is ada. */
import { DateTime, Effect, Layer, Schema } from "effect"
import { HttpRouter, HttpServerRequest, HttpServerResponse } from "effect/http"
import { createHash, randomBytes } from "node:crypto"

interface Grant {
  readonly nonce: string
  readonly challenge: string
}

const Asked = Schema.Struct({
  redirect_uri: Schema.String,
  response_mode: Schema.Literal("form_post"),
  code_challenge_method: Schema.Literal("S256"),
  state: Schema.String,
  nonce: Schema.String,
  code_challenge: Schema.String
})
const Redeemed = Schema.Struct({ code: Schema.String, code_verifier: Schema.String })

/** The claims of an ID token, whose signature is not what is tried here. */
const Claims = Schema.Struct({ sub: Schema.String, nonce: Schema.String, auth_time: Schema.Number })

export const authTime = 1_700_000_000

/** Its routes, with the codes it has given out and not yet redeemed. */
export const fakeProvider = () => {
  const grants = new Map<string, Grant>()
  const Authorize = HttpRouter.add(
    "GET",
    "/authorize",
    Effect.gen(function* () {
      const asked = yield* HttpServerRequest.schemaSearchParams(Asked)
      const code = randomBytes(16).toString("base64url")
      grants.set(code, { nonce: asked.nonce, challenge: asked.code_challenge })
      return HttpServerResponse.text(
        `<!doctype html><link rel="icon" href="data:,"><form method="post" action="${asked.redirect_uri}">` +
          `<input name="code" value="${code}"><input name="state" value="${asked.state}"></form>` +
          `<script>document.forms[0].submit()</script>`,
        { contentType: "text/html" }
      )
    })
  )
  const Token = HttpRouter.add(
    "POST",
    "/token",
    Effect.gen(function* () {
      const { code, code_verifier } = yield* HttpServerRequest.schemaBodyUrlParams(Redeemed)
      const grant = grants.get(code)
      grants.delete(code)
      const challenge = createHash("sha256").update(code_verifier).digest("base64url")
      return grant?.challenge === challenge
        ? yield* HttpServerResponse.json({ sub: "ada", nonce: grant.nonce, auth_time: authTime })
        : HttpServerResponse.empty({ status: 400 })
    })
  )
  return Layer.merge(Authorize, Token)
}

/** The recipe's `Provider`: `origin` is where browsers find it, `backChannel` where the app's server does. */
export const provided = (
  // Of a document's block, whose types docs.test.ts checks.
  { LogInFailed, Provider }: any,
  {
    backChannel,
    callback,
    origin
  }: { readonly origin: string; readonly backChannel: string; readonly callback: () => string }
): Layer.Layer<any> =>
  Layer.succeed(Provider, {
    origin,
    authorize: ({
      challenge,
      nonce,
      state
    }: {
      readonly state: string
      readonly nonce: string
      readonly challenge: string
    }) =>
      `${origin}/authorize?${new URLSearchParams({
        redirect_uri: callback(),
        response_mode: "form_post",
        code_challenge_method: "S256",
        state,
        nonce,
        code_challenge: challenge
      })}`,
    redeem: (code: string, sent: { readonly nonce: string; readonly verifier: string }) =>
      Effect.gen(function* () {
        const body = new URLSearchParams({ code, code_verifier: sent.verifier })
        const response = yield* Effect.promise(() => fetch(`${backChannel}/token`, { method: "POST", body }))
        if (!response.ok) return yield* new LogInFailed()
        const claims = yield* Schema.decodeUnknownEffect(Claims)(yield* Effect.promise(() => response.json()))
        if (claims.nonce !== sent.nonce) return yield* new LogInFailed()
        return { username: claims.sub, authenticatedAt: DateTime.makeUnsafe(claims.auth_time * 1000) }
      })
  }) as Layer.Layer<any>
