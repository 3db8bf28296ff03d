// An initramfs: a cpio archive in the "newc" format, as the kernel's Documentation/driver-api/early-userspace/buffer-format.rst
// describes it. Uncompressed: the guest would pay for unpacking.

const DIRECTORY = 0o040755
const EXECUTABLE = 0o100755

export type Entry = { readonly path: string; readonly content?: Buffer }

/** Directories are entries without content; each must come before what is in it. */
export function cpio(entries: readonly Entry[]): Buffer {
  const parts = entries.map(({ path, content }, index) => record(path, index + 1, content))
  return Buffer.concat([...parts, record('TRAILER!!!', 0, Buffer.alloc(0))])
}

function record(path: string, inode: number, content: Buffer | undefined): Buffer {
  const name = Buffer.from(`${path}\0`)
  const size = content?.length ?? 0
  const fields = [inode, content === undefined ? DIRECTORY : EXECUTABLE, 0, 0, 1, 0, size, 0, 0, 0, 0, name.length, 0]
  const header = Buffer.from(`070701${fields.map(field => field.toString(16).padStart(8, '0')).join('')}`)
  return Buffer.concat([pad(Buffer.concat([header, name])), pad(content ?? Buffer.alloc(0))])
}

function pad(bytes: Buffer): Buffer {
  return Buffer.concat([bytes, Buffer.alloc(-bytes.length & 3)])
}
