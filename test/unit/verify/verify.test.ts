import { describe, expect, test } from 'vitest'
import type { Place } from '#src/status/explain.ts'
import { readCiphertext } from '#src/verify/frame.ts'
import { ciphertextLength, type Mark, markedPayload, packetLengthOf } from '#src/verify/marked.ts'
import type { Tally } from '#src/verify/protocol.ts'
import { FrameTally } from '#src/verify/tally.ts'
import { type Evidence, judgeDirection, verdictOfAll } from '#src/verify/verdict.ts'
import { addressBytes, parseAddress } from '#wg/ip.ts'

const MARK: Mark = { token: 'ab'.repeat(16), family: 4, packetLength: 320 }
const LENGTH = ciphertextLength(MARK)

/** IP and UDP headers around a payload; of IPv6 where the addresses are. */
function packet(from: string, to: string, payload: Uint8Array, patch: Readonly<Record<number, number>> = {}): Buffer {
  const isIpv6 = from.includes(':')
  const header = Buffer.alloc(isIpv6 ? 40 : 20)
  header[0] = isIpv6 ? 0x60 : 0x45
  header[isIpv6 ? 6 : 9] = 17
  header.set(addressBytes(parseAddress(from)), isIpv6 ? 8 : 12)
  header.set(addressBytes(parseAddress(to)), isIpv6 ? 24 : 16)
  for (const [at, value] of Object.entries(patch)) header[Number(at)] = value
  const udp = Buffer.alloc(8)
  udp.writeUInt16BE(8 + payload.length, 4)
  return Buffer.concat([header, udp, payload])
}

const message = (type: number, length = LENGTH): Uint8Array =>
  Uint8Array.from({ length }, (_, i) => (i === 0 ? type : i < 4 ? 0 : 7))

describe('a captured packet', () => {
  test.each([
    ['10.0.0.1', '10.0.0.2'],
    ['fd00::1', 'fd00::2'],
  ])('is ciphertext when it is a transport message of WireGuard (%s)', (from, to) => {
    expect(readCiphertext(packet(from, to, message(4)))).toEqual({ from, to, length: LENGTH })
    expect(readCiphertext(packet(from, to, message(4)).subarray(0, 60))).toEqual({ from, to, length: LENGTH })
  })

  test.each([
    ['a handshake', packet('10.0.0.1', '10.0.0.2', message(1))],
    ['a fragment', packet('10.0.0.1', '10.0.0.2', message(4), { 7: 8 })],
    ['TCP', packet('10.0.0.1', '10.0.0.2', message(4), { 9: 6 })],
    ['a packet that is cut off', packet('10.0.0.1', '10.0.0.2', message(4)).subarray(0, 24)],
    ['nothing', Buffer.alloc(0)],
  ])('is none when it is %s', (_, bytes) => {
    expect(readCiphertext(bytes)).toBeUndefined()
  })

  test('that can be read is counted wherever its text is: in an overlay too', () => {
    const tally = new FrameTally([MARK.token], [LENGTH])
    const inner = packet('10.244.1.1', '10.244.2.1', markedPayload(MARK, 1))
    tally.look('eth0', inner)
    tally.look('eth0', packet('10.0.0.1', '10.0.0.2', Buffer.concat([Buffer.alloc(22), inner])))
    tally.look('eth0', packet('10.0.0.1', '10.0.0.2', message(4)))
    tally.look('eth0', packet('10.0.0.1', '10.0.0.2', message(4, LENGTH + 16)))
    expect(tally.tally.clear).toEqual([expect.objectContaining({ device: 'eth0', frames: 2 })])
    expect(tally.tally.ciphertext).toEqual([{ from: '10.0.0.1', to: '10.0.0.2', length: LENGTH, frames: 1 }])
  })

  test('that answers and quotes what it answers is not of its direction', () => {
    const tally = new FrameTally([MARK.token], [LENGTH])
    const inner = packet('10.244.1.1', '10.244.2.1', markedPayload(MARK, 1))
    tally.look('eth0', packet('10.244.2.1', '10.244.1.1', inner, { 9: 1 }))
    tally.look('eth0', packet('fd00::2', 'fd00::1', inner, { 6: 58 }))
    expect(tally.tally.clear).toEqual([])
  })

  test.each([0, 0.5, 0.999])('has a size that WireGuard pads nothing to (%d)', random => {
    const packetLength = packetLengthOf(random)
    expect(packetLength % 16).toBe(0)
    expect(markedPayload({ ...MARK, packetLength }, 1)).toHaveLength(packetLength - 28)
    expect(markedPayload({ ...MARK, family: 6, packetLength }, 1)).toHaveLength(packetLength - 48)
  })
})

const place = (node: string, address: string): Place => ({
  node,
  address: parseAddress(address),
  label: node,
  kind: 'pod',
})

const seen = (frames: number, length = LENGTH): Tally => ({
  clear: [],
  ciphertext: [{ from: '10.0.0.1', to: '10.0.0.2', length, frames }],
})

const clear = (token: string): Tally => ({
  clear: [{ token, device: 'eth0', frames: 1, example: 'PODVEIL' }],
  ciphertext: [],
})

const evidence = (rest: Partial<Evidence>): Evidence => ({
  from: place('a', '10.244.1.1'),
  to: place('b', '10.244.2.1'),
  mark: MARK,
  sent: { sent: 20 },
  fromAddresses: ['10.0.0.1'],
  toAddresses: ['10.0.0.2'],
  leaving: seen(20),
  arriving: seen(20),
  ...rest,
})

describe('the verdict', () => {
  test.each<[string, Partial<Evidence>, string]>([
    ['all of it was seen as ciphertext at both ends', {}, 'encrypted'],
    [
      'one frame could be read where it leaves',
      { leaving: { ...seen(20), ...{ clear: clear(MARK.token).clear } } },
      'in-clear',
    ],
    [
      'one frame could be read where it arrives',
      { arriving: { ...seen(20), ...{ clear: clear(MARK.token).clear } } },
      'in-clear',
    ],
    [
      'what was read is of the other direction',
      { leaving: { ...seen(20), ...{ clear: clear('cd'.repeat(16)).clear } } },
      'encrypted',
    ],
    ['one was not seen to leave', { leaving: seen(19) }, 'incomplete'],
    ['one did not arrive', { arriving: seen(19) }, 'incomplete'],
    ['what was seen has another size', { arriving: seen(20, LENGTH + 16) }, 'incomplete'],
    ['what was seen is between other nodes', { fromAddresses: ['10.0.0.9'] }, 'incomplete'],
    ['the kernel sent none', { sent: { sent: 0, refused: 'EPERM' } }, 'not-sent'],
  ])('when %s', (_, rest, verdict) => {
    expect(judgeDirection(evidence(rest)).verdict).toBe(verdict)
  })

  test('is good only when every direction is, and bad when one can be read', () => {
    const good = judgeDirection(evidence({}))
    const lost = judgeDirection(evidence({ arriving: seen(0) }))
    const read = judgeDirection(evidence({ leaving: clear(MARK.token) }))
    expect(verdictOfAll([good, good])).toBe('encrypted')
    expect(verdictOfAll([good, lost])).toBe('unproven')
    expect(verdictOfAll([lost, read, good])).toBe('not-encrypted')
    expect(verdictOfAll([])).toBe('unproven')
  })
})
