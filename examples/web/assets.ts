/** The style of the pages and their one script: files of their own, so that no page has either inline. */
import { Effect, Layer } from "effect"
import { HttpRouter, HttpServerResponse } from "effect/http"

const style = `
:root {
  color-scheme: light dark;
  --ground: light-dark(#f6f5f1, #161815);
  --card: light-dark(#fff, #1f221e);
  --ink: light-dark(#20251f, #e8ebe4);
  --quiet: light-dark(#6a7168, #9aa396);
  --line: light-dark(#e3e2da, #343831);
  --leaf: light-dark(#2f6b46, #7fc29a);
  --on-leaf: light-dark(#fff, #10150f);
  --wash: light-dark(#e8f1eb, #22332a);
  --alarm: light-dark(#a3362b, #ee9184);
}
* { box-sizing: border-box }
body { margin: 0; background: var(--ground); color: var(--ink); font: 16px/1.5 system-ui, sans-serif }
header, main { max-width: 45rem; margin: 0 auto; padding: 0 1.25rem }
header { display: flex; flex-wrap: wrap; gap: 0.25rem 1.25rem; align-items: center; min-height: 4rem }
header > a:first-child { font-weight: 650; margin-right: auto; color: var(--ink); text-decoration: none }
h1 { font-size: 1.5rem; line-height: 1.25; margin: 1rem 0 }
h2 { font-size: 1rem; margin: 0 }
p { margin: 0.5rem 0 }
a { color: var(--leaf) }
small, .quiet { color: var(--quiet); font-size: 0.875rem }
.card { background: var(--card); border: 1px solid var(--line); border-radius: 0.75rem; margin: 1rem 0; padding: 1rem 1.25rem }
.rows { list-style: none; padding: 0 1.25rem }
.rows li { display: flex; gap: 1rem; align-items: center; padding: 0.75rem 0 }
.rows li + li { border-top: 1px solid var(--line) }
.rows li > :first-child { flex: 1; min-width: 0; overflow-wrap: anywhere }
.rows small { display: block }
form { margin: 0 }
.fields { display: grid; gap: 0.75rem; max-width: 22rem }
.fields label { display: grid; gap: 0.25rem; font-size: 0.875rem }
.fields label.check { display: flex; gap: 0.5rem; align-items: center }
.inline { display: flex; gap: 0.5rem; align-items: center; flex-wrap: wrap }
input { font: inherit; color: inherit; background: var(--ground); border: 1px solid var(--line); border-radius: 0.5rem; padding: 0.45rem 0.65rem }
button { font: inherit; font-weight: 550; color: var(--on-leaf); background: var(--leaf); border: 1px solid var(--leaf); border-radius: 0.5rem; padding: 0.4rem 0.9rem; cursor: pointer }
button.plain { color: var(--leaf); background: none; border-color: var(--line) }
header button.plain { border: 0; padding: 0; font-weight: 400; text-decoration: underline }
button.alarm { color: var(--alarm); background: none; border-color: currentColor }
.badge { font-size: 0.75rem; font-weight: 600; color: var(--leaf); background: var(--wash); border-radius: 1rem; padding: 0.1rem 0.6rem; margin-left: 0.5rem }
.flash { background: var(--wash); border-radius: 0.5rem; padding: 0.6rem 1rem; margin: 1rem 0 }
.flash.alarm { color: var(--alarm); background: none; border: 1px solid currentColor }
.live { display: flex; gap: 0.75rem; align-items: center }
.live::before { content: ""; flex: none; width: 0.6rem; height: 0.6rem; border-radius: 50%; background: var(--quiet) }
.live.on::before { background: var(--leaf); box-shadow: 0 0 0 0.25rem var(--wash) }
.live.dark { background: #1b1d1a; border-color: #1b1d1a; color: #c9cfc5 }
.live.dark::before { background: #e2695b; box-shadow: none }
.live.dark a { color: #9fd6b5 }
table { width: 100%; border-collapse: collapse; font-size: 0.875rem }
th { text-align: left; font-weight: 500; color: var(--quiet) }
th, td { padding: 0.4rem 1rem 0.4rem 0; border-bottom: 1px solid var(--line); vertical-align: top; overflow-wrap: anywhere }
td:first-child, td:last-child { white-space: nowrap; color: var(--quiet) }
td:nth-child(2) { min-width: 4.5rem }
.card:has(table) { overflow-x: auto }
tr:last-child td { border-bottom: 0 }
`

const script = `
// A page that the browser has kept as it was asks the server again: the session may have ended meanwhile.
addEventListener("pageshow", (event) => { if (event.persisted) location.reload() })

const feed = document.querySelector("#feed")
const say = (state, text) => {
  feed.className = "card live " + state
  feed.querySelector("span").textContent = text
}
let why = "Your session has ended."
const listen = (tries = 1) => {
  const source = new EventSource("/feed")
  source.onmessage = ({ data }) => say("on", data)
  // Ask again: after a change of the token it is this browser that gets the new one, and its answer may be on its way.
  source.addEventListener("ended", ({ data }) => { why = data; source.close(); listen(4) })
  source.onerror = () => {
    if (source.readyState !== EventSource.CLOSED) return say("", "Connecting…")
    if (tries > 1) {
      say("", "Connecting…")
      return setTimeout(listen, 1000, tries - 1)
    }
    say("dark", why + " ")
    feed.querySelector("a").hidden = false
  }
}
if (feed) listen()
`

const file = (text: string, contentType: string) =>
  Effect.succeed(HttpServerResponse.text(text, { contentType, headers: { "cache-control": "no-cache" } }))

export const Assets = Layer.mergeAll(
  HttpRouter.add("GET", "/style.css", file(style, "text/css; charset=utf-8")),
  HttpRouter.add("GET", "/page.js", file(script, "text/javascript; charset=utf-8"))
)
