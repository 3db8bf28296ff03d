import { describe, expect, test } from 'vitest'
import type { PeerStatus } from '#wg/device/device.ts'
import { NO_PEERS, PeerReader, type Peers } from '#wg/device/peer-reader.ts'
import { parseCidr } from '#wg/ip.ts'
import { atOnce } from '#wg/slices.ts'
import { peerStatus, publicKey } from '../mesh/records.ts'

/** `1 7` is the peer of the first key with seven bytes received; `1 7 10.0.0.0/8` one with a prefix. */
class Device {
  readonly #reader = new PeerReader()
  parsed: string[] = []

  read(pieces: readonly string[], known: Peers = NO_PEERS): Peers {
    this.parsed = []
    const parse = (piece: string, before: Peers): PeerStatus => {
      this.parsed.push(piece)
      const [key = '', bytes = '', ...cidrs] = piece.split(' ')
      const held = before.get(publicKey(Number(key)))?.allowedIps ?? []
      return peerStatus(publicKey(Number(key)), {
        rxBytes: BigInt(bytes),
        allowedIps: new Set([...held, ...cidrs.map(parseCidr)]),
      })
    }
    return atOnce(this.#reader.read(pieces, parse, known))
  }
}

describe('peers that are read again', () => {
  test('are taken apart only where something else is said of them, and are the same objects otherwise', () => {
    const device = new Device()
    const before = device.read(['1 7', '2 7', '3 7'])
    const after = device.read(['3 7', '1 8', '2 7'])
    expect(device.parsed).toEqual(['1 8'])
    expect([...after.keys()]).toEqual([3, 1, 2].map(publicKey))
    expect(after.get(publicKey(2))).toBe(before.get(publicKey(2)))
    expect(after.get(publicKey(1))?.rxBytes).toBe(8n)
  })

  test('and are said to be as they once were are taken apart', () => {
    const device = new Device()
    device.read(['1 7'])
    device.read(['1 8'])
    expect(device.read(['1 7']).get(publicKey(1))?.rxBytes).toBe(7n)
  })

  test('and say something else each time leave no more behind than there are peers, and are read all the same', () => {
    const device = new Device()
    for (let round = 0; round < 500; round++) {
      const read = device.read([`1 ${round}`, '2 7'])
      expect(read.get(publicKey(1))?.rxBytes).toBe(BigInt(round))
      expect(read.get(publicKey(2))?.rxBytes).toBe(7n)
    }
    device.read(['1 0', '2 7'])
    expect(device.parsed).toContain('1 0')
  })

  test('and gone before are there again', () => {
    const device = new Device()
    device.read(['1 7', '2 7'])
    expect([...device.read(['2 7']).keys()]).toEqual([publicKey(2)])
    expect([...device.read(['1 7', '2 7']).keys()]).toEqual([1, 2].map(publicKey))
  })

  test('and go on in another piece lose what a later reading has no more', () => {
    const device = new Device()
    device.read(['1 7 10.0.0.0/8'])
    const both = device.read(['1 7 10.0.0.0/8', '1 7 11.0.0.0/8'])
    expect(both.get(publicKey(1))?.allowedIps).toEqual(new Set(['10.0.0.0/8', '11.0.0.0/8']))
    expect(device.read(['1 7 10.0.0.0/8']).get(publicKey(1))?.allowedIps).toEqual(new Set(['10.0.0.0/8']))
  })

  test('are the objects that they are known as, where they say the same', () => {
    const known = peerStatus(publicKey(1), { rxBytes: 7n })
    const device = new Device()
    const read = () => device.read(['1 7'], new Map([[known.publicKey, known]])).get(known.publicKey)
    expect(read()).toBe(known)
    expect(read()).toBe(known)
  })
})
