import { fingerprint, type PublicKey } from '#keys/public-key.ts'
import type { Logger } from '#src/cluster/logger.ts'
import type { FamilyConfig } from '#src/mesh/family-view.ts'
import type { PodveilSettings } from '#src/mesh/guard.ts'
import { SPARE_DEVICES } from '#src/mesh/marks.ts'
import { type MovePlan, othersMove } from '#src/mesh/move.ts'
import type { NodeName, NodeRecord } from '#src/mesh/node-record.ts'
import { rotationDue } from '#src/mesh/rotation.ts'
import type { Family } from '#wg/ip.ts'
import type { DeviceFile, HeldDevice } from './device-file.ts'
import type { DeviceIdentities, FamilyMesh } from './family-mesh.ts'
import type { FamilyKeys, Keyring } from './keyring.ts'

/** What the devices of a family are, and whether the main one is to become something else. */
export interface Renewed {
  readonly identities: DeviceIdentities
  readonly mainChanges: boolean
}

/** Where the main device's key stands. */
export interface KeyRotation {
  /** What the main device has. */
  readonly key: PublicKey
  /** Another one is made, and takes its place as soon as nothing goes by this one. */
  readonly replacing: boolean
}

/** Of a family without a key, or whose configuration cannot be used. */
export const NO_DEVICES: Renewed = { identities: { main: undefined, spare: undefined }, mainChanges: false }

/** Milliseconds in which what was given to the main device before traffic left it is sent, and what was sent to it arrives. */
const SETTLING = 2_000

/**
 * Gives the main device of one family another key, port or name, once no traffic goes by it: peers first move theirs to the
 * spare device, and come back to the main one when it has changed.
 */
export class Renewal {
  readonly #family: Family
  readonly #self: NodeName
  readonly #file: DeviceFile
  readonly #log: Logger
  #awaySince: number | undefined
  #readySince: number | undefined
  #patience = 0
  #told = ''
  #rotation: KeyRotation | undefined
  /** The main device's next change gives it the next key, which the spare device has already. */
  #keyChanges = false

  constructor(family: Family, self: NodeName, file: DeviceFile, log: Logger) {
    this.#family = family
    this.#self = self
    this.#file = file
    this.#log = log
  }

  /** Undefined before the first pass, and while there is no key. */
  get rotation(): KeyRotation | undefined {
    return this.#rotation
  }

  /**
   * What the devices are now.
   * @throws KeyFileError
   */
  async devices(
    config: FamilyConfig,
    podveil: PodveilSettings,
    keyring: Keyring,
    mesh: Pick<FamilyMesh, 'devices' | 'isCarriedBySpare'>,
    nodes: ReadonlyMap<NodeName, NodeRecord>,
  ): Promise<Renewed> {
    const family = this.#family
    let keys = keyring.keys[family]
    if (!keys) {
      this.#rotation = undefined
      return NO_DEVICES
    }
    const held = await this.#held(config, keys)
    const { due, patience } = rotationDue(podveil.rotation, this.#self, held.keySince, Date.now())
    this.#patience = patience
    const spareKey = mesh.devices.find(({ name }) => name === SPARE_DEVICES[family])?.publicKey
    // A spare device that carries traffic for somebody else's change, or may at any time, keeps its key until that has gone back.
    const spareIsTaken =
      spareKey === keys.current.publicKey() && (mesh.isCarriedBySpare || othersMove(nodes, this.#self, family))
    if (due && !keys.next && !spareIsTaken) {
      await keyring.prepare(family)
      keys = keyring.keys[family] ?? keys
      this.#log.info({ event: 'key-rotation', family }, `IPv${family}: replacing the private key`)
    }
    const { current, next } = keys
    this.#rotation = { key: current.publicKey(), replacing: next !== undefined }
    const main = { name: held.name, listenPort: held.listenPort, privateKey: current }
    const spare = {
      name: SPARE_DEVICES[family],
      listenPort: sparePort(family, config, held, podveil),
      privateKey: spareIsTaken ? current : (next ?? current),
    }
    this.#keyChanges = next !== undefined && !spareIsTaken
    const mainChanges = this.#keyChanges || held.name !== config.interfaceName || held.listenPort !== config.listenPort
    return { identities: { main, spare }, mainChanges }
  }

  /**
   * Changes the main device if nobody needs it as it is any more.
   * @param spareIsUp without a spare device nobody can follow, and no patience runs out
   * @param now milliseconds, monotonic
   * @returns when to look again: now if it has been changed
   * @throws KeyFileError
   */
  async advance(
    { move, waitsFor }: MovePlan,
    spareIsUp: boolean,
    config: FamilyConfig,
    keyring: Keyring,
    now: number,
  ): Promise<number> {
    if (move !== 'away') {
      this.#awaySince = undefined
      this.#readySince = undefined
      return Number.POSITIVE_INFINITY
    }
    if (!spareIsUp) this.#awaySince = now
    this.#awaySince ??= now
    this.#readySince = waitsFor.length === 0 ? (this.#readySince ?? now) : undefined
    const change = Math.min(this.#awaySince + this.#patience, (this.#readySince ?? Number.POSITIVE_INFINITY) + SETTLING)
    if (now < change) {
      if (waitsFor.length > 0)
        this.#tell(`IPv${this.#family}: the main device changes as soon as ${names(waitsFor)} send by the spare one`)
      return change
    }
    await this.#change(waitsFor, config, keyring)
    return now
  }

  async #change(waitsFor: readonly NodeName[], config: FamilyConfig, keyring: Keyring): Promise<void> {
    const keys = keyring.keys[this.#family]
    if (!keys) return
    const who =
      waitsFor.length > 0
        ? `, without waiting any longer for ${names(waitsFor)}: they lose packets until they follow`
        : ''
    const next = this.#keyChanges ? keys.next : undefined
    const key = next ?? keys.current
    const before = await this.#file.held(this.#family)
    const publicKey = key.publicKey()
    // The key first: an agent that dies before the other file is written still knows the device by its name.
    if (next) await keyring.promote(this.#family)
    await this.#file.hold(this.#family, {
      name: config.interfaceName,
      listenPort: config.listenPort,
      publicKey,
      keySince: next ? Date.now() : (before?.keySince ?? Date.now()),
    })
    this.#log[who === '' ? 'info' : 'warn'](
      { event: 'device-changed', family: this.#family, key: fingerprint(publicKey) },
      `IPv${this.#family}: ${config.interfaceName} has port ${config.listenPort} and key ${fingerprint(publicKey)} now${who}`,
    )
    this.#told = ''
  }

  async #held(config: FamilyConfig, { current }: FamilyKeys): Promise<HeldDevice> {
    const held = await this.#file.held(this.#family)
    const publicKey = current.publicKey()
    if (held?.publicKey === publicKey) return held
    // The first device ever, one whose key was lost, or an agent that died between the two files of a change.
    const { interfaceName: name, listenPort } = config
    const fresh: HeldDevice = {
      name: held?.name ?? name,
      listenPort: held?.listenPort ?? listenPort,
      publicKey,
      keySince: Date.now(),
    }
    await this.#file.hold(this.#family, fresh)
    return fresh
  }

  #tell(words: string): void {
    if (words !== this.#told) this.#log.info({ event: 'device-change-waits', family: this.#family }, words)
    this.#told = words
  }
}

/** Any port that neither the main device has nor is to have: it is announced. */
function sparePort(family: Family, config: FamilyConfig, held: HeldDevice, podveil: PodveilSettings): number {
  let port = family === 4 ? podveil.spareListeningPort : podveil.spareListeningPortV6
  while (port === config.listenPort || port === held.listenPort) port += 2
  return port
}

const names = (nodes: readonly NodeName[]): string =>
  nodes.length > 5 ? `${nodes.slice(0, 5).join(', ')} and ${nodes.length - 5} more` : nodes.join(', ')
