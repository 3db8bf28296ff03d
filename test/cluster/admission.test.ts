import { fileURLToPath } from 'node:url'
import { afterAll, beforeAll, beforeEach, describe, expect, it } from 'vitest'
import { annotations, OWN_ANNOTATIONS, SELF_DESCRIBED } from '#src/cluster/annotations.ts'
import { MESH_NODES } from '#src/cluster/mesh-node.ts'
import { STARTUP_TAINT } from '#src/cluster/startup-taint.ts'
import type { JsonObject, LabApi } from '#src/lab/api.ts'
import { AGENT_MANIFESTS, AGENT_NAMESPACE, issueAgentToken, issueToken } from '#src/lab/kube-apiserver/agents.ts'
import { applyObjects, readManifests } from '#src/lab/kube-apiserver/apply.ts'
import { waitUntil } from '#src/lab/wait.ts'
import {
  annotate,
  expectAllowed,
  expectRefused,
  installAgents,
  NODES,
  nodeObject,
  patchNode,
  setCondition,
} from './harness/agents.ts'
import { noRealApi, RealApi } from './harness/real-api.ts'

const MESH_NODE_DEFINITION = fileURLToPath(new URL('../../manifests/crds/podveil/meshnodes.yaml', import.meta.url))
const KEY = 'x'.repeat(42).concat('A=')
const STARTUP = { key: STARTUP_TAINT, effect: 'NoSchedule' }
const OWN = 'node-1'
const OTHER = 'node-2'

describe.skipIf(noRealApi)(`what an agent may change of Nodes${noRealApi ? ` (${noRealApi})` : ''}`, () => {
  let server: RealApi | undefined
  let admin: LabApi
  /** With the token of the agent's Pod on node-1. */
  let agent: LabApi
  /** With a token of the same account that is bound to no Pod. */
  let unbound: LabApi

  beforeAll(async () => {
    server = await RealApi.start()
    admin = server.client
    const before = ['namespace', 'serviceaccount']
    for (const name of before) await applyManifest(admin, name)
    await resetNodes(admin)
    agent = server.as(await issueAgentToken(admin, OWN))
    unbound = server.as(await issueToken(admin))
    await installAgents(admin, () => annotate(agent, OTHER, { 'podveil.io/hello': '1' }))
  })
  beforeEach(() => resetNodes(admin))
  afterAll(() => server?.[Symbol.asyncDispose]())

  describe('of its own Node', () => {
    it('publishes all its annotations', async () => {
      expectAllowed(
        await annotate(agent, OWN, {
          [annotations.publicKey[4]]: KEY,
          [annotations.publicKey[6]]: KEY,
          [annotations.interfaceAddress[4]]: '10.244.1.1',
          [annotations.interfaceAddress[6]]: 'fd00:244:1::1',
          [annotations.port[4]]: '51820',
          [annotations.port[6]]: '51821',
          [annotations.hello]: '1',
          [annotations.addresses]: '10.200.0.1,fd00:200::1',
          [annotations.podCidrs]: '10.244.1.0/24,fd00:244:1::/64',
        }),
      )
    })

    it('publishes through nodes/status too, as Felix does', async () => {
      expectAllowed(await annotate(agent, OWN, { [annotations.publicKey[4]]: KEY }, '/status'))
    })

    it('labels it as one whose annotations say all, and takes that back', async () => {
      for (const value of ['true', null])
        expectAllowed(await patchNode(agent, OWN, { metadata: { labels: { [SELF_DESCRIBED]: value } } }))
    })

    it('publishes another key while its Node no longer has what it has said of it', async () => {
      const said = { [annotations.addresses]: '10.200.0.1', [annotations.podCidrs]: '10.244.1.0/24' }
      expectAllowed(await annotate(agent, OWN, said))
      const addresses = [{ type: 'InternalIP', address: '10.200.0.9' }]
      expectAllowed(await patchNode(admin, OWN, { status: { addresses } }, '/status'))
      expectAllowed(await annotate(agent, OWN, { [annotations.publicKey[4]]: KEY }))
      expectAllowed(await setCondition(agent, OWN, 'EncryptionReady'))
      expectRefused(
        await annotate(agent, OWN, { [annotations.addresses]: '10.200.0.1,10.200.0.9' }),
        /status\.addresses/,
      )
      expectAllowed(await annotate(agent, OWN, { [annotations.addresses]: '10.200.0.9' }))
    })

    it('withdraws what it has published', async () => {
      expectAllowed(await annotate(agent, OWN, { [annotations.publicKey[4]]: KEY }))
      expectAllowed(await annotate(agent, OWN, Object.fromEntries(OWN_ANNOTATIONS.map(key => [key, null]))))
    })

    it('sets its own condition', async () => {
      expectAllowed(await setCondition(agent, OWN, 'EncryptionReady'))
      expectAllowed(await setCondition(agent, OWN, 'EncryptionReady', 'False'))
    })

    it('uses a node address for its interface, as host encryption does', async () => {
      expectAllowed(await annotate(agent, OWN, { [annotations.interfaceAddress[4]]: '10.200.0.1' }))
    })

    it('uses an address of Podveil’s own range where nobody hands one out', async () => {
      expectAllowed(
        await annotate(agent, OWN, {
          [annotations.interfaceAddress[4]]: '198.19.3.4',
          [annotations.interfaceAddress[6]]: 'fd8a:9ae4:1c5d:7761::7',
        }),
      )
    })

    it('uses the address that Calico allocated for another of its devices, and keeps one that Calico wrote', async () => {
      const patch = { 'projectcalico.org/IPv4IPIPTunnelAddr': '10.65.0.1' }
      expectAllowed(await annotate(admin, OWN, patch))
      expectAllowed(await annotate(agent, OWN, { [annotations.interfaceAddress[4]]: '10.65.0.1' }))
      expectAllowed(await annotate(admin, OWN, { [annotations.interfaceAddress[4]]: '10.65.0.9' }))
      expectAllowed(await annotate(agent, OWN, { [annotations.publicKey[4]]: KEY }))
      expectRefused(await annotate(agent, OWN, { [annotations.interfaceAddress[4]]: '10.65.0.8' }), /interface/)
    })

    it.each([
      [
        'an annotation of somebody else',
        { metadata: { annotations: { 'example.com/rack': 'b' } } },
        /only these annotations/,
      ],
      ['a new annotation', { metadata: { annotations: { 'podveil.io/other': 'b' } } }, /only these annotations/],
      [
        'the removal of an annotation',
        { metadata: { annotations: { 'example.com/rack': null } } },
        /only these annotations/,
      ],
      ['a label', { metadata: { labels: { 'node-role.kubernetes.io/control-plane': '' } } }, /labels/],
      ['the removal of a label', { metadata: { labels: { 'kubernetes.io/hostname': null } } }, /labels/],
      ['a finalizer', { metadata: { finalizers: ['example.com/stay'] } }, /finalizers/],
      ['a taint', { spec: { taints: [{ key: 'a', effect: 'NoSchedule' }] } }, /changes no other/],
      ['its start-up taint, to have it', { spec: { taints: [STARTUP] } }, /changes no other/],
      ['schedulability', { spec: { unschedulable: true } }, /spec/],
    ])('does not change %s', async (_, patch, message) => {
      expectRefused(await patchNode(agent, OWN, patch), message)
    })

    it('takes its start-up taint away, and leaves the others as they are', async () => {
      const other = { key: 'example.com/dedicated', value: 'a', effect: 'NoExecute' }
      const taint = (taints: unknown) => patchNode(agent, OWN, { spec: { taints } } as JsonObject)
      expectAllowed(await patchNode(admin, OWN, { spec: { taints: [other, STARTUP] } }))
      expectRefused(await taint([STARTUP]), /changes no other/)
      expectRefused(await taint([{ ...other, effect: 'NoSchedule' }]), /changes no other/)
      expectRefused(await taint([other, { ...STARTUP, effect: 'NoExecute' }]), /changes no other/)
      expectRefused(await taint(null), /changes no other/)
      expectAllowed(await taint([other]))
      expectRefused(await taint([other, STARTUP]), /changes no other/)
      expectAllowed(await patchNode(admin, OWN, { spec: { taints: [STARTUP] } }))
      expectAllowed(await taint(null))
    })

    it.each([
      ['addresses', { addresses: [{ type: 'InternalIP', address: '10.200.0.2' }] }],
      ['capacity', { capacity: { cpu: '64' } }],
      ['a field that comes with some later Kubernetes', { runtimeHandlers: [{ name: 'other' }] }],
    ])('does not change its status: %s', async (_, status) => {
      expectRefused(await patchNode(agent, OWN, { status }, '/status'), /status/)
    })

    it('does not touch the conditions of others', async () => {
      expectRefused(await setCondition(agent, OWN, 'Ready', 'False'), /EncryptionReady/)
      expectRefused(await setCondition(agent, OWN, 'MemoryPressure'), /EncryptionReady/)
      expectRefused(await patchNode(agent, OWN, { status: { conditions: [] } }, '/status'), /EncryptionReady/)
    })
  })

  describe('of another Node', () => {
    it('changes nothing, not even what it may on its own', async () => {
      expectRefused(
        await annotate(agent, OTHER, { [annotations.publicKey[4]]: KEY }),
        /not bound to a Pod on Node node-2/,
      )
      expectAllowed(await patchNode(admin, OTHER, { spec: { taints: [STARTUP] } }))
      expectRefused(await patchNode(agent, OTHER, { spec: { taints: null } }), /not bound to a Pod/)
      expectRefused(await annotate(agent, OTHER, { [annotations.publicKey[4]]: KEY }, '/status'), /not bound to a Pod/)
      expectRefused(await setCondition(agent, OTHER, 'EncryptionReady'), /not bound to a Pod/)
    })
  })

  describe('of the Leases by which agents are known to be alive', () => {
    const renew = (node: string) =>
      agent.request('POST', `/apis/coordination.k8s.io/v1/namespaces/${AGENT_NAMESPACE}/leases?dryRun=All`, {
        apiVersion: 'coordination.k8s.io/v1',
        kind: 'Lease',
        metadata: { name: node },
        spec: { holderIdentity: node, leaseDurationSeconds: 300 },
      })

    it('makes its own, and none of another node', async () => {
      expect((await renew(OWN)).status).toBe(201)
      // Policies come into force a moment after they are stored, each by itself.
      await waitUntil(async () => (await renew(OTHER)).status !== 201, 30_000, 'the policy to be in force')
      expectRefused(await renew(OTHER), /not bound to a Pod on Node node-2: an agent renews only the Lease/)
    })
  })

  describe('of MeshNodes', () => {
    const spec = { ipv4: { publicKey: KEY, port: 51820 } }
    const meshNode = (node: string, metadata: JsonObject = {}): JsonObject => ({
      apiVersion: 'podveil.io/v1alpha1',
      kind: 'MeshNode',
      metadata: {
        name: node,
        ownerReferences: [{ apiVersion: 'v1', kind: 'Node', name: node, uid: 'u' }],
        ...metadata,
      },
      spec,
    })
    const write = (as: LabApi, object: JsonObject) => as.request('POST', `${MESH_NODES}?dryRun=All`, object)

    beforeAll(async () => {
      await applyObjects(admin, readManifests(MESH_NODE_DEFINITION))
      await waitUntil(async () => (await admin.request('GET', MESH_NODES)).status === 200, 30_000, 'MeshNodes')
      // Policies come into force a moment after they are stored, each by itself; and after the definition.
      const refused = async () => (await write(agent, meshNode(OTHER))).status === 403
      await waitUntil(refused, 30_000, 'the policy to be in force')
      for (const node of [OWN, OTHER]) await admin.create(MESH_NODES, meshNode(node))
    })

    it('makes its own, and none of another node', async () => {
      await admin.request('DELETE', `${MESH_NODES}/${OWN}`)
      expect((await write(agent, meshNode(OWN))).status).toBe(201)
      await admin.create(MESH_NODES, meshNode(OWN))
      expectRefused(
        await write(agent, meshNode('node-3')),
        /an agent writes only the MeshNode of the Node that it runs/,
      )
      expectRefused(await write(unbound, meshNode('node-3')), /not bound to a Pod/)
    })

    it('changes its own, and none of another node', async () => {
      const patch = (as: LabApi, node: string, change: JsonObject) =>
        as.request('PATCH', `${MESH_NODES}/${node}`, change, 'application/merge-patch+json')
      expectAllowed(await patch(agent, OWN, { spec: { ipv4: { port: 51828 } } }))
      expectRefused(await patch(agent, OTHER, { spec: { ipv4: { port: 51828 } } }), /not bound to a Pod on Node node-2/)
      expectRefused(await patch(agent, OWN, { metadata: { finalizers: ['example.com/stay'] } }), /holds it back/)
      expectRefused(await patch(agent, OWN, { metadata: { ownerReferences: null } }), /owned by the Node/)
    })

    it('removes none: RBAC sees to that', async () => {
      expect((await agent.request('DELETE', `${MESH_NODES}/${OWN}`)).status).toBe(403)
    })
  })

  it('a token that names no Node changes none', async () => {
    expectRefused(await annotate(unbound, OWN, { [annotations.hello]: '1' }), /not bound to a Pod/)
  })

  it('everybody else is none of this policy’s business', async () => {
    expectAllowed(await patchNode(admin, OTHER, { metadata: { labels: { a: 'b' } } }))
  })

  describe('what it says must be what the Node object says', () => {
    it.each([
      ['an interface address in another node’s pod CIDR', annotations.interfaceAddress[4], '10.244.2.1', /interface/],
      ['an IPv6 one', annotations.interfaceAddress[6], 'fd00:244:2::1', /interface/],
      ['another node’s own address', annotations.interfaceAddress[4], '10.200.0.2', /interface/],
      ['an address of the other family', annotations.interfaceAddress[4], 'fd00:244:1::1', /interface/],
      ['no address at all', annotations.interfaceAddress[4], 'here', /interface/],
      ['a CIDR for an address', annotations.interfaceAddress[4], '10.244.1.1/32', /interface/],
      ['addresses of another node', annotations.addresses, '10.200.0.1,10.200.0.2', /status\.addresses/],
      ['a pod CIDR of another node', annotations.podCidrs, '10.244.1.0/24,10.244.2.0/24', /spec\.podCIDRs/],
      ['a wider pod CIDR', annotations.podCidrs, '10.244.0.0/16', /spec\.podCIDRs/],
      ['a public key that is none', annotations.publicKey[4], 'A'.repeat(43), /32 bytes/],
      ['a port out of range', annotations.port[4], '65536', /1 to 65535/],
      ['a port that is no number', annotations.port[6], '51820;reboot', /1 to 65535/],
    ])('%s is refused', async (_, key, value, message) => {
      expectRefused(await annotate(agent, OWN, { [key]: value }), message)
    })
  })
})

async function applyManifest(admin: LabApi, name: string): Promise<void> {
  await applyObjects(admin, AGENT_MANIFESTS.filter(file => file.endsWith(`/${name}.yaml`)).flatMap(readManifests))
}

async function resetNodes(admin: LabApi): Promise<void> {
  for (const [at, name] of [OWN, OTHER].entries()) {
    await admin.request('DELETE', `${NODES}/${name}`)
    await admin.create(NODES, nodeObject(name, at + 1))
  }
}
