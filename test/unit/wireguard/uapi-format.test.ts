import fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import { PrivateKey } from '#keys/private-key.ts'
import { parsePublicKey, unverifiedPublicKey } from '#keys/public-key.ts'
import type { DeviceChange } from '#wg/device/device.ts'
import { parseAddress, parseCidr, parseEndpoint, parseExactCidr } from '#wg/ip.ts'
import { formatSet, UAPI_GET } from '#wg/uapi/format.ts'
import { deviceChange } from './arbitrary.ts'
import { ModelDevice, type ModelPeer } from './model.ts'

const PEER = parsePublicKey('hSDwCYkwp1R0i33ctD73Wg2/Og0mOBr066SpjqqbTmo=')
const PEER_HEX = '8520f0098930a754748b7ddcb43ef75a0dbf3a0d26381af4eba4a98eaa9b4e6a'

/** Applies one `set=1` operation line by line, as the protocol's page describes it. */
function applyOperation(device: ModelDevice, operation: string): void {
  expect(operation.startsWith('set=1\n') && operation.endsWith('\n\n')).toBe(true)
  let peer: ModelPeer | undefined
  let publicKey: string | undefined
  for (const line of operation.slice('set=1\n'.length, -2).split('\n')) {
    const at = line.indexOf('=')
    const [key, value] = [line.slice(0, at), line.slice(at + 1)]
    if (key === 'private_key') device.setPrivateKey(PrivateKey.fromBytes(Buffer.from(value, 'hex')))
    else if (key === 'listen_port') device.listenPort = Number(value)
    else if (key === 'fwmark') device.fwmark = Number(value)
    else if (key === 'public_key') {
      publicKey = value
      const parsed = unverifiedPublicKey(Buffer.from(value, 'hex'))
      const isNew = !device.peers.has(parsed)
      peer = device.peer(parsed, false)
      // As wireguard-go: the peer is made, and unmade when the next line says update_only.
      if (isNew && operation.includes(`${line}\nupdate_only=true`)) {
        device.peers.delete(parsed)
        peer = undefined
      }
    } else if (key === 'remove') device.peers.delete(unverifiedPublicKey(Buffer.from(publicKey ?? '', 'hex')))
    else if (key === 'update_only') continue
    else if (!peer) continue
    else if (key === 'endpoint') peer.endpoint = parseEndpoint(value)
    else if (key === 'persistent_keepalive_interval') peer.persistentKeepalive = Number(value)
    else if (key === 'allowed_ip' && value.startsWith('-')) peer.allowedIps.delete(parseExactCidr(value.slice(1)))
    else if (key === 'allowed_ip') device.give(parseExactCidr(value), peer)
    else throw new Error(`unexpected ${key}`)
  }
}

function applied(before: DeviceChange, change: DeviceChange, maxOperation?: number): ModelDevice {
  const device = new ModelDevice().apply(before)
  for (const operation of formatSet(change, maxOperation)) applyOperation(device, operation)
  return device
}

/** Generated keys repeat never within a change, so update_only lines can be told by the key before them. */
const change = deviceChange({ maxPeers: 20, maxPrefixes: 40 })

describe('set=1', () => {
  it('reads like this', () => {
    const operations = formatSet({
      privateKey: PrivateKey.fromBytes(Buffer.alloc(32, 0x51)),
      listenPort: 51820,
      fwmark: 0x200000,
      peers: [
        {
          kind: 'set',
          publicKey: PEER,
          updateOnly: true,
          endpoint: { address: parseAddress('fd00::2'), port: 51820 },
          persistentKeepalive: 25,
          addAllowedIps: [parseCidr('10.244.2.0/24')],
          removeAllowedIps: [parseCidr('fd00:2::/64')],
        },
        { kind: 'remove', publicKey: PEER },
      ],
    })
    expect(operations).toEqual([
      `set=1
private_key=50${'51'.repeat(31)}
listen_port=51820
fwmark=2097152
public_key=${PEER_HEX}
update_only=true
endpoint=[fd00::2]:51820
allowed_ip=-fd00:2::/64
allowed_ip=10.244.2.0/24
persistent_keepalive_interval=25
public_key=${PEER_HEX}
remove=true

`,
    ])
  })

  it('means the change, however it is cut into operations', () => {
    fc.assert(
      fc.property(change, change, fc.integer({ min: 512, max: 4_096 }), (before, after, maxOperation) => {
        const expected = new ModelDevice().apply(before).apply(after).picture()
        expect(applied(before, after, maxOperation).picture()).toEqual(expected)
        expect(applied(before, after).picture()).toEqual(expected)
      }),
    )
  })

  it('is never longer than it may be, and has the lines of the device in the first operation alone', () => {
    fc.assert(
      fc.property(change, fc.integer({ min: 512, max: 4_096 }), (given, maxOperation) => {
        const [, ...more] = formatSet(given, maxOperation)
        for (const operation of formatSet(given, maxOperation))
          expect(operation.length).toBeLessThanOrEqual(maxOperation)
        for (const operation of more) expect(operation).toMatch(/^set=1\npublic_key=/)
      }),
    )
  })

  it('repeats of a peer that is cut only its key and flags, and keeps the keepalive for the end', () => {
    const operations = formatSet({
      peers: [
        {
          kind: 'set',
          publicKey: PEER,
          updateOnly: true,
          endpoint: { address: parseAddress('10.0.0.1'), port: 1 },
          persistentKeepalive: 25,
          addAllowedIps: Array.from({ length: 5_000 }, (_, i) => parseCidr(`10.${i >> 8}.${i & 255}.0/24`)),
        },
      ],
    })
    const heads = operations.map(operation =>
      operation.split('\n').filter(line => line && !line.startsWith('allowed_ip=')),
    )
    const again = ['set=1', `public_key=${PEER_HEX}`, 'update_only=true']
    expect(heads).toEqual([
      [...again, 'endpoint=10.0.0.1:1'],
      ...Array.from({ length: operations.length - 2 }, () => again),
      [...again, 'persistent_keepalive_interval=25'],
    ])
    expect(operations.length).toBeGreaterThan(1)
  })

  it('never replaces peers or allowed IPs', () => {
    fc.assert(
      fc.property(change, given => {
        expect(formatSet(given).join('')).not.toContain('replace_')
      }),
    )
  })

  it('is nothing for a change of nothing', () => {
    expect(formatSet({})).toEqual([])
    expect(formatSet({ peers: [] })).toEqual([])
  })
})

it('get=1 is the whole operation', () => {
  expect(UAPI_GET).toBe('get=1\n\n')
})
