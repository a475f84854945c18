/** All that is tried in browsers, in the order of docs/browsers.md. */
import type { Scenario } from "./scenario.ts"
import { fetchedAhead } from "./scenarios/ahead.ts"
import { crossSite } from "./scenarios/crossSite.ts"
import { frames } from "./scenarios/frames.ts"
import { backAfterLogOut } from "./scenarios/history.ts"
import { localHttp } from "./scenarios/localHttp.ts"
import { tabs, tokens } from "./scenarios/tokens.ts"

export const scenarios: ReadonlyArray<Scenario> = [
  localHttp,
  backAfterLogOut,
  fetchedAhead,
  crossSite,
  frames,
  tokens,
  tabs
]
