import { expect, onTestFinished, test } from 'vitest'
import { FamilyMesh, type MeshInput } from '#src/agent/family-mesh.ts'
import { podCidrSource } from '#src/mesh/claims.ts'
import type { NodeRecord } from '#src/mesh/node-record.ts'
import { KernelDevices } from '#wg/device/kernel.ts'
import { parseAddress } from '#wg/ip.ts'
import type { FamilyNet } from '#wg/reconcile/device-writer.ts'
import { FamilyKernel } from '#wg/reconcile/family-kernel.ts'
import { Table } from '#wg/table.ts'
import { recordingLogger } from '../cluster/support/recording-logger.ts'
import { name, nodeRecord } from '../mesh/records.ts'
import { CONFIG } from '../mesh/world.ts'
import { KernelModel } from '../wireguard/kernel-model.ts'

/** The IPv6 mesh of node 1, off, with nothing in the kernel. */
async function offFor(...records: readonly NodeRecord[]): Promise<FamilyMesh> {
  const model = new KernelModel()
  const devices = new KernelDevices(model, model, model.family)
  const net = { link: (name: string) => model.link(name), rules: async () => [], routes: async () => [] }
  const notes = { wrote: () => {}, degraded: () => {}, foreign: () => {} }
  const kernel = new FamilyKernel(devices, net as unknown as FamilyNet, notes)
  const mesh = new FamilyMesh(6, name(1), kernel, recordingLogger(), () => {})
  onTestFinished(() => mesh.close())
  const input: MeshInput = {
    ...{ nodes: Table.from(records.map(record => [record.name, record])), cidrSource: podCidrSource },
    ...{ enabled: false, routeSync: true, natExceptions: [], pinsEndpoints: false, pathMtuProbing: false },
    ...{ config: CONFIG, hostSource: undefined, identities: { main: undefined, spare: undefined } },
    ...{ mainChanges: false, links: new Set() },
  }
  await mesh.pass(input, 1_000)
  return mesh
}

const dualStack = (index: number) =>
  nodeRecord(index, { addresses: [parseAddress(`10.200.0.${index}`), parseAddress(`fd00:200::${index}`)] })

test('of a family that is off, each other node is known to be in clear, and why', async () => {
  const { plan } = await offFor(dualStack(1), dualStack(2))
  expect([...(plan?.peers ?? [])]).toEqual([[name(2), { phase: 'absent', reason: 'encryption is off on this node' }]])
})

test('of a family that is off, and that this node has no address of, nothing is kept of others', async () => {
  const { plan } = await offFor(nodeRecord(1), dualStack(2), nodeRecord(3))
  expect(plan?.peers.size).toBe(0)
})
