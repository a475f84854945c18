/**
 * Where a command's key is, and which of a Cluster's slots it is in.
 *
 * @internal
 */

/** Commands without a key, which any node may answer. */
const keyless = new Set(
  (
    "ACL AUTH CLIENT CLUSTER COMMAND CONFIG DBSIZE ECHO FLUSHALL FLUSHDB FUNCTION HELLO INFO LASTSAVE LATENCY MODULE " +
    "PING PUBLISH PUBSUB RANDOMKEY ROLE SCAN SCRIPT SLOWLOG TIME WAIT WAITAOF"
  ).split(" ")
)

/** Commands whose key stands after their number of keys. */
const numbered = new Set(["EVAL", "EVAL_RO", "EVALSHA", "EVALSHA_RO", "FCALL", "FCALL_RO"])

/** Commands whose key stands after a word that says what is to be done with it. */
const subcommanded = new Set(["BITOP", "MEMORY", "OBJECT", "XGROUP", "XINFO"])

/** The first key of a command, by which a Cluster's client finds its node. */
export const keyOf = (command: string, args: ReadonlyArray<string>): string | undefined => {
  const name = command.toUpperCase()
  if (keyless.has(name)) return undefined
  if (numbered.has(name)) return Number(args[1]) > 0 ? args[2] : undefined
  if (subcommanded.has(name)) return args[1]
  if (name === "XREAD" || name === "XREADGROUP") {
    const streams = args.findIndex((arg) => arg.toUpperCase() === "STREAMS")
    return streams === -1 ? undefined : args[streams + 1]
  }
  return args[0]
}

/** What is hashed of a key: its tag in braces, if it has one. */
const hashed = (key: string): string => {
  const begin = key.indexOf("{")
  const end = begin === -1 ? -1 : key.indexOf("}", begin + 1)
  return end > begin + 1 ? key.slice(begin + 1, end) : key
}

const encoder = new TextEncoder()

/** The slot of a key: CRC16 (XMODEM), modulo 16384. */
export const slotOf = (key: string): number => {
  let crc = 0
  for (const byte of encoder.encode(hashed(key))) {
    crc ^= byte << 8
    for (let bit = 0; bit < 8; bit++) crc = (crc & 0x8000) === 0 ? crc << 1 : (crc << 1) ^ 0x1021
    crc &= 0xffff
  }
  return crc % 16_384
}
