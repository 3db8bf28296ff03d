import { chmod, mkdtemp, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { PrivateKey } from '#keys/private-key.ts'
import type { PublicKey } from '#keys/public-key.ts'
import type { Lab, LabNode } from '#src/lab/lab.ts'
import { inNamespace, namespacePids, removeNamespaces } from '#src/lab/namespaces.ts'
import { killAll } from '#src/lab/processes.ts'
import { must } from '#src/lab/run.ts'
import { BRIDGE } from '#src/lab/topology.ts'
import { profile } from '../../mesh/support/profile.ts'

const ADDRESS = '10.200.0.66/24'

let made = 0

/** A machine on the underlay that is no node: it has an address of its own, a WireGuard device and a key. */
export class Attacker implements AsyncDisposable {
  readonly #namespace: string
  readonly #key = PrivateKey.generate()
  // Sockets of userspace devices are in one directory of the machine, so the name is nobody else's.
  readonly #device = `wg-atk${process.pid % 1_000_000}${++made}`

  private constructor(lab: Lab) {
    this.#namespace = `podveil-${lab.name}-attacker`
  }

  static async join(lab: Lab): Promise<Attacker> {
    const attacker = new Attacker(lab)
    try {
      await attacker.#build(lab.plan.switchNamespace)
      return attacker
    } catch (error) {
      await attacker[Symbol.asyncDispose]()
      throw error
    }
  }

  get publicKey(): PublicKey {
    return this.#key.publicKey()
  }

  /** Shakes hands with a node, again and again, as if he were one of its peers. */
  async attack(victim: LabNode, key: string): Promise<void> {
    const endpoint = `${victim.addresses[0]}:51820`
    const peer = `peer ${key} endpoint ${endpoint} allowed-ips 0.0.0.0/0 persistent-keepalive 1`
    await this.#shell(`wg set ${this.#device} ${peer}`)
  }

  /** Datagrams that came out of his tunnel. */
  async received(): Promise<number> {
    return Number(/packets (\d+)/.exec(await this.#shell('nft list counter inet attack received'))?.[1])
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await killAll(await namespacePids(this.#namespace))
    await removeNamespaces([this.#namespace])
  }

  async #build(switchNamespace: string): Promise<void> {
    const device = this.#device
    await must(['ip', 'netns', 'add', this.#namespace])
    await must([
      'ip',
      '-n',
      switchNamespace,
      'link',
      'add',
      'attacker',
      'type',
      'veth',
      'peer',
      'name',
      'eth0',
      'netns',
      this.#namespace,
    ])
    await must(['ip', '-n', switchNamespace, 'link', 'set', 'attacker', 'master', BRIDGE, 'up'])
    const make = profile.dataplane === 'kernel' ? `ip link add ${device} type wireguard` : `wireguard-go ${device}`
    await this.#shell(`ip address add ${ADDRESS} dev eth0; ip link set eth0 up; ip link set lo up; ${make}`)
    await this.#withKeyFile(path =>
      this.#shell(`wg set ${device} private-key ${path} listen-port 51820; ip link set ${device} up`),
    )
    const count = `
      table inet attack {
        counter received {}
        chain arriving {
          type filter hook prerouting priority 0
          iifname ${device} meta l4proto udp counter name received
        }
      }`
    await must(inNamespace(this.#namespace, ['nft', '-f', '-']), { input: count })
  }

  async #withKeyFile(use: (path: string) => Promise<unknown>): Promise<void> {
    const directory = await mkdtemp(join(tmpdir(), 'podveil-attacker-'))
    try {
      await chmod(directory, 0o700)
      const path = join(directory, 'key')
      await writeFile(path, `${Buffer.from(this.#key.reveal()).toString('base64')}\n`, { mode: 0o600 })
      await use(path)
    } finally {
      await rm(directory, { recursive: true })
    }
  }

  #shell(script: string): Promise<string> {
    return must(inNamespace(this.#namespace, ['sh', '-ec', script]))
  }
}
