import { execFileSync } from 'node:child_process'
import { readFileSync, writeFileSync } from 'node:fs'

/** Takes the module away, and the kernel's way to load it, until disposed of. */
export function withoutModule(name: string): Disposable {
  const loader = '/proc/sys/kernel/modprobe'
  const before = readFileSync(loader, 'utf8')
  execFileSync('modprobe', ['-r', name])
  writeFileSync(loader, '/nonexistent\n')
  return { [Symbol.dispose]: () => writeFileSync(loader, before) }
}
