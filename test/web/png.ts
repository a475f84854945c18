/** A screenshot as a PNG with a palette: a third of the size, of pages that have few colours. */
import { crc32, deflateSync, inflateSync } from "node:zlib"

const signature = Buffer.from([0x89, 0x50, 0x4e, 0x47, 0x0d, 0x0a, 0x1a, 0x0a])

const chunk = (type: string, data: Buffer): Buffer => {
  const body = Buffer.concat([Buffer.from(type, "latin1"), data])
  const [length, check] = [Buffer.alloc(4), Buffer.alloc(4)]
  length.writeUInt32BE(data.length)
  check.writeUInt32BE(crc32(body))
  return Buffer.concat([length, body, check])
}

const chunksOf = (png: Buffer): ReadonlyArray<readonly [type: string, data: Buffer]> => {
  const found: Array<readonly [string, Buffer]> = []
  for (let at = signature.length; at < png.length;) {
    const length = png.readUInt32BE(at)
    found.push([png.toString("latin1", at + 4, at + 8), png.subarray(at + 8, at + 8 + length)])
    at += 12 + length
  }
  return found
}

const nearest = (left: number, up: number, both: number): number => {
  const [a, b, c] = [Math.abs(up - both), Math.abs(left - both), Math.abs(left + up - 2 * both)]
  return a <= b && a <= c ? left : b <= c ? up : both
}

/** The rows of samples, of which a PNG holds the differences (its specification, 9.2). */
const rowsOf = (packed: Buffer, width: number, size: number): ReadonlyArray<Buffer> => {
  const rows: Array<Buffer> = []
  let before = Buffer.alloc(width * size)
  for (let at = 0; at < packed.length; at += width * size + 1) {
    const filter = packed[at]!
    const row = Buffer.from(packed.subarray(at + 1, at + 1 + width * size))
    for (let i = 0; i < row.length; i++) {
      const left = row[i - size] ?? 0
      const up = before[i]!
      const guess = [0, left, up, (left + up) >> 1, nearest(left, up, before[i - size] ?? 0)][filter]!
      row[i] = row[i]! + guess
    }
    rows.push(row)
    before = row
  }
  return rows
}

export const withPalette = (png: Buffer): Buffer => {
  const chunks = chunksOf(png)
  const header = Buffer.from(chunks.find(([type]) => type === "IHDR")![1])
  const width = header.readUInt32BE(0)
  const size = header[9] === 6 ? 4 : 3
  if (header[8] !== 8 || header[12] !== 0 || ![2, 6].includes(header[9]!)) throw new Error("not a PNG of a screenshot")
  const data = Buffer.concat(chunks.filter(([type]) => type === "IDAT").map(([, data]) => data))
  const rows = rowsOf(inflateSync(data), width, size)
  // Rounded as little as it takes for 256 colours: shades at the edges of letters, which nobody tells apart.
  for (let step = 1; ; step *= 2) {
    const palette = new Map<number, number>()
    const rounded = (value: number) => Math.min(255, Math.round(value / step) * step)
    const indexed = rows.map((row) => {
      const line = Buffer.alloc(width + 1)
      for (let x = 0; x < width; x++) {
        const [red, green, blue] = [0, 1, 2].map((channel) => rounded(row[x * size + channel]!)) as [
          number,
          number,
          number
        ]
        const colour = (red << 16) | (green << 8) | blue
        if (!palette.has(colour)) palette.set(colour, palette.size)
        line[x + 1] = palette.get(colour)!
      }
      return line
    })
    if (palette.size > 256) continue
    header[9] = 3
    const colours = Buffer.from(
      [...palette.keys()].flatMap((colour) => [colour >> 16, (colour >> 8) & 255, colour & 255])
    )
    return Buffer.concat([
      signature,
      chunk("IHDR", header),
      chunk("PLTE", colours),
      chunk("IDAT", deflateSync(Buffer.concat(indexed), { level: 9 })),
      chunk("IEND", Buffer.alloc(0))
    ])
  }
}
