import { describe } from 'vitest'
import { hasUserspaceWireGuard, missingRequirement } from '#src/lab/requirements.ts'

/** What a group of cases needs besides root and network namespaces. */
export interface Needs {
  /** Programs, by the names that a shell finds them by. */
  readonly programs?: readonly string[]
  /** wireguard-go with /dev/net/tun. */
  readonly userspaceWireGuard?: boolean
  /** That packets come while somebody works: not where the clock goes by events (`uml/run --steady`). */
  readonly workTakesTime?: boolean
}

/** Why these cases cannot run on this machine; undefined when they can. */
export function reasonToSkip(needs: Needs): string | undefined {
  const missing = missingRequirement(['openssl', 'ping', ...(needs.programs ?? [])])
  if (missing) return missing.message
  if (needs.userspaceWireGuard && !hasUserspaceWireGuard()) return 'wireguard-go or /dev/net/tun is missing'
  if (needs.workTakesTime && process.env.PODVEIL_CLOCK === 'events') return 'work takes no time by this kernel’s clock'
  return undefined
}

/** Cases that need a lab. Where they cannot run they are skipped, counted as such, and carry the reason in their name. */
export function describeLab(name: string, needs: Needs, cases: () => void): void {
  const reason = reasonToSkip(needs)
  if (reason === undefined) {
    describe(name, cases)
    return
  }
  console.warn(`SKIPPED: ${name}: ${reason}`)
  describe.skip(`${name} (skipped: ${reason})`, cases)
}
