/** How long the event loop of this process was blocked. */
import { processorWait } from "./processorWait.ts"

/** How often it looks, in milliseconds. */
const every = 5

/**
 * Begins to watch, and answers how to ask for the longest time, in milliseconds, that the event loop was blocked since it
 * was last asked. The time in which this process waited for a processor does not count: that is the machine's.
 */
export const watchLoop = (): (() => number) => {
  let longest = 0
  let last = performance.now()
  let waited = processorWait()
  setInterval(() => {
    const now = performance.now()
    const nowWaited = processorWait()
    longest = Math.max(longest, now - last - every - (nowWaited - waited))
    last = now
    waited = nowWaited
  }, every).unref()
  return () => {
    const answer = longest
    longest = 0
    return answer
  }
}
