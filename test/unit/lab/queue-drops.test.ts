import { expect, test } from 'vitest'
import { parseDrops } from '#src/lab/queue-drops.ts'

/** As Linux 6.18 prints them. */
const PRINTED = `Inter-|   Receive                                                |  Transmit
 face |bytes    packets errs drop fifo frame compressed multicast|bytes    packets errs drop fifo colls carrier compressed
    lo:       0       0    0    0    0     0          0         0        0       0    0    0    0     0       0          0
wireguard.cali: 100 1    0    2    0     0          0         0      100       1    0    7    0     0       0          0
Ip6InReceives                   	9
Udp6RcvbufErrors                	4
Ip: Forwarding DefaultTTL InReceives
Ip: 1 64 13
Udp: InDatagrams NoPorts InErrors OutDatagrams RcvbufErrors SndbufErrors InCsumErrors IgnoredMulti MemErrors
Udp: 10 0 3 10 3 0 0 0 0
`

test('drops are read for each interface and direction, and for the sockets of each family', () => {
  expect(new Map(parseDrops(PRINTED))).toEqual(
    new Map([
      ['lo in', 0],
      ['lo out', 0],
      ['wireguard.cali in', 2],
      ['wireguard.cali out', 7],
      ['UDP sockets, IPv4', 3],
      ['UDP sockets, IPv6', 4],
    ]),
  )
})
