import { execFileSync } from 'node:child_process'
import { existsSync, readdirSync } from 'node:fs'
import { Lab } from '#src/lab/lab.ts'
import { knownLabs } from '#src/lab/state.ts'

const NAMESPACES = '/run/netns'

/** Removes what this process has made when it is told to end before it is through. */
export function cleanUpOnSignals(): void {
  for (const signal of ['SIGINT', 'SIGTERM'] as const)
    process.once(signal, () => {
      void removeOurs().finally(() => process.exit(130))
    })
}

async function removeOurs(): Promise<void> {
  const labs = knownLabs().filter(name => name.startsWith(`bench-${process.pid}-`))
  await Promise.allSettled(labs.map(name => Lab.remove(name)))
  const namespaces = existsSync(NAMESPACES) ? readdirSync(NAMESPACES) : []
  for (const name of namespaces.filter(name => name.startsWith(`podveil-nl-${process.pid}-`)))
    execFileSync('ip', ['netns', 'delete', name])
}
