import { portable } from "./files.ts"

/**
 * The portable tests share their modules, so that Effect is loaded once. They share its reading of the environment too: no
 * file can set a variable for itself.
 */
export const sharing = {
  include: [...portable],
  isolate: false,
  env: { SESSION_SECRET: "tS0uT1hGqWc5m8ZrYb3xKJvPe7LdA2nF9iQyXoVkDz4=" }
}
