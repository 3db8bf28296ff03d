import { describe, expect, test } from 'vitest'
import { LeftAddresses } from '#src/mesh/left-addresses.ts'
import type { NodeName } from '#src/mesh/node-record.ts'
import { type IpAddress, parseAddress } from '#wg/ip.ts'
import { encrypting, kernelPeer } from '../agent/peers.ts'
import { name } from './records.ts'

const OLD = parseAddress('10.200.0.13')
const NEW = parseAddress('10.200.0.213')
const MINUTE = 60_000

const nodes = (...published: readonly (readonly [number, ...IpAddress[]])[]) =>
  new Map<NodeName, { readonly addresses: readonly IpAddress[] }>(
    published.map(([index, ...addresses]) => [name(index), { addresses }]),
  )

const noted = (left: LeftAddresses, published: ReturnType<typeof nodes>, wallTime: number) => {
  left.note(published, wallTime)
  return [...left.all].map(([node, addresses]) => [node, ...addresses])
}

describe('an address that a Node has ceased to publish', () => {
  test('is known since when, for as long as a session lives', () => {
    const left = new LeftAddresses()
    expect(noted(left, nodes([3, OLD]), 0)).toEqual([])
    expect(noted(left, nodes([3, NEW]), MINUTE)).toEqual([[name(3), [OLD, MINUTE]]])
    expect(noted(left, nodes([3, NEW]), 4 * MINUTE)).toEqual([[name(3), [OLD, MINUTE]]])
    expect(noted(left, nodes([3, NEW]), 4 * MINUTE + 1)).toEqual([])
  })

  test('is that of a Node that was deleted, too', () => {
    const left = new LeftAddresses()
    left.note(nodes([3, OLD]), 0)
    expect(noted(left, nodes(), MINUTE)).toEqual([[name(3), [OLD, MINUTE]]])
  })

  test('is left no more when it publishes it again', () => {
    const left = new LeftAddresses()
    left.note(nodes([3, OLD]), 0)
    left.note(nodes([3, NEW]), MINUTE)
    expect(noted(left, nodes([3, OLD]), 2 * MINUTE)).toEqual([[name(3), [NEW, 2 * MINUTE]]])
  })

  test('is left by it all the same where another Node publishes it, as when two have exchanged theirs', () => {
    const left = new LeftAddresses()
    left.note(nodes([3, OLD], [4, NEW]), 0)
    expect(noted(left, nodes([3, NEW], [4, OLD]), MINUTE)).toEqual([
      [name(3), [OLD, MINUTE]],
      [name(4), [NEW, MINUTE]],
    ])
  })

  test('is forgotten when the clock was set back by more', () => {
    const left = new LeftAddresses()
    left.note(nodes([3, OLD]), 10 * MINUTE)
    expect(noted(left, nodes([3, NEW]), 10 * MINUTE)).toEqual([[name(3), [OLD, 10 * MINUTE]]])
    expect(noted(left, nodes([3, NEW]), 0)).toEqual([])
  })

  test('is sent to for as long as the device has it for that node’s peer', () => {
    const left = new LeftAddresses()
    left.note(nodes([3, OLD]), 0)
    left.note(nodes([3, NEW]), MINUTE)
    const at = (address: IpAddress, node = 3) => {
      const [key, peer] = kernelPeer(node, 0, 0)
      const endpoint = { address, port: 51820 }
      return [...left.sentTo(new Map([[name(3), encrypting(3, 0)]]), new Map([[key, { ...peer, endpoint }]]))]
    }
    expect(at(OLD)).toEqual([kernelPeer(3, 0, 0)[0]])
    expect(at(NEW)).toEqual([])
    expect(at(OLD, 4)).toEqual([])
  })
})
