/** What is not the same on every runtime, by the names of tests, each with its reason. */

export interface Known {
  /** A test file, or a folder of them. */
  readonly file: string
  /** A part of its name, which begins with those of its groups. */
  readonly test: string
  readonly reason: string
}

/**
 * Tests that run on Node 24 alone: of the slowest, those that ask nothing of a runtime. They try every order of calls
 * in a model of a store, without timers, sockets, files or cryptography; the same with fewer orders runs everywhere.
 */
export const notRepeated: ReadonlyArray<Known> = [
  {
    file: "test/laws/",
    test: "of whose calls one of",
    reason:
      "every order of log-ins, updates and log-outs with a fault at each call: minutes of processor time, on Deno ten times " +
      "as long; every order without faults runs everywhere"
  },
  {
    file: "test/manager/rotationSchedules.test.ts",
    test: "two tabs around scheduled rotations > [R55] [R56] are never logged out unless they log out",
    reason: "every order of two tabs' calls; test/manager/rotationRaces.test.ts runs everywhere"
  },
  {
    file: "test/SessionBackendMemory.test.ts",
    test: "bounds > [R84d] 10^5 anonymous log-ins at a cap of 10^3 leave the newest thousand, and every login",
    reason: "measures single calls of microseconds, which the tests of the other runtime beside it delay"
  }
]

/** Tests that fail on a runtime, and have to. */
export const differences: Readonly<Record<string, ReadonlyArray<Known>>> = {
  bun: [
    {
      file: "test/clientRedirects.test.ts",
      test: "over undici",
      reason: "Bun puts another module in place of the package undici, which Effect's client cannot use; it has `fetch`"
    }
  ],
  deno: [
    {
      file: "test/frontend/places.test.ts",
      test: "the places a token may come from > [R30] several Cookie headers of a web Request are one",
      reason:
        "Deno's `Headers` joins them with commas if a program appends them; its servers join them with semicolons " +
        "(ownServer.test.ts)"
    }
  ]
}

/** Matches the names of all tests but these. Versions of vitest join the names of groups by a space, or as we do. */
export const pattern = (tests: ReadonlyArray<Known>): RegExp => {
  const names = tests.map(({ test }) => test.replace(/[\\^$.*+?()[\]{}|]/g, "\\$&").replaceAll(" > ", "(?: > | )"))
  return new RegExp(`^(?!.*(?:${names.join("|")}))`)
}
