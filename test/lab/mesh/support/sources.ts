import { expect } from 'vitest'
import type { JsonObject } from '#src/lab/api.ts'
import type { Lab, LabNode } from '#src/lab/lab.ts'
import { PODS } from '#src/lab/objects.ts'
import { clearPodFrames, underlayDelta, wireguardFrames } from '#src/lab/underlay-watch.ts'
import { onNode } from './with-mesh.ts'

const IPAM_BLOCKS = '/apis/crd.projectcalico.org/v1/ipamblocks'
const BLOCK_SIZE = 64

/** Addresses of a block that are in use, by offset. */
export type Allocated = Readonly<Record<number, { readonly node: string; readonly type?: string }>>

const nameOf = (cidr: string): string => cidr.replaceAll(/[./:]/g, '-')

const specOf = (cidr: string, affinity: string | undefined, allocated: Allocated): JsonObject => {
  const offsets = Object.keys(allocated).map(Number)
  return {
    cidr,
    ...(affinity !== undefined && { affinity: `host:${affinity}` }),
    allocations: Array.from({ length: BLOCK_SIZE }, (_, offset) =>
      offset in allocated ? offsets.indexOf(offset) : null,
    ),
    attributes: offsets.map(offset => ({ handle_id: `h${offset}`, secondary: { ...allocated[offset] } })),
    unallocated: [],
    strictAffinity: false,
  }
}

/** What Calico's IPAM writes when it gives a node a block; nobody's where there is no affinity. */
export async function createBlock(
  lab: Lab,
  cidr: string,
  affinity: string | undefined,
  allocated: Allocated = {},
): Promise<void> {
  const object = { apiVersion: 'crd.projectcalico.org/v1', kind: 'IPAMBlock', metadata: { name: nameOf(cidr) } }
  await lab.client.create(IPAM_BLOCKS, { ...object, spec: specOf(cidr, affinity, allocated) })
}

export async function changeBlock(
  lab: Lab,
  cidr: string,
  affinity: string | undefined,
  allocated: Allocated = {},
): Promise<void> {
  const spec = { affinity: null, ...specOf(cidr, affinity, allocated) }
  await lab.client.mergePatch(`${IPAM_BLOCKS}/${nameOf(cidr)}`, { spec })
}

/** The block of each node of the lab, which holds its pod and its gateway. */
export const blockOf = (node: LabNode): string => `10.244.${node.plan.index}.0/26`

/** Gives every node its block, with the addresses of its WireGuard device and its pod in use. */
export async function eachBlock(lab: Lab): Promise<void> {
  for (const node of lab.nodes) {
    const own = { node: node.name }
    await createBlock(lab, blockOf(node), node.name, { 2: { ...own, type: 'wireguardTunnelAddress' }, 10: own })
  }
}

/** What a CNI plugin and a routing daemon do for an address that a pod is given: the pod has it, and every node knows the way. */
export async function giveAddress(lab: Lab, to: LabNode, address: string): Promise<void> {
  const { status, stderr } = await to.pod.exec(['ip', 'address', 'add', `${address}/32`, 'dev', 'eth0'])
  if (status !== 0) throw new Error(stderr)
  for (const node of lab.nodes) {
    const way = node === to ? 'dev veth-pod' : `via ${to.addresses[0]} dev eth0`
    await onNode(node, `ip route replace ${address}/32 ${way}`)
  }
}

/** The pod that had it is gone, and the ways to it are left as they were. */
export async function takeAddress(from: LabNode, address: string): Promise<void> {
  const { status, stderr } = await from.pod.exec(['ip', 'address', 'del', `${address}/32`, 'dev', 'eth0'])
  if (status !== 0) throw new Error(stderr)
}

/** A Pod beside those of the lab, as its kubelet tells of it. */
export async function createPod(lab: Lab, name: string, node: LabNode, podIP: string): Promise<void> {
  await lab.client.create(PODS, {
    apiVersion: 'v1',
    kind: 'Pod',
    metadata: { name, namespace: 'default' },
    spec: { nodeName: node.name, containers: [{ name: 'c', image: 'podveil.invalid/probe:lab' }] },
  })
  await lab.client.mergePatch(`${PODS}/${name}/status`, {
    status: { phase: 'Running', podIP, podIPs: [{ ip: podIP }] },
  })
}

export const deletePod = (lab: Lab, name: string): Promise<unknown> => lab.client.delete(`${PODS}/${name}`)

export interface Crossing {
  readonly answered: boolean
  /** Pod frames that crossed the underlay in clear, and frames of WireGuard. */
  readonly clear: number
  readonly tunnelled: number
}

/** One echo, and how it and its answer crossed the underlay. */
export async function echo(lab: Lab, from: Pick<LabNode, 'exec'>, to: string): Promise<Crossing> {
  const before = await lab.underlay.snapshot()
  const { status } = await from.exec(['ping', '-n', '-c', '1', '-W', '2', to])
  const seen = underlayDelta(before, await lab.underlay.snapshot())
  return { answered: status === 0, clear: clearPodFrames(seen), tunnelled: wireguardFrames(seen) }
}

/** There and back; agents may say hello meanwhile. */
export async function expectEncrypted(lab: Lab, from: Pick<LabNode, 'exec'>, to: string): Promise<void> {
  const { answered, clear, tunnelled } = await echo(lab, from, to)
  expect({ answered, clear }).toEqual({ answered: true, clear: 0 })
  expect(tunnelled).toBeGreaterThanOrEqual(2)
}
