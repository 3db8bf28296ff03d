import fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import { projectIpPool } from '#src/cluster/ip-pool.ts'
import { projectIpamBlock } from '#src/cluster/ipam-block.ts'
import { projectWorkload } from '#src/cluster/workload.ts'
import { blockClaimant } from '#src/mesh/ipam-block.ts'

const metadata = { name: '10-65-0-0-26', creationTimestamp: '2026-01-02T03:04:05Z' }

/** As Calico writes it: offset 0 is a tunnel's, 1 and 2 are pods here and elsewhere, 3 is of a service. */
const block = (fields: object = {}) => ({
  metadata,
  spec: {
    cidr: '10.65.0.0/26',
    affinity: 'host:n1',
    allocations: [0, 1, 2, 3, null],
    attributes: [
      { handle_id: 'ipip-tunnel-addr-n1', secondary: { node: 'n1', type: 'ipipTunnelAddress' } },
      { handle_id: 'k8s-pod-network.a', secondary: { namespace: 'a', node: 'n1', pod: 'p' } },
      { handle_id: 'k8s-pod-network.b', secondary: { namespace: 'a', node: 'n2', pod: 'q' } },
      { handle_id: 'lb-x', secondary: { type: 'loadBalancer' } },
    ],
    unallocated: [],
    strictAffinity: false,
    ...fields,
  },
})

describe('an IPAMBlock as the mesh needs it', () => {
  it('keeps whose it is, what of it is elsewhere, and what is a node’s own', () => {
    expect(projectIpamBlock(block())).toEqual({
      name: '10-65-0-0-26',
      cidr: '10.65.0.0/26',
      createdAt: 1767323045,
      affinity: 'n1',
      elsewhere: new Map([['10.65.0.2/32', 'n2']]),
      tunnels: [{ address: '10.65.0.0', node: 'n1', wireguard: false }],
    })
  })

  it.each([null, undefined, '', 'virtual:load-balancer', 'n1', 7])('is nobody’s where its affinity is %j', affinity => {
    const projected = projectIpamBlock(block({ affinity }))
    expect(projected?.affinity).toBeUndefined()
    expect([...(projected?.elsewhere.keys() ?? [])]).toEqual(['10.65.0.0/32', '10.65.0.1/32', '10.65.0.2/32'])
  })

  it('counts IPv6 addresses from the first', () => {
    const wide = block({ cidr: 'fd00:65::/122', affinity: null, allocations: [...Array(63).fill(null), 2] })
    expect([...(projectIpamBlock(wide)?.elsewhere.keys() ?? [])]).toEqual(['fd00:65::3f/128'])
  })

  it('is gone as soon as its deletion has begun', () =>
    expect(projectIpamBlock(block({ deleted: true }))).toBeUndefined())

  it.each([undefined, '10.65.0.0', 'x', '10.64.0.0/19', '0.0.0.0/0', 'fd00::/115', 7])(
    'is refused with the CIDR %j',
    cidr => expect(() => projectIpamBlock(block({ cidr }))).toThrow(/^spec\.cidr /),
  )

  it('that is one address alone has one owner, the one that uses it', () => {
    const single = projectIpamBlock(block({ cidr: '10.65.0.9/32', affinity: null, allocations: [2] }))
    expect(single && blockClaimant(single).claims).toEqual([{ cidr: '10.65.0.9/32', node: 'n2', exclusive: false }])
  })
})

describe('an IPPool as the guard needs it', () => {
  it('is where pods are, unless it is for other uses alone', () => {
    expect(projectIpPool({ spec: { cidr: '10.65.0.0/16' } })).toBe('10.65.0.0/16')
    expect(projectIpPool({ spec: { cidr: '10.65.0.0/16', allowedUses: ['Tunnel', 'Workload'] } })).toBe('10.65.0.0/16')
    expect(projectIpPool({ spec: { cidr: '10.65.0.0/16', allowedUses: ['Tunnel'] } })).toBeUndefined()
    expect(() => projectIpPool({ spec: { cidr: '10.65.0.0' } })).toThrow('"10.65.0.0" is not a CIDR')
  })
})

describe('a Pod as the mesh needs it', () => {
  const pod = (status: object, spec: object = {}, more: object = {}) => ({
    metadata: { namespace: 'a', name: 'p', creationTimestamp: '2026-01-02T03:04:05Z', ...more },
    spec: { nodeName: 'n1', ...spec },
    status: { phase: 'Running', ...status },
  })

  it('keeps its node and all its addresses', () => {
    expect(projectWorkload(pod({ podIP: '10.0.0.7', podIPs: [{ ip: '10.0.0.7' }, { ip: 'FD00:0::7' }] }))).toEqual({
      id: 'a/p',
      createdAt: 1767323045,
      leaving: false,
      node: 'n1',
      addresses: ['10.0.0.7', 'fd00::7'],
    })
    expect(projectWorkload(pod({ podIP: '10.0.0.7' }))?.addresses).toEqual(['10.0.0.7'])
  })

  it('says whether it is on its way out', () => {
    expect(
      projectWorkload(pod({ podIP: '10.0.0.7' }, {}, { deletionTimestamp: '2026-01-02T04:00:00Z' }))?.leaving,
    ).toBe(true)
  })

  it.each([
    ['has no address yet', pod({})],
    ['has that of its node', pod({ podIP: '10.0.0.7' }, { hostNetwork: true })],
    ['has ended', pod({ podIP: '10.0.0.7', phase: 'Failed' })],
    ['is on no node', pod({ podIP: '10.0.0.7' }, { nodeName: '' })],
  ])('is left out when it %s', (_, raw) => expect(projectWorkload(raw)).toBeUndefined())

  it.each(['127.0.0.1', '0.0.0.0', '224.0.0.1', '::1', 'fe80::1', '10.0.0.7/24', 'x'])(
    'is refused with the address %s',
    podIP => expect(() => projectWorkload(pod({ podIP }))).toThrow(),
  )
})

it.each([
  ['IPAMBlock', projectIpamBlock],
  ['IPPool', projectIpPool],
  ['Pod', projectWorkload],
])('whatever is said to be an %s is understood or refused with an Error', (_, project) => {
  const keys = fc.constantFrom('metadata', 'spec', 'status', 'cidr', 'allocations', 'attributes', 'podIPs', 'nodeName')
  const value = fc.letrec(tie => ({
    any: fc.oneof(
      { depthSize: 'small' },
      fc.constantFrom(null, '', '10.65.0.0/26', 'host:n1', 0, -1, 1e9, true, '__proto__'),
      fc.array(tie('any'), { maxLength: 4 }),
      fc.dictionary(keys, tie('any'), { maxKeys: 5 }),
    ),
  })).any
  fc.assert(
    fc.property(value, raw => {
      try {
        project(raw)
      } catch (error) {
        expect(error).toBeInstanceOf(Error)
        // That would be one of the language, about an object that nobody looked at first.
        expect(error).not.toBeInstanceOf(TypeError)
      }
    }),
  )
})
