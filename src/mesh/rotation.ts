import { createHash } from 'node:crypto'
import type { NodeName } from './node-record.ts'

/** When private keys are replaced, and how long others are waited for. */
export interface RotationSettings {
  /** Milliseconds that a key is used for at most; 0 is for ever. */
  readonly interval: number
  /** Unix milliseconds: keys that were in use before are to be replaced. */
  readonly notBefore: number | undefined
  /** The same, for keys that somebody else may know: nobody is waited for longer than COMPROMISED_PATIENCE. */
  readonly compromised: number | undefined
  /**
   * Milliseconds that a peer may take to move its traffic off a device that changes. One that takes longer loses packets
   * until it has learned of the change.
   */
  readonly patience: number
}

export const ROTATION_DEFAULTS: RotationSettings = {
  interval: 0,
  notBefore: undefined,
  compromised: undefined,
  patience: 600_000,
}

const COMPROMISED_PATIENCE = 30_000

/** Of a lifetime: nodes that got their keys together are to replace them one by one. */
const SPREAD = 0.1

/**
 * Whether a key is to be replaced now, and how long its peers may take.
 * @param since Unix milliseconds at which the device got the key
 * @param now Unix milliseconds; what lies in the future has not come yet, by this node's clock
 */
export function rotationDue(
  { interval, notBefore, compromised, patience }: RotationSettings,
  self: NodeName,
  since: number,
  now: number,
): { readonly due: boolean; readonly patience: number } {
  const asked = (time: number | undefined): boolean => time !== undefined && time <= now && since < time
  if (asked(compromised)) return { due: true, patience: Math.min(patience, COMPROMISED_PATIENCE) }
  const expires = since + interval * (1 - SPREAD * fraction(self))
  return { due: asked(notBefore) || (interval > 0 && now >= expires), patience }
}

/** From 0 to 1, the same for a name every time. */
const fraction = (name: string): number => createHash('sha256').update(name).digest().readUInt32BE(0) / 2 ** 32
