import type { WireGuardDevices } from '#wg/device/device.ts'

/** A place to work on devices in: devices of one kind in a network namespace of their own, or a model of them. */
export interface Bench extends AsyncDisposable {
  readonly devices: WireGuardDevices
  /** A name that nothing has yet; what is made under it goes with the bench. */
  newName(): string
  /** Makes a link of that name that is no WireGuard device. */
  addForeignLink(name: string): Promise<void>
  hasLink(name: string): Promise<boolean>
  /** What only real devices can do; undefined on a model. */
  readonly real?: RealBench
}

export interface RealBench {
  setUp(name: string): Promise<void>
  /** Runs `wg` where the devices are. */
  wg(args: readonly string[], input?: string): string
}
