import { readFileSync } from "node:fs"

/**
 * How long a process, this one by default, was ready to run and waited for a processor, in milliseconds since it began.
 * Linux counts that; elsewhere the answer is 0.
 */
export const processorWait = (pid: number | "self" = "self"): number => {
  try {
    return Number(readFileSync(`/proc/${pid}/schedstat`, "utf8").split(" ")[1]) / 1e6
  } catch {
    return 0
  }
}
