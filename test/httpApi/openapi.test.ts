/** The OpenAPI document of an API with sessions. */
import { assert, describe, expect, it } from "@effect/vitest"
import { Validator } from "@seriousme/openapi-schema-validator"
import * as OpenApi from "effect/http-api/OpenApi"
import { Api } from "../support/memberApi.ts"

describe("OpenAPI", () => {
  const document = OpenApi.fromApi(Api)

  it("is valid OpenAPI 3.1, as a published validator has it", async () => {
    const checked = await new Validator().validate(structuredClone(document) as never)
    assert.deepStrictEqual([checked.valid, checked.errors], [true, undefined])
    assert.match(document.openapi, /^3\.1/)
    // The validator does tell a broken document.
    const broken = { ...structuredClone(document), paths: { "/x": { get: { responses: [] } } } }
    assert.isFalse((await new Validator().validate(broken as never)).valid)
  })

  it("shows each scheme, the alternatives as OR, and every failure with its schema and status", async () => {
    const { components, paths } = document
    const guarded = paths["/whoami"]!.get!
    const open = paths["/login"]!.post!
    const part = {
      securitySchemes: components.securitySchemes,
      guarded: { security: guarded.security, responses: guarded.responses },
      open: { security: open.security, responses: Object.keys(open.responses) },
      errors: Object.fromEntries(
        Object.entries(components.schemas).filter(([name]) => /^(Session|Suspended|Unpaid)/.test(name))
      )
    }
    await expect(JSON.stringify(part, undefined, 2) + "\n").toMatchFileSnapshot("../snapshots/openapi.txt")
  })
})
