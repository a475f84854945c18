/** What docs/proxies.md says of proxies: its own configurations and recipes, before a real server. */
import { NodeCrypto } from "@effect/platform-node"
import { afterAll, assert, beforeAll, it } from "@effect/vitest"
import { Effect, Exit, Layer, Scope, Stream } from "effect"
import { HttpRouter, HttpServerRequest, HttpServerResponse } from "effect/http"
import { SessionBackendMemory, SessionFrontend, SessionMiddleware, SessionVerifier } from "effect-sessions"
import { SessionTest } from "effect-sessions/testing"
import { spawnSync } from "node:child_process"
import { once } from "node:events"
import { type AddressInfo, createServer } from "node:net"
import { setTimeout as pause } from "node:timers/promises"
import { pathToFileURL } from "node:url"
import { ask as askInPage, visit } from "../browsers/tab.ts"
import { has, launch, type Running } from "../support/browsers.ts"
import { makeCertificate } from "../support/certificate.ts"
import { fileOf, makeFolder, write } from "../support/fences.ts"
import { needing } from "../support/processes.ts"
import {
  type Answer,
  type Ask,
  asking,
  hasProxy,
  host,
  protocols,
  type ProxyName,
  proxyNames,
  replace,
  type ReverseProxy,
  startReverseProxy,
  textOf
} from "../support/reverseProxies.ts"
import { listen } from "../support/server.ts"

const folder = makeFolder()
write(["docs/proxies.md"], folder)
// The recipes' types are checked by docs.test.ts; here they are modules that were just written.
const recipe = (name: string): Promise<any> =>
  import(pathToFileURL(fileOf(folder, "docs/proxies.md", `${name}.ts`)).href)
const { UserSession } = await recipe("session")
const { Frontend, Cors } = await recipe("frontend")
const { Forwarded, UserSessionLive } = await recipe("address")
const { Feed, keptAlive } = await recipe("feed")
const vite = await recipe("vite.config")

/** The request's session, as far as it is used here. */
interface Members {
  readonly create: (data: { readonly username: string }) => Effect.Effect<unknown>
  readonly destroy: Effect.Effect<unknown>
  readonly ended: Effect.Effect<unknown>
  readonly list: Effect.Effect<unknown>
}
const session: Effect.Effect<Members> = UserSession

/** A feed as the recipe's, but for its header and its pace. */
const feed = (path: `/${string}`, every: string, headers: Record<string, string> = {}) =>
  HttpRouter.add(
    "GET",
    path,
    Effect.map(session, ({ ended }) => {
      const body: Stream.Stream<string> = keptAlive(Stream.never, every).pipe(Stream.interruptWhen(ended))
      return HttpServerResponse.stream(Stream.encodeText(body), { contentType: "text/event-stream", headers })
    })
  )

const app = (frontend = SessionFrontend.layerCookie()) => {
  const Open = Layer.mergeAll(
    HttpRouter.add("GET", "/", HttpServerResponse.text("<!doctype html><p>a page", { contentType: "text/html" })),
    HttpRouter.add(
      "POST",
      "/login/:name",
      Effect.gen(function* () {
        const { name } = yield* HttpRouter.params
        yield* (yield* session).create({ username: name! })
        return HttpServerResponse.empty()
      })
    ),
    HttpRouter.add(
      "POST",
      "/logout",
      Effect.gen(function* () {
        yield* (yield* session).destroy
        return HttpServerResponse.empty()
      })
    ),
    HttpRouter.add("POST", "/open", Effect.as(session, HttpServerResponse.empty())),
    HttpRouter.add(
      "GET",
      "/asked",
      Effect.map(HttpServerRequest.HttpServerRequest, ({ headers }) => HttpServerResponse.jsonUnsafe(headers))
    )
  ).pipe(Layer.provide(SessionMiddleware.router(UserSession).layer))
  const Guarded = Layer.mergeAll(
    Feed,
    feed("/unmarked", "20 seconds"),
    feed("/lively", "100 millis", { "x-accel-buffering": "no" }),
    HttpRouter.add(
      "GET",
      "/devices",
      Effect.gen(function* () {
        return HttpServerResponse.jsonUnsafe(yield* (yield* session).list)
      })
    ),
    HttpRouter.add(
      "GET",
      "/socket",
      Effect.gen(function* () {
        const { ended } = yield* session
        const socket = yield* (yield* HttpServerRequest.HttpServerRequest).upgrade
        const { pull } = yield* socket.reader
        yield* Effect.raceFirst(Effect.ignore(Effect.forever(pull)), ended)
        return HttpServerResponse.empty()
      }).pipe(Effect.scoped)
    )
  ).pipe(Layer.provide(SessionMiddleware.routerRequired(UserSession).layer))
  return Layer.mergeAll(Open, Guarded, Forwarded, Cors).pipe(
    Layer.provide(UserSessionLive),
    Layer.provide([
      frontend,
      SessionVerifier.layerExists(UserSession),
      SessionBackendMemory.layer,
      SessionTest.layerKeys
    ]),
    Layer.provide(NodeCrypto.layer)
  ) as unknown as Layer.Layer<never, never, HttpRouter.HttpRouter>
}

const scope = Effect.runSync(Scope.make())
const serve = (routes: ReturnType<typeof app>): Promise<number> =>
  Effect.runPromise(Effect.provideService(listen(routes), Scope.Scope, scope))
const port = await serve(app())
const hasOpenssl = spawnSync("openssl", ["version"]).status === 0
const certificate = hasOpenssl ? makeCertificate([host]) : { key: "", cert: "", publicKeyHash: "" }
afterAll(async () => {
  await Effect.runPromise(Scope.close(scope, Exit.void))
})

const statusOf = async (answer: Promise<Answer>): Promise<number> => {
  const { body, status } = await answer
  body.on("error", () => undefined).resume()
  return status
}

const cookieOf = ({ headers }: Answer): string => {
  const [set] = headers["set-cookie"] as ReadonlyArray<string>
  assert.match(set!, /^__Host-session=[\w.-]+; Max-Age=86400; Path=\/; HttpOnly; Secure; SameSite=Lax$/)
  return set!.split(";")[0]!
}

const logIn = async (ask: Ask, name = "ada"): Promise<string> =>
  cookieOf(await ask("HTTP/1.1", `/login/${name}`, { method: "POST" }))

const logOut = (ask: Ask, cookie: string) =>
  statusOf(ask("HTTP/1.1", "/logout", { method: "POST", headers: { cookie } }))

/** Starts a proxy, uses it, and ends it. */
const through = async <A>(
  name: ProxyName,
  edit: (configuration: string) => string,
  use: (ask: Ask, proxy: ReverseProxy) => Promise<A>,
  upstreams: ReadonlyArray<number> = [port]
): Promise<A> => {
  const proxy = await startReverseProxy(name, certificate, upstreams, edit)
  try {
    return await use(asking(proxy.port, certificate), proxy)
  } finally {
    await proxy.dispose()
  }
}

/** A server that takes requests, and breaks each off without an answer, but for its page. */
const breakingOff = async () => {
  let requests = 0
  const server = createServer((socket) =>
    socket
      .on("error", () => undefined)
      .on("data", (data) => {
        if (String(data).startsWith("GET / ")) return socket.end("HTTP/1.1 200 OK\r\nconnection: close\r\n\r\n")
        if (/^\w+ \/open /.test(String(data))) requests++
        socket.destroy()
      })
  ).listen(0, "127.0.0.1")
  await once(server, "listening")
  // It listens on a port, not on a path.
  return { server, port: (server.address() as AddressInfo).port, requests: () => requests }
}

const same = (configuration: string) => configuration

/** The answers to cookies of 7, 9 and 17 thousand bytes. */
const limits: Record<ProxyName, ReadonlyArray<number>> = {
  nginx: [200, 400, 400],
  HAProxy: [200, 200, 400],
  Caddy: [200, 200, 431]
}

for (const name of proxyNames) {
  const isThere = hasProxy(name) && hasOpenssl
  needing(isThere, `there is no ${name.toLowerCase()} or no openssl on the PATH to start`)(`behind ${name}`, () => {
    let proxy: ReverseProxy
    let ask: Ask
    beforeAll(async () => {
      proxy = await startReverseProxy(name, certificate, [port])
      ask = asking(proxy.port, certificate)
    })
    afterAll(() => proxy.dispose())

    for (const protocol of protocols) {
      const post = (headers: Record<string, string>) => statusOf(ask(protocol, "/open", { method: "POST", headers }))

      it(`[R59] the app's own page is let in, on a port that is not 443, and no other, over ${protocol}`, async () => {
        const own = proxy.origin
        const others = [`https://${host}`, `https://${host}:${proxy.port + 1}`, "null"]
        assert.strictEqual(await post({ origin: own }), 204)
        for (const origin of [...others, "https://evil.test"]) assert.strictEqual(await post({ origin }), 403, origin)
        assert.strictEqual(await post({ origin: own, "sec-fetch-site": "same-origin" }), 204)
        assert.strictEqual(await post({ origin: "https://evil.test", "sec-fetch-site": "cross-site" }), 403)
        assert.strictEqual(await post({}), 204)
      })

      it(`a cookie goes through as it is, and a log-out is final, over ${protocol}`, async () => {
        const cookie = cookieOf(
          await ask(protocol, "/login/ada", { method: "POST", headers: { origin: proxy.origin } })
        )
        // HTTP/2 may send each in a field of its own.
        const cookies = ["a=1", cookie, "b_c=2"]
        const headers = { cookie: protocol === "HTTP/2" ? cookies : cookies.join("; ") }
        assert.strictEqual(await statusOf(ask(protocol, "/devices", { headers })), 200)
        assert.strictEqual(await statusOf(ask(protocol, "/logout", { method: "POST", headers })), 204)
        assert.strictEqual(await statusOf(ask(protocol, "/devices", { headers })), 401)
      })

      it(`a feed arrives at once, and ends with its session, over ${protocol}`, async () => {
        const cookie = await logIn(ask)
        const { body, status } = await ask(protocol, "/feed", { headers: { cookie } })
        assert.strictEqual(status, 200)
        const chunks = body[Symbol.asyncIterator]()
        assert.strictEqual(String((await chunks.next()).value), ": alive\n\n")
        assert.strictEqual(await logOut(ask, cookie), 204)
        // By itself: a body that is cut off throws.
        assert.isTrue((await chunks.next()).done)
      })
    }

    it("[R88a] a WebSocket is opened by the app's own page alone", async () => {
      const cookie = await logIn(ask)
      const open = (origin: string) =>
        statusOf(
          ask("HTTP/1.1", "/socket", {
            headers: {
              cookie,
              origin,
              connection: "Upgrade",
              upgrade: "websocket",
              "sec-websocket-version": "13",
              "sec-websocket-key": "AAAAAAAAAAAAAAAAAAAAAA=="
            }
          })
        )
      assert.strictEqual(await open(proxy.origin), 101)
      assert.strictEqual(await open("https://evil.test"), 403)
    })

    it("the list of devices has the client's address, and none that it made up", async () => {
      const addressOf = async (user: string, from: string) => {
        const headers = { "x-forwarded-for": "6.6.6.6", "user-agent": "test" }
        const cookie = cookieOf(await ask("HTTP/2", `/login/${user}`, { method: "POST", from, headers }))
        const [device] = JSON.parse(await textOf(await ask("HTTP/2", "/devices", { headers: { cookie } })))
        assert.strictEqual(device.client.userAgent, "test")
        return device.client.address
      }
      assert.strictEqual(await addressOf("grace", "127.0.0.2"), "127.0.0.2")
      // A client where the app trusts a proxy to be may make one up, unless the proxy leaves nothing of it.
      assert.strictEqual(await addressOf("mallory", "127.0.0.1"), name === "Caddy" ? "127.0.0.1" : "6.6.6.6")
    })

    it("a client does not choose the host", async () => {
      for (const forwarded of ["evil.test", "evil.test, evil.test"]) {
        const headers = {
          "x-forwarded-host": forwarded,
          ...(forwarded.includes(",") && { "x-forwarded-for": "6.6.6.6" })
        }
        const asked = JSON.parse(await textOf(await ask("HTTP/2", "/asked", { headers, from: "127.0.0.2" })))
        assert.strictEqual(asked.host, `${host}:${proxy.port}`)
      }
    })

    it("a POST whose connection to the app breaks off is not sent again by the proxy", async () => {
      for (const [method, times] of [
        ["POST", 1],
        ["GET", name === "nginx" ? 2 : 1]
      ] as const) {
        const broken = await breakingOff()
        const upstreams = [broken.port, broken.port]
        const status = await through(name, same, (ask) => statusOf(ask("HTTP/1.1", "/open", { method })), upstreams)
        broken.server.close()
        assert.deepStrictEqual([status, broken.requests()], [502, times], method)
      }
    })

    it("how many bytes of cookies it takes", async () => {
      const sizes = [7000, 9000, 17_000]
      const statuses = sizes.map((size) =>
        statusOf(ask("HTTP/1.1", "/", { headers: { cookie: `a=${"a".repeat(size)}` } }))
      )
      assert.deepStrictEqual(await Promise.all(statuses), limits[name])
      assert.isBelow((await logIn(ask)).length, 200)
    })
  })
}

const line = {
  forwardedHost: 'proxy_set_header X-Forwarded-Host "";',
  host: "proxy_set_header Host $http_host;  # not $host, which loses the port",
  location: "location / {"
}
const inLocation =
  (...lines: ReadonlyArray<string>) =>
  (configuration: string) =>
    replace(configuration, line.location, [line.location, ...lines].join("\n"))
const inServer = (text: string) => (configuration: string) =>
  replace(configuration, "server {\n", `${text}\nserver {\n`)

needing(hasProxy("nginx") && hasOpenssl, "there is no nginx or no openssl on the PATH to start")(
  "nginx otherwise",
  () => {
    it("[R59] $host, $proxy_host and no line at all lose the port, or the name; a trusted origin needs none", async () => {
      const trusting = await serve(app(Frontend))
      for (const by of ["proxy_set_header Host $host;", "proxy_set_header Host $proxy_host;", ""]) {
        const edit = (configuration: string) => replace(configuration, line.host, by)
        const post = (ask: Ask, headers: Record<string, string>) =>
          Promise.all(protocols.map((protocol) => statusOf(ask(protocol, "/open", { method: "POST", headers }))))
        await through("nginx", edit, async (ask, { origin }) => {
          assert.deepStrictEqual(await post(ask, { origin }), [403, 403], by)
          assert.deepStrictEqual(await post(ask, { origin, "sec-fetch-site": "same-origin" }), [204, 204], by)
        })
        await through(
          "nginx",
          edit,
          async (ask, { origin }) => {
            assert.deepStrictEqual(await post(ask, { origin: "https://app.example.com:8443" }), [204, 204], by)
            assert.deepStrictEqual(await post(ask, { origin }), [403, 403], by)
          },
          [trusting]
        )
      }
    })

    it("[R59] a host that was changed is put back from X-Forwarded-Host", async () => {
      const edit = (configuration: string) =>
        replace(
          replace(configuration, line.host, ""),
          line.forwardedHost,
          "proxy_set_header X-Forwarded-Host $http_host;"
        )
      await through("nginx", edit, async (ask, { origin }) => {
        const post = (origin: string) =>
          statusOf(ask("HTTP/2", "/open", { method: "POST", headers: { origin }, from: "127.0.0.2" }))
        assert.deepStrictEqual([await post(origin), await post(`https://${host}`)], [204, 403])
      })
    })

    it("keeps a feed without X-Accel-Buffering from a client of HTTP/1.1, unless told not to", async () => {
      await through("nginx", same, async (ask) => {
        const cookie = await logIn(ask)
        let hasArrived = false
        const answer = ask("HTTP/1.1", "/unmarked", { headers: { cookie } }).finally(() => (hasArrived = true))
        await pause(300)
        assert.isFalse(hasArrived)
        await logOut(ask, cookie)
        assert.strictEqual(await textOf(await answer), ": alive\n\n")
      })
      await through("nginx", inLocation("proxy_buffering off;"), async (ask) => {
        const { body } = await ask("HTTP/1.1", "/unmarked", { headers: { cookie: await logIn(ask) } })
        assert.strictEqual(String((await once(body, "data"))[0]), ": alive\n\n")
        body.destroy()
      })
    })

    it("drops a header whose name has an underscore", async () => {
      await through("nginx", same, async (ask) => {
        const asked = JSON.parse(
          await textOf(await ask("HTTP/2", "/asked", { headers: { x_session: "1", "x-session": "1" } }))
        )
        assert.deepStrictEqual([asked["x-session"], asked["x_session"]], ["1", undefined])
      })
    })

    it("[R59] that drops Sec-Fetch-Site and Origin lets other sites' pages in", async () => {
      const headers = { origin: "https://evil.test", "sec-fetch-site": "cross-site" }
      const post = (...lines: ReadonlyArray<string>) =>
        through("nginx", inLocation(...lines), (ask) => statusOf(ask("HTTP/2", "/open", { method: "POST", headers })))
      assert.strictEqual(await post('proxy_set_header Sec-Fetch-Site "";'), 403)
      assert.strictEqual(await post('proxy_set_header Sec-Fetch-Site "";', 'proxy_set_header Origin "";'), 204)
    })

    it("a cache keeps no answer to one user for another, unless it is told to ignore what the library says", async () => {
      const cached = (ignored: string) => (configuration: string) =>
        inServer("proxy_cache_path cache keys_zone=c:1m;")(
          inLocation("proxy_cache c;", "proxy_cache_valid any 1m;", ignored)(configuration)
        )
      const seen = (ignored: string) =>
        through("nginx", cached(ignored), async (ask) => {
          const cookies = [await logIn(ask, "ada"), await logIn(ask, "eve")]
          const lists: Array<string> = []
          for (const cookie of cookies)
            lists.push(await textOf(await ask("HTTP/2", "/devices", { headers: { cookie } })))
          return lists[0] === lists[1] ? "another's" : "one's own"
        })
      // `no-store` and `Vary: Cookie` are each enough.
      for (const ignored of ["", "proxy_ignore_headers Vary;", "proxy_ignore_headers Cache-Control;"]) {
        assert.strictEqual(await seen(ignored), "one's own", ignored)
      }
      assert.strictEqual(await seen("proxy_ignore_headers Cache-Control Vary;"), "another's")
    })
  }
)

const forChromium = has("Chromium") && hasOpenssl && hasProxy("nginx") && hasProxy("HAProxy")
needing(forChromium, "there is no chromium, nginx, haproxy or openssl on the PATH to start")("with Chromium", () => {
  let running: Running
  beforeAll(async () => {
    running = await launch("Chromium", { hosts: [host], certificate })
  }, 60_000)
  afterAll(() => running[Symbol.asyncDispose]())

  const open = async ({ origin }: ReverseProxy) => {
    const page = await running.browser.newPage()
    await visit(page, `${origin}/`)
    return async (path: string, method = "POST") => (await askInPage(page, path, { method })).status
  }

  it("a page logs in, and not where the proxy changes the cookie", async () => {
    const seen = (edit: (configuration: string) => string) =>
      through("nginx", edit, async (_, proxy) => {
        const ask = await open(proxy)
        return [
          await ask("/login/ada"),
          await ask("/devices", "GET"),
          await ask("/logout"),
          await ask("/devices", "GET")
        ]
      })
    assert.deepStrictEqual(await seen(same), [204, 200, 204, 401])
    assert.deepStrictEqual(await seen(inLocation(`proxy_cookie_domain ~.* ${host};`)), [204, 200, 204, 401])
    for (const change of ["proxy_cookie_path / /app/;", "proxy_cookie_flags ~ nosecure;"]) {
      assert.deepStrictEqual(await seen(inLocation(change)), [204, 401, 204, 401], change)
    }
  })

  it("sends a POST again whose connection to the app breaks off, behind HAProxy, and not behind nginx", async () => {
    const seen = async (name: ProxyName) => {
      const broken = await breakingOff()
      const posts = await through(
        name,
        same,
        async (_, proxy) => {
          const ask = await open(proxy)
          return [await ask("/open"), broken.requests()]
        },
        [broken.port]
      )
      broken.server.close()
      return posts
    }
    assert.deepStrictEqual(await seen("nginx"), [502, 1])
    const [status, times] = await seen("HAProxy")
    assert.strictEqual(status, 0)
    assert.isAbove(times!, 1)
  })
})

const forTimeouts = hasOpenssl && hasProxy("nginx") && hasProxy("HAProxy")
needing(forTimeouts, "there is no nginx, haproxy or openssl on the PATH to start")(
  "a proxy that waits a second",
  () => {
    it("cuts a feed off that is silent, and not one that is kept alive", async () => {
      const seen = (name: ProxyName, edit: (configuration: string) => string) =>
        through(name, edit, async (ask) => {
          const cookie = await logIn(ask)
          const isCut = async (path: string) => {
            const answer = await ask("HTTP/1.1", path, { headers: { cookie } })
            const ended = textOf(answer).then(
              () => "ended",
              () => "cut off"
            )
            return Promise.race([ended, pause(2500, "open")]).finally(() => answer.body.destroy())
          }
          return Promise.all([isCut("/feed"), isCut("/lively")])
        })
      const timeout = (configuration: string) => replace(configuration, "timeout server 60s", "timeout server 1s")
      const both = [seen("nginx", inLocation("proxy_read_timeout 1s;")), seen("HAProxy", timeout)]
      for (const one of await Promise.all(both)) assert.deepStrictEqual(one, ["cut off", "open"])
    })
  }
)

it("a page of another origin that the frontend trusts may read the answers, and no other", async () => {
  const preflight = async (origin: string) => {
    const headers = { origin, "access-control-request-method": "POST" }
    const { headers: said } = await fetch(`http://localhost:${port}/open`, { method: "OPTIONS", headers })
    return [said.get("access-control-allow-origin"), said.get("access-control-allow-credentials")]
  }
  assert.deepStrictEqual(await preflight("https://app.example.com:8443"), ["https://app.example.com:8443", "true"])
  assert.notStrictEqual((await preflight("https://evil.test"))[0], "https://evil.test")
})

it("[R59] Vite's proxy as an object passes Host on, and as a string does not", async () => {
  const { createServer } = await import("vite")
  const target = `http://localhost:${port}`
  const statuses = async (proxy: Record<string, any>) => {
    const server = await createServer({
      configFile: false,
      root: folder,
      logLevel: "silent",
      server: { ...vite.default.server, port: 0, proxy, hmr: false, watch: null }
    })
    await server.listen()
    const [origin] = server.resolvedUrls!.local.map((url) => new URL(url).origin)
    const post = async (headers: Record<string, string>) =>
      (await fetch(`${origin}/open`, { method: "POST", headers: { origin: origin!, ...headers } })).status
    const seen = [
      await post({}),
      await post({ "sec-fetch-site": "same-origin" }),
      await post({ origin: "http://evil.test" })
    ]
    await server.close()
    return seen
  }
  assert.deepStrictEqual(await statuses({ "/open": { ...vite.default.server.proxy["/api"], target } }), [204, 204, 403])
  assert.deepStrictEqual(await statuses({ "/open": target }), [403, 204, 403])
})
