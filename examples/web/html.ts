/** HTML in which every text is escaped: what a template is given is text, unless a template made it. */
import { HttpServerResponse } from "effect/http"

export class Html {
  readonly source: string
  constructor(source: string) {
    this.source = source
  }
}

type Part = Html | string | number | false | null | undefined | ReadonlyArray<Html>

const entities: Readonly<Record<string, string>> = {
  "&": "&amp;",
  "<": "&lt;",
  ">": "&gt;",
  '"': "&quot;",
  "'": "&#39;"
}

const escape = (text: string): string => text.replaceAll(/[&<>"']/g, (character) => entities[character]!)

const render = (part: Part): string => {
  if (part === undefined || part === null || part === false) return ""
  if (part instanceof Html) return part.source
  return typeof part === "object" ? part.map(render).join("") : escape(String(part))
}

/** Put attributes in double quotes. No text belongs into a `<script>`, a `<style>` or an attribute that is a script. */
export const html = (strings: TemplateStringsArray, ...parts: ReadonlyArray<Part>): Html =>
  new Html(strings.map((string, i) => string + render(parts[i])).join(""))

export const respond = (page: Html, status = 200): HttpServerResponse.HttpServerResponse =>
  HttpServerResponse.text(page.source, { status, contentType: "text/html; charset=utf-8" })

/** After a form: the browser goes on with GET, and sends nothing again when the page is loaded again. */
export const seeOther = (path: string): HttpServerResponse.HttpServerResponse =>
  HttpServerResponse.redirect(path, { status: 303 })

/** A form of one button. */
export const button = (
  label: string,
  action: string,
  look: "plain" | "alarm" | "",
  value?: [name: string, value: string]
) =>
  html`<form method="post" action="${action}">
    <button class="${look}" ${value && html`name="${value[0]}" value="${value[1]}"`}>${label}</button>
  </form>`
