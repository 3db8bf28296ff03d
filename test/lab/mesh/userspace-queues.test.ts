import { expect, test } from 'vitest'
import type { LabNode } from '#src/lab/lab.ts'
import { describeLab } from '../harness/requirements.ts'
import { waitFor } from '../harness/wait-for.ts'
import { limit, meshNeeds, profile } from './support/profile.ts'
import { onNode, untilEncrypted, withEncryptedMesh } from './support/with-mesh.ts'

/** Bytes that each UDP socket of a port may hold, as `ss` has them of the kernel (SK_MEMINFO_RCVBUF of linux/sock_diag.h). */
async function receiveBuffers(node: LabNode, port: number): Promise<number[]> {
  const shown = await onNode(node, `ss -Haunm 'sport = :${port}'`)
  return [...shown.matchAll(/skmem:\(r\d+,rb(\d+)/g)].map(([, bytes]) => Number(bytes))
}

const enlarged = (node: LabNode, port = 51820) =>
  waitFor(
    async () => expect(await receiveBuffers(node, port)).toEqual([14 << 20, 14 << 20]) ?? true,
    limit(20_000),
    'both sockets to be large',
  )

describeLab('the queues of wireguard-go', meshNeeds, () => {
  test.skipIf(profile.dataplane === 'kernel')(
    'hold thousands of packets, also of the sockets that it makes anew for another port or a link that was down',
    async () => {
      await withEncryptedMesh({ nodes: 2, families: '4' }, async lab => {
        const [one] = lab.nodes as [LabNode]
        await enlarged(one)
        expect(await onNode(one, 'cat /sys/class/net/wireguard.cali/tx_queue_len')).toBe('4096\n')
        await onNode(one, 'ip link set wireguard.cali down')
        await untilEncrypted(lab)
        await enlarged(one)
        await lab.patchFelix({ wireguardListeningPort: 51900 })
        await enlarged(one, 51900)

        // As it is without an agent.
        await onNode(one, 'wireguard-go by-hand && wg set by-hand listen-port 51999 && ip link set by-hand up')
        try {
          for (const bytes of await receiveBuffers(one, 51999)) expect(bytes).toBeLessThan(1 << 20)
          expect(await receiveBuffers(one, 51999)).toHaveLength(2)
        } finally {
          await onNode(one, 'ip link del by-hand')
        }
      })
    },
    60_000,
  )
})
