// A distribution ships its kernel as a bzImage: a loader with the real kernel compressed inside. Under software emulation the
// loader's decompression takes seconds at each boot, so it is done here, once. QEMU starts the ELF image by its PVH entry.
import { constants, gunzipSync, zstdDecompressSync } from 'node:zlib'
import { needProgram, output } from '../tools/programs.ts'

// Offsets in the setup header, from the kernel's Documentation/arch/x86/boot.rst.
const SETUP_SECTS = 0x1f1
const HEADER_MAGIC = 0x202
const PAYLOAD_OFFSET = 0x248
const PAYLOAD_LENGTH = 0x24c
const SECTOR = 512

/** @throws where the image is not a bzImage, or is compressed by something unknown */
export function unpackKernel(bzImage: Buffer): Buffer {
  if (bzImage.length < 0x250 || bzImage.toString('latin1', HEADER_MAGIC, HEADER_MAGIC + 4) !== 'HdrS') {
    throw new Error('not a bzImage: no setup header')
  }
  const setup = ((bzImage[SETUP_SECTS] || 4) + 1) * SECTOR
  const start = setup + bzImage.readUInt32LE(PAYLOAD_OFFSET)
  const end = start + bzImage.readUInt32LE(PAYLOAD_LENGTH)
  if (end > bzImage.length)
    throw new Error(`not a whole bzImage: the payload ends at ${end} of ${bzImage.length} bytes`)

  const elf = decompress(bzImage.subarray(start, end))
  if (elf.toString('latin1', 0, 4) !== '\x7fELF') throw new Error('the payload of the bzImage is not an ELF image')
  return elf
}

function decompress(payload: Buffer): Buffer {
  // gzip ends with the unpacked length by itself; to the others the kernel's build appends it.
  const stream = payload.subarray(0, -4)
  switch (payload.readUInt32BE(0)) {
    case 0x28b52ffd:
      return zstdDecompressSync(stream, { params: { [constants.ZSTD_d_windowLogMax]: 31 } })
    case 0x02214c18:
      return output(needProgram('lz4', 'lz4'), ['-dc'], { input: stream })
    case 0xfd377a58:
      return output(needProgram('xz-utils', 'xz'), ['-dc'], { input: stream })
    default:
      return gunzipSync(payload)
  }
}
