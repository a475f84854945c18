import { portable } from "./files.ts"

/**
 * The portable tests share their modules, so that Effect is loaded once, not for each file. So they share what it has read
 * of the environment, too, and a file can set no variable for itself.
 */
export const sharing = {
  include: [...portable],
  isolate: false,
  env: { SESSION_SECRET: "tS0uT1hGqWc5m8ZrYb3xKJvPe7LdA2nF9iQyXoVkDz4=" }
}
