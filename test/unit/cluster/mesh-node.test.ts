import { readFileSync } from 'node:fs'
import fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import { parse } from 'yaml'
import { meshNodePatch, meshNodeSpec, projectMeshNode } from '#src/cluster/mesh-node.ts'
import { projectNode } from '#src/cluster/node-record.ts'
import type { JsonObject } from '#src/lab/apiserver/json.ts'
import { mergePatch } from '#src/lab/apiserver/merge-patch.ts'
import { ObjectSchema } from '#src/lab/apiserver/schema.ts'
import { type NodeRecord, ofFamilies } from '#src/mesh/node-record.ts'
import { publicKey } from '../mesh/records.ts'

const CRD = parse(readFileSync(new URL('../../../manifests/crds/podveil/meshnodes.yaml', import.meta.url), 'utf8')) as {
  spec: { versions: [{ schema: { openAPIV3Schema: JsonObject } }] }
}
const definition = new ObjectSchema(CRD.spec.versions[0].schema.openAPIV3Schema)

const KEYS = Array.from({ length: 6 }, (_, at) => publicKey(at + 1))
const V4 = fc.tuple(fc.constantFrom(10, 172, 198), fc.nat(255), fc.nat(255), fc.nat(255)).map(parts => parts.join('.'))
const V6 = fc.tuple(fc.nat(0xffff), fc.nat(0xffff)).map(([a, b]) => `fd00:${a.toString(16)}::${b.toString(16)}`)
const ADDRESS = fc.oneof(V4, V6)
const CIDR = fc.oneof(
  fc.tuple(V4, fc.integer({ min: 8, max: 32 })).map(([address, length]) => `${address}/${length}`),
  fc.tuple(V6, fc.integer({ min: 16, max: 128 })).map(([address, length]) => `${address}/${length}`),
)
const KEY = fc.constantFrom(...KEYS)
const PORT = fc.integer({ min: 1, max: 65_535 }).map(String)
const NONSENSE = fc.constantFrom('', 'x', '0', '-1', '300.1.1.1', '::', '10.0.0.0/7')
const orNonsense = (text: fc.Arbitrary<string>) =>
  fc.oneof({ weight: 8, arbitrary: text }, { weight: 1, arbitrary: NONSENSE })

const ANNOTATIONS = fc.record(
  {
    'projectcalico.org/WireguardPublicKey': orNonsense(KEY),
    'projectcalico.org/WireguardPublicKeyV6': orNonsense(KEY),
    'projectcalico.org/IPv4WireguardInterfaceAddr': orNonsense(V4),
    'projectcalico.org/IPv6WireguardInterfaceAddr': orNonsense(V6),
    'projectcalico.org/IPv4Address': orNonsense(V4.map(address => `${address}/16`)),
    'projectcalico.org/IPv4IPIPTunnelAddr': orNonsense(V4),
    'projectcalico.org/IPv4VXLANTunnelAddr': orNonsense(V4),
    'podveil.io/wireguard-port': orNonsense(PORT),
    'podveil.io/wireguard-port-v6': orNonsense(PORT),
    'podveil.io/spare-public-key': orNonsense(KEY),
    'podveil.io/spare-port': orNonsense(PORT),
    'podveil.io/spare-public-key-v6': orNonsense(KEY),
    'podveil.io/spare-port-v6': orNonsense(PORT),
    'podveil.io/move': orNonsense(fc.constantFrom('away', 'back')),
    'podveil.io/host-encryption': orNonsense(fc.constant('true')),
    'podveil.io/host-encryption-v6': orNonsense(fc.constant('true')),
    'podveil.io/hello': orNonsense(fc.constantFrom('1', '2')),
    'podveil.io/addresses': orNonsense(ADDRESS),
    'podveil.io/pod-cidrs': orNonsense(CIDR),
  },
  { requiredKeys: [] },
)

/** A Node as kubelets, controllers, Calico and an agent write it, with some nonsense in it. */
const NODE = fc.record({
  metadata: fc.record(
    {
      name: fc.constant('n1'),
      uid: fc.uuid(),
      creationTimestamp: fc
        .date({ min: new Date(0), max: new Date('2200-01-01'), noInvalidDate: true })
        .map(date => date.toISOString()),
      annotations: ANNOTATIONS,
    },
    { requiredKeys: ['name', 'annotations'] },
  ),
  spec: fc.record({ podCIDRs: fc.array(orNonsense(CIDR), { maxLength: 20 }) }, { requiredKeys: [] }),
  status: fc.record({
    addresses: fc.array(
      fc.record({ type: fc.constantFrom('InternalIP', 'ExternalIP', 'Hostname'), address: orNonsense(ADDRESS) }),
      { maxLength: 70 },
    ),
  }),
})

const record = (node: unknown): NodeRecord => {
  const read = projectNode(node)
  if (!read) throw new Error('no record')
  return { ...read, faults: [] }
}

const meshNode = (spec: unknown, name = 'n1') => ({ metadata: { name }, spec })

describe('the MeshNode that is written for a Node', () => {
  it('is read as the Node itself is, whatever that says', () => {
    fc.assert(
      fc.property(NODE, node => {
        expect(projectMeshNode(meshNode(meshNodeSpec(record(node))))).toStrictEqual(record(node))
      }),
    )
  })

  it('is as its definition wants it', () => {
    fc.assert(
      fc.property(NODE, node => {
        const { unknown, object } = definition.shape(meshNode(meshNodeSpec(record(node))) as unknown as JsonObject)
        expect(unknown).toEqual([])
        expect(definition.check(object)).toEqual([])
      }),
    )
  })

  it('becomes that by a patch, whatever it was before', () => {
    fc.assert(
      fc.property(NODE, NODE, (before, after) => {
        const was = meshNodeSpec(record(before)) as JsonObject
        const is = meshNodeSpec(record(after))
        expect(mergePatch(was, meshNodePatch(is) as JsonObject)).toStrictEqual(JSON.parse(JSON.stringify(is)))
      }),
    )
  })
})

describe('a MeshNode that somebody else wrote', () => {
  const KEY1 = publicKey(1)

  it.each([
    ['a key that is none', { ipv4: { publicKey: 'x'.repeat(44) } }],
    ['a key that is no text', { ipv4: { publicKey: 7 } }],
    ['the zero key', { ipv4: { publicKey: `${'A'.repeat(43)}=` } }],
    ['a port out of range', { ipv4: { publicKey: KEY1, port: 65_536 } }],
    ['a port that is text', { ipv4: { publicKey: KEY1, port: '51820' } }],
    ['an address of the other family', { ipv4: { publicKey: KEY1, interfaceAddress: 'fd00::1' } }],
    ['an address that no host can have', { ipv4: { publicKey: KEY1, interfaceAddress: '127.0.0.1' } }],
    ['a hello that is no number', { hello: 'yes', ipv4: { publicKey: KEY1 } }],
  ])('announces nothing by %s, and it is said', (_, spec) => {
    const read = projectMeshNode(meshNode(spec))
    expect(read?.announced).toEqual(ofFamilies(undefined, undefined))
    expect(read?.faults.length).toBe(1)
  })

  it('has no spare device of half a sentence', () => {
    expect(projectMeshNode(meshNode({ ipv4: { spare: { publicKey: KEY1 } } }))?.spare[4]).toBeUndefined()
    const spare = { publicKey: KEY1, port: 51822, move: 'up' }
    expect(projectMeshNode(meshNode({ ipv4: { spare } }))?.spare[4]).toBeUndefined()
  })

  it('claims no half of the world, and is looked at in bounded time', () => {
    expect(projectMeshNode(meshNode({ podCIDRs: ['0.0.0.0/1', '10.1.0.0/16', 'x', 7] }))?.podCidrs).toEqual([
      '10.1.0.0/16',
    ])
    const many = Array.from({ length: 100_000 }, (_, at) => `10.${at >> 16}.${(at >> 8) & 255}.${at & 255}`)
    const read = projectMeshNode(meshNode({ addresses: many, tunnelAddresses: many, podCIDRs: many }))
    expect(read?.addresses.length).toBeLessThanOrEqual(72)
    expect(read?.tunnels.length).toBeLessThanOrEqual(8)
    expect(read?.faults.length).toBeLessThanOrEqual(16)
  })

  it.each([undefined, null, 7, [], {}, { metadata: {} }, { metadata: { name: '../x' } }])('is none at all: %j', raw =>
    expect(projectMeshNode(raw)).toBeUndefined(),
  )

  it('never makes anything throw', () => {
    const key = fc.constantFrom(
      'metadata',
      'name',
      'spec',
      'ipv4',
      'spare',
      'publicKey',
      'port',
      'addresses',
      '__proto__',
    )
    const leaf = fc.oneof(fc.constantFrom(null, true, 7, -0.5, '', 'n1', '10.0.0.1', KEY1), fc.string())
    const { tree } = fc.letrec<{ tree: unknown }>(tie => ({
      tree: fc.oneof(
        { maxDepth: 3 },
        leaf,
        fc.array(tie('tree'), { maxLength: 4 }),
        fc.dictionary(key, tie('tree'), { maxKeys: 5 }),
      ),
    }))
    fc.assert(
      fc.property(tree, tree, (raw, spec) => {
        projectMeshNode(raw)
        projectMeshNode(meshNode(spec))
      }),
    )
  })
})
