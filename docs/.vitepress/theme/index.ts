/** VitePress's own theme with the reader's fonts, and what style.css changes of it. */
import type { Theme } from "vitepress"
import DefaultTheme from "vitepress/theme-without-fonts"
import "./style.css"

const theme: Theme = {
  extends: DefaultTheme,
  enhanceApp: ({ app }) => {
    // A page that cannot be rendered fails the build. Vue alone logs it, and the page is built without its text.
    app.config.throwUnhandledErrorInProduction = true
  }
}

export default theme
