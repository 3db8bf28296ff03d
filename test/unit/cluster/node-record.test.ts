import fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import { projectNode, projectNodeMetadata } from '#src/cluster/node-record.ts'
import { ofFamilies } from '#src/mesh/node-record.ts'

const KEY = 'xTIBA5rboUvnH4htodjb6e697QjLERt1NAB4mZqp8Dg='
const KEY6 = 'TrMvSoP4jYQlY6RIzBgbssQqY3vxI2Pi+y71lOWWXX0='

/** A dual-stack Node that runs Podveil; what a test changes is merged over it. */
function node(annotations: object = {}, fields: { spec?: unknown; status?: unknown; metadata?: object } = {}): unknown {
  return {
    apiVersion: 'v1',
    kind: 'Node',
    metadata: {
      name: 'n1',
      uid: '7d1b8a0e-0000-4000-8000-000000000001',
      creationTimestamp: '2026-01-02T03:04:05Z',
      annotations: {
        'projectcalico.org/WireguardPublicKey': KEY,
        'projectcalico.org/IPv4WireguardInterfaceAddr': '10.244.1.1',
        'podveil.io/wireguard-port': '51820',
        'podveil.io/hello': '1',
        ...annotations,
      },
      ...fields.metadata,
    },
    spec: 'spec' in fields ? fields.spec : { podCIDR: '10.244.1.0/24', podCIDRs: ['10.244.1.0/24', 'fd00:1::/64'] },
    status:
      'status' in fields
        ? fields.status
        : {
            addresses: [
              { type: 'Hostname', address: 'n1' },
              { type: 'InternalIP', address: '192.168.0.5' },
            ],
          },
  }
}

const addresses = (...list: [type: string, address: unknown][]) => ({
  status: { addresses: list.map(([type, address]) => ({ type, address })) },
})

describe('a Node as the mesh needs it', () => {
  it('keeps its name, birth, addresses, pod CIDRs and what it announces', () => {
    expect(projectNode(node())).toEqual({
      name: 'n1',
      uid: '7d1b8a0e-0000-4000-8000-000000000001',
      createdAt: 1767323045,
      addresses: ['192.168.0.5'],
      podCidrs: ['10.244.1.0/24', 'fd00:1::/64'],
      tunnels: [],
      announced: ofFamilies({ publicKey: KEY, interfaceAddress: '10.244.1.1', port: 51820, hello: 1 }, undefined),
      spare: ofFamilies(undefined, undefined),
      faults: [],
    })
  })

  it('says whether it encrypts what it sends itself', () => {
    const said = (text: string) => projectNode(node({ 'podveil.io/host-encryption': text }))
    expect(said('true')?.announced[4]).toMatchObject({ encryptsHosts: true })
    expect(said('yes')?.announced[4]).toEqual({ publicKey: KEY, interfaceAddress: '10.244.1.1', port: 51820, hello: 1 })
    expect(said('yes')?.faults).toHaveLength(1)
  })

  it('knows the spare device of a node, and where its traffic is to go', () => {
    const record = projectNode(
      node({ 'podveil.io/spare-public-key': KEY6, 'podveil.io/spare-port': '51822', 'podveil.io/move': 'away' }),
    )
    expect(record?.spare).toEqual(ofFamilies({ publicKey: KEY6, port: 51822, move: 'away' }, undefined))
  })

  it.each([
    ['a key alone', { 'podveil.io/spare-public-key': KEY6 }],
    ['a port that is none', { 'podveil.io/spare-public-key': KEY6, 'podveil.io/spare-port': '0' }],
    [
      'a place that is none',
      { 'podveil.io/spare-public-key': KEY6, 'podveil.io/spare-port': '1', 'podveil.io/move': 'up' },
    ],
    ['a key that is none', { 'podveil.io/spare-public-key': 'AAAA', 'podveil.io/spare-port': '51822' }],
  ])('knows no spare device from %s, and what it has of the main one stays', (_, annotations) => {
    const record = projectNode(node(annotations))
    expect(record?.spare[4]).toBeUndefined()
    expect(record?.announced[4]?.publicKey).toBe(KEY)
  })

  it('announces each family by its own annotations and one hello', () => {
    const record = projectNode(
      node({
        'projectcalico.org/WireguardPublicKeyV6': KEY6,
        'projectcalico.org/IPv6WireguardInterfaceAddr': 'fd00:1:0::1',
        'podveil.io/wireguard-port-v6': '51821',
      }),
    )
    expect(record?.announced[6]).toEqual({ publicKey: KEY6, interfaceAddress: 'fd00:1::1', port: 51821, hello: 1 })
  })

  it('announces nothing where there is no key, or an empty one', () => {
    expect(projectNode(node({ 'projectcalico.org/WireguardPublicKey': '' }))?.announced[4]).toBeUndefined()
    expect(projectNode({ metadata: { name: 'n1', creationTimestamp: '2026-01-02T03:04:05Z' } })).toMatchObject({
      announced: ofFamilies(undefined, undefined),
      faults: [],
    })
  })

  it('takes a node without hello and port for one that runs Felix, whose address comes from anywhere', () => {
    const record = projectNode(
      node({
        'podveil.io/hello': '',
        'podveil.io/wireguard-port': '',
        'projectcalico.org/IPv4WireguardInterfaceAddr': '10.65.7.1',
      }),
    )
    expect(record?.announced[4]).toEqual({
      publicKey: KEY,
      interfaceAddress: '10.65.7.1',
      port: undefined,
      hello: undefined,
    })
    expect(record?.faults).toEqual([])
  })

  it('keeps the addresses of other devices that Calico gave the node', () => {
    const record = projectNode(
      node({
        'projectcalico.org/IPv4IPIPTunnelAddr': '10.244.1.2',
        'projectcalico.org/IPv4VXLANTunnelAddr': 'none',
        'projectcalico.org/IPv6VXLANTunnelAddr': 'fd00:1::2',
      }),
    )
    expect(record?.tunnels).toEqual(['10.244.1.2', 'fd00:1::2'])
    expect(record?.faults.join()).toContain('projectcalico.org/IPv4VXLANTunnelAddr')
  })

  it('takes spec.podCIDR where there are no podCIDRs, and clears host bits', () => {
    expect(projectNode(node({}, { spec: { podCIDR: '10.244.1.7/24' } }))?.podCidrs).toEqual(['10.244.1.0/24'])
  })

  it('takes addresses and pod CIDRs from annotations of metadata alone', () => {
    const told = { 'podveil.io/addresses': '192.168.0.5,fd00::5', 'podveil.io/pod-cidrs': '10.244.1.0/24, fd00:1::/64' }
    const partial = projectNodeMetadata(node(told, { spec: undefined, status: undefined }))
    expect(partial?.addresses).toEqual(['192.168.0.5', 'fd00::5'])
    expect(partial?.podCidrs).toEqual(['10.244.1.0/24', 'fd00:1::/64'])
  })

  it('does not let annotations add to what a whole Node says', () => {
    const told = { 'podveil.io/addresses': '192.168.0.66', 'podveil.io/pod-cidrs': '10.244.66.0/24' }
    expect(projectNode(node(told))).toMatchObject({
      addresses: ['192.168.0.5'],
      podCidrs: ['10.244.1.0/24', 'fd00:1::/64'],
    })
    for (const nothing of [{}, undefined])
      expect(projectNode(node(told, { spec: nothing, status: nothing }))).toMatchObject({ addresses: [], podCidrs: [] })
  })
})

describe('the underlay addresses of a Node', () => {
  it('put first what Calico detected, whatever else is listed', () => {
    const record = projectNode(
      node(
        { 'projectcalico.org/IPv4Address': '10.0.0.5/24', 'projectcalico.org/IPv6Address': '2001:db8::5/64' },
        addresses(['InternalIP', '192.168.0.5'], ['InternalIP', '10.0.0.5']),
      ),
    )
    expect(record?.addresses).toEqual(['10.0.0.5', '2001:db8::5', '192.168.0.5'])
  })

  it('leave out an ExternalIP where the family has another (calico#8508), and take it where it has none', () => {
    const record = projectNode(
      node({}, addresses(['ExternalIP', '203.0.113.9'], ['InternalIP', '192.168.0.5'], ['ExternalIP', '2001:db8::9'])),
    )
    expect(record?.addresses).toEqual(['192.168.0.5', '2001:db8::9'])
  })

  it.each([
    '0.0.0.0',
    '127.0.0.1',
    '224.0.0.1',
    '255.255.255.255',
    '::',
    '::1',
    'fe80::1',
    'febf::1',
    'ff02::1',
    '010.0.0.1',
    '10.0.0.1/24',
    'n1.example',
    '',
    7,
    null,
    {},
    'x'.repeat(10_000),
  ])('refuse %j', address => {
    const record = projectNode(node({}, addresses(['InternalIP', address], ['InternalIP', '192.168.0.5'])))
    expect(record?.addresses).toEqual(['192.168.0.5'])
    expect(record?.faults).toHaveLength(1)
  })

  it.each(['fec0::1', 'fd00::1', '1.0.0.1', '223.255.255.254', '::2', '1::'])('accept %s', address => {
    expect(projectNode(node({}, addresses(['InternalIP', address])))?.addresses).toEqual([address])
  })
})

describe('a Node with something malformed', () => {
  it.each<[string, string, unknown]>([
    ['a key that is no base64', 'projectcalico.org/WireguardPublicKey', 'nonsense'],
    ['the zero key', 'projectcalico.org/WireguardPublicKey', 'AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA='],
    ['a key of another type', 'projectcalico.org/WireguardPublicKey', { a: 1 }],
    ['a huge key', 'projectcalico.org/WireguardPublicKey', 'A'.repeat(200_000)],
    ['a port of 0', 'podveil.io/wireguard-port', '0'],
    ['a port beyond 65535', 'podveil.io/wireguard-port', '65536'],
    ['a port in hexadecimal', 'podveil.io/wireguard-port', '0xff'],
    ['a hello of -1', 'podveil.io/hello', '-1'],
    ['an interface address with a prefix', 'projectcalico.org/IPv4WireguardInterfaceAddr', '10.244.1.1/32'],
    ['an interface address of the other family', 'projectcalico.org/IPv4WireguardInterfaceAddr', 'fd00:1::1'],
    ['a multicast interface address', 'projectcalico.org/IPv4WireguardInterfaceAddr', '239.1.1.1'],
  ])('announces nothing with %s, says why, and stays usable', (_name, key, value) => {
    const record = projectNode(node({ [key]: value }))
    expect(record?.announced[4]).toBeUndefined()
    expect(record?.faults).toHaveLength(1)
    expect(record?.faults[0]).toContain(`annotation ${key}: `)
    expect(record?.faults[0]?.length).toBeLessThan(300)
    expect(record).toMatchObject({ name: 'n1', addresses: ['192.168.0.5'], podCidrs: ['10.244.1.0/24', 'fd00:1::/64'] })
  })

  it('announces the other family all the same', () => {
    const record = projectNode(
      node({ 'podveil.io/wireguard-port': 'x', 'projectcalico.org/WireguardPublicKeyV6': KEY6 }),
    )
    expect(record?.announced[4]).toBeUndefined()
    expect(record?.announced[6]?.publicKey).toBe(KEY6)
  })

  it.each(['0.0.0.0/0', '::/0', '10.0.0.0/7', 'fd00::/15', '10.244.1.0', 'x', '10.244.1.0/33', 7, null])(
    'leaves out the pod CIDR %j',
    cidr => {
      const record = projectNode(node({}, { spec: { podCIDRs: ['10.244.1.0/24', cidr] } }))
      expect(record?.podCidrs).toEqual(['10.244.1.0/24'])
      expect(record?.faults).toHaveLength(1)
    },
  )

  it('is the youngest where its birth cannot be read, so that it wins no dispute', () => {
    const record = projectNode(node({}, { metadata: { creationTimestamp: 'yesterday' } }))
    expect(record?.createdAt).toBe(Number.MAX_SAFE_INTEGER)
    expect(record?.faults).toHaveLength(1)
  })

  it('is told in a bounded number of sentences, and looked at in bounded time', () => {
    const many = Array.from({ length: 100_000 }, (_, i): [string, unknown] => ['InternalIP', `bad${i}`])
    const spec = { podCIDRs: Array.from({ length: 100_000 }, () => 'bad') }
    const record = projectNode(node({}, { spec, ...addresses(...many) }))
    expect(record?.faults.length).toBeLessThanOrEqual(16)
    expect(record?.announced[4]?.publicKey).toBe(KEY)
  })

  it.each([
    undefined,
    null,
    7,
    'x',
    [],
    {},
    { metadata: null },
    { metadata: { name: 7 } },
    { metadata: { name: '' } },
    { metadata: { name: '../x' } },
    { metadata: { name: 'x'.repeat(254) } },
    { metadata: { name: 'a\nb' } },
  ])('is nothing at all when it is %j', raw => expect(projectNode(raw)).toBeUndefined())

  it('never throws, whatever is in it', () => {
    const key = fc.constantFrom(
      'metadata',
      'name',
      'uid',
      'annotations',
      'spec',
      'podCIDRs',
      'podCIDR',
      'status',
      'addresses',
      'type',
      'address',
      'creationTimestamp',
      '__proto__',
      'podveil.io/hello',
      'projectcalico.org/IPv4Address',
      'projectcalico.org/WireguardPublicKey',
      'projectcalico.org/IPv4WireguardInterfaceAddr',
    )
    const leaf = fc.oneof(
      fc.constantFrom(null, true, 7, -0.5, '', 'n1', '10.0.0.1', '10.0.0.0/24', 'fd00::1', 'InternalIP', KEY, '1'),
      fc.string(),
    )
    const { tree } = fc.letrec<{ tree: unknown }>(tie => ({
      tree: fc.oneof(
        { maxDepth: 3 },
        leaf,
        fc.array(tie('tree'), { maxLength: 4 }),
        fc.dictionary(key, tie('tree'), { maxKeys: 6 }),
      ),
    }))
    fc.assert(
      fc.property(tree, tree, tree, tree, (annotations, spec, status, metadata) => {
        projectNode(annotations)
        const named = { name: 'n1', ...(typeof metadata === 'object' ? metadata : {}), annotations }
        const record = projectNode({ metadata: named, spec, status })
        for (const sentence of record?.faults ?? []) expect(sentence).not.toMatch(/\n/)
      }),
      { numRuns: 1_000 },
    )
  })
})
