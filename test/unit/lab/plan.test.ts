import fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import { type Families, isNamespaceOf, MAX_NODES, POD_SUPERNETS, planLab } from '#src/lab/plan.ts'
import { cidrContains, familyOf } from '#wg/ip.ts'

const families = fc.constantFrom<Families>('4', '6', 'dual')

describe('the plan of a lab', () => {
  test('gives every node addresses of its own, and every pod one inside of its node’s pod CIDR', () => {
    fc.assert(
      fc.property(fc.integer({ min: 1, max: MAX_NODES }), families, (count, carried) => {
        const plan = planLab('a', count, carried)
        const addresses = [
          ...plan.switchAddresses,
          ...plan.nodes.flatMap(node => [...node.addresses, ...node.podAddresses, ...node.podGateways]),
        ]
        expect(new Set(addresses).size).toBe(addresses.length)
        for (const node of plan.nodes)
          node.podCidrs.forEach((cidr, i) => {
            expect(cidrContains(POD_SUPERNETS[familyOf(cidr)], cidr)).toBe(true)
            for (const address of [node.podAddresses[i], node.podGateways[i]])
              expect(address !== undefined && cidrContains(cidr, address)).toBe(true)
          })
      }),
    )
  })

  test('carries the families that were asked for, and no other', () => {
    const of = (carried: Families) => planLab('a', 1, carried).nodes.flatMap(node => node.addresses)
    expect(of('4')).toEqual(['10.200.0.11'])
    expect(of('6')).toEqual(['fd00:200::11'])
    expect(of('dual')).toEqual(['10.200.0.11', 'fd00:200::11'])
  })

  test.each(['', '-a', 'a-', 'A', 'a/b', '../a', 'a'.repeat(33)])('refuses %j as a name', name => {
    expect(() => planLab(name, 1, 'dual')).toThrow(expect.objectContaining({ code: 'ERR_LAB_OPTION' }))
  })

  test.each([0, -1, 1.5, MAX_NODES + 1, Number.NaN])('refuses %d nodes', count => {
    expect(() => planLab('a', count, 'dual')).toThrow(expect.objectContaining({ code: 'ERR_LAB_OPTION' }))
  })
})

describe('a network namespace', () => {
  test('belongs to the lab that made it and to no other, whatever their names', () => {
    const name = fc.stringMatching(/^[a-z0-9]([a-z0-9-]{0,10}[a-z0-9])?$/)
    const nearby = fc.constantFrom('', '-node-1', '-switch', '-pod', '-1')
    fc.assert(
      fc.property(name, nearby, (lab, suffix) => {
        const plan = planLab(lab, 2, '4')
        const namespaces = [plan.switchNamespace, ...plan.nodes.flatMap(node => [node.namespace, node.podNamespace])]
        for (const namespace of namespaces) {
          expect(isNamespaceOf(lab, namespace)).toBe(true)
          if (suffix !== '') expect(isNamespaceOf(`${lab}${suffix}`, namespace)).toBe(false)
        }
      }),
    )
  })
})
