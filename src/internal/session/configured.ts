/**
 * Options of a layer that come from configuration.
 *
 * @internal
 */
import * as Config from "effect/Config"

/**
 * The options `O` of a layer, each as a `Config` of its value. Functions stay what they are: no environment holds one.
 *
 * @stability experimental
 * @category options
 * @since 0.1.0
 */
export type ConfigOptions<O> = {
  readonly [K in keyof O]: NonNullable<O[K]> extends (...args: never) => unknown ? O[K] : Config.Wrap<O[K]>
}

/** Reads the options. */
export const configured = <O extends object>(options: ConfigOptions<O>): Config.Config<O> => {
  const wrapped = Object.entries(options)
    .filter(([, option]) => option !== undefined)
    .map(([name, option]) => [name, typeof option === "function" ? Config.succeed(option) : option] as const)
  // The type of the argument says what each option is, and so what is read. `Object.entries` does not keep it.
  const config = Config.unwrap<Record<string, unknown>>(
    Object.fromEntries(wrapped) as Record<string, Config.Config<unknown>>
  )
  return config as Config.Config<unknown> as Config.Config<O>
}
