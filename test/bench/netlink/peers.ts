import { randomBytes } from 'node:crypto'
import { PrivateKey } from '#keys/private-key.ts'
import type { PublicKey } from '#keys/public-key.ts'
import type { DeviceChange } from '#wg/device/device.ts'
import { parseAddress, parseCidr } from '#wg/ip.ts'
import { encodeSetDevice } from '#wg/wireguard/encode.ts'
import { kernelBench } from '../../kernel/cases/support/kernel-devices.ts'
import { Scratch } from '../../unit/cluster/support/scratch.ts'
import type { Steps } from './step.ts'

/** Peers with an endpoint and two allowed IPs each, on one device of Podveil's and one of `wg`. */
export async function peerSteps(count: number): Promise<Steps> {
  await using stack = new AsyncDisposableStack()
  const bench = stack.use(await kernelBench())
  const files = stack.use(await Scratch.make())
  const { devices, namespace } = bench
  const [ours, theirs] = [bench.newName(), bench.newName()]
  for (const name of [ours, theirs]) await devices.create(name)
  const keys = Array.from({ length: count }, () => randomBytes(32).toString('base64') as PublicKey)
  const all: DeviceChange = { privateKey: PrivateKey.generate(), peers: keys.map(setPeer) }
  const one: DeviceChange = { peers: [setPeer(keys[count >> 1] ?? ('' as PublicKey), count + 1)] }
  await files.write('all', configOf(all, true))
  await files.write('one', configOf(one, false))
  const wg = (prefix: readonly string[], ...args: string[]): string => namespace.run([...prefix, 'wg', ...args])
  const requests = (change: DeviceChange): number => encodeSetDevice({ id: 0, version: 1 }, ours, change).length
  const owned = stack.move()
  return {
    startTool: () => wg([], '--version'),
    [Symbol.asyncDispose]: () => owned.disposeAsync(),
    steps: [
      {
        what: 'peers added',
        tool: 'wg setconf',
        podveil: () => devices.configure(ours, all),
        tools: (prefix = []) => wg(prefix, 'setconf', theirs, `${files.path}/all`),
        requests: requests(all),
      },
      {
        what: 'peers read',
        tool: 'wg show dump',
        podveil: () => devices.read(ours),
        tools: (prefix = []) => wg(prefix, 'show', theirs, 'dump'),
        requests: 1,
      },
      {
        what: 'peers, one of them changed',
        tool: 'wg addconf',
        podveil: () => devices.configure(ours, one),
        tools: (prefix = []) => wg(prefix, 'addconf', theirs, `${files.path}/one`),
        requests: requests(one),
      },
    ],
  }
}

type SetPeer = Extract<NonNullable<DeviceChange['peers']>[number], { kind: 'set' }>

function setPeer(publicKey: PublicKey, index: number): SetPeer {
  const [high, low] = [index >>> 8, index & 255]
  return {
    kind: 'set',
    publicKey,
    endpoint: { address: parseAddress(`172.16.${high}.${low}`), port: 51_820 },
    addAllowedIps: [parseCidr(`10.${high}.${low}.0/24`), parseCidr(`172.16.${high}.${low}/32`)],
  }
}

function configOf({ privateKey, peers = [] }: DeviceChange, withDevice: boolean): string {
  const secret = privateKey && Buffer.from(privateKey.reveal()).toString('base64')
  const lines = withDevice ? ['[Interface]', `PrivateKey = ${secret}`] : []
  for (const peer of peers) {
    if (peer.kind !== 'set' || !peer.endpoint) continue
    lines.push('[Peer]', `PublicKey = ${peer.publicKey}`, `AllowedIPs = ${peer.addAllowedIps?.join(', ')}`)
    lines.push(`Endpoint = ${peer.endpoint.address}:${peer.endpoint.port}`)
  }
  return lines.map(line => `${line}\n`).join('')
}
