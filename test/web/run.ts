/** `npm run test:web`: takes the pictures of the shop anew, and writes them where README.md has them. */
import { statSync } from "node:fs"
import { join } from "node:path"
import { launch } from "../support/browsers.ts"
import { folder, limit, names, take } from "./pictures.ts"
import { open } from "./shop.ts"

const shop = await open("sqlite")
{
  await using running = await launch("Chromium")
  await take(running.browser, shop)
}
await shop.close()
for (const name of names) {
  const { size } = statSync(join(folder, name))
  console.log(`${name}: ${size} bytes`)
  if (size > limit) process.exitCode = 1
}
