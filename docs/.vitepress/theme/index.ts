/** VitePress's own theme with the reader's fonts, and what style.css changes of it. */
import Theme from "vitepress/theme-without-fonts"
import "./style.css"

export default Theme
