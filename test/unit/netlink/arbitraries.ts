import fc from 'fast-check'
import { addressFromBytes, type Cidr, cidrFromBytes, type Family, type IpAddress } from '#wg/ip.ts'
import type { Address } from '#wg/rtnetlink/address.ts'
import type { LinkChange } from '#wg/rtnetlink/link.ts'
import type { Route, RouteType } from '#wg/rtnetlink/route.ts'
import type { Rule, RuleAction } from '#wg/rtnetlink/rule.ts'

const u8 = fc.integer({ min: 0, max: 0xff })
const u16 = fc.integer({ min: 0, max: 0xffff })
const u32 = fc.integer({ min: 0, max: 0xffff_ffff })
const nonZero = fc.integer({ min: 1, max: 0xffff_ffff })
const index = fc.integer({ min: 1, max: 0x7fff_ffff })
const name = fc.stringMatching(/^[a-z][a-z0-9.-]{0,14}$/)
const family = fc.constantFrom<Family>(4, 6)

const bytes = (family: Family): fc.Arbitrary<Uint8Array> => {
  const length = family === 4 ? 4 : 16
  return fc.uint8Array({ minLength: length, maxLength: length })
}
const address = (family: Family): fc.Arbitrary<IpAddress> => bytes(family).map(addressFromBytes)
const cidr = (family: Family, min = 0): fc.Arbitrary<Cidr> =>
  fc
    .tuple(bytes(family), fc.integer({ min, max: family === 4 ? 32 : 128 }))
    .map(([b, length]) => cidrFromBytes(b, length))

/** Attributes that no field is made of. */
const other = fc.array(
  fc.record({
    type: fc.integer({ min: 200, max: 1000 }),
    value: fc.uint8Array({ maxLength: 24 }).map(value => Buffer.from(value).toString('hex')),
  }),
  { minLength: 1, maxLength: 3 },
)

/** A record whose `optional` fields may be absent, never undefined. */
function record<R extends object, O extends object>(
  required: { [K in keyof R]: fc.Arbitrary<R[K]> },
  optional: { [K in keyof O]: fc.Arbitrary<O[K]> },
): fc.Arbitrary<R & Partial<O>> {
  // fast-check types the mixture of both as one record with required keys named; the shapes are those above.
  return fc.record({ ...required, ...optional }, {
    requiredKeys: Object.keys(required),
  } as never) as unknown as fc.Arbitrary<R & Partial<O>>
}

export const linkChanges: fc.Arbitrary<LinkChange> = record<Pick<LinkChange & { name: string }, 'name'>, LinkChange>(
  { name },
  {
    kind: fc.constantFrom('wireguard', 'bridge', 'ifb'),
    mtu: u16,
    up: fc.boolean(),
    alias: fc.string({ minLength: 1 }).filter(s => !s.includes('\0')),
  },
)

export const addresses: fc.Arbitrary<Address> = family.chain(family =>
  record<Address, Pick<Required<Address>, 'label'>>(
    {
      ifindex: index,
      address: address(family),
      prefixLength: fc.integer({ min: 0, max: family === 4 ? 32 : 128 }),
      scope: u8,
      flags: u32,
    },
    { label: name },
  ),
)

const forwarding: RouteType[] = ['unicast', 'local', 'broadcast', 'anycast', 'multicast']
const deadEnds: RouteType[] = ['blackhole', 'unreachable', 'prohibit', 'throw']

export const routes: fc.Arbitrary<Route> = fc.tuple(family, fc.boolean()).chain(([family, isDeadEnd]) =>
  record<Route, Required<Pick<Route, 'device' | 'gateway' | 'mtu' | 'source' | 'from' | 'tos' | 'onlink' | 'other'>>>(
    {
      table: u32,
      destination: cidr(family),
      type: fc.constantFrom(...(isDeadEnd ? deadEnds : forwarding)),
      protocol: u8,
      scope: u8,
      metric: u32,
    },
    {
      ...(isDeadEnd ? {} : ({ device: index, gateway: address(family) } as const)),
      mtu: u32,
      source: address(family),
      from: cidr(family, 1),
      tos: fc.integer({ min: 1, max: 0xff }),
      onlink: fc.constant(true as const),
      other,
    } as never,
  ),
)

const portRange = fc.tuple(u16, u16).map(([a, b]) => ({ first: Math.min(a, b), last: Math.max(a, b) }))

export const rules: fc.Arbitrary<Rule> = family.chain(family =>
  fc
    .tuple(
      record<Rule, Required<Omit<Rule, 'family' | 'priority' | 'action' | 'table' | 'protocol' | 'fwmark' | 'fwmask'>>>(
        {
          family: fc.constant(family),
          priority: u32,
          action: fc.constantFrom<RuleAction>('lookup', 'goto', 'nop', 'blackhole', 'unreachable', 'prohibit'),
          table: u32,
          protocol: u8,
        },
        {
          invert: fc.constant(true as const),
          source: cidr(family, 1),
          destination: cidr(family, 1),
          iif: name,
          oif: name,
          suppressPrefixLength: fc.integer({ min: 0, max: 128 }),
          ipProtocol: u8,
          sourcePorts: portRange,
          destinationPorts: portRange,
          tos: fc.integer({ min: 1, max: 0xff }),
          other,
        },
      ),
      fc.option(fc.record({ fwmark: u32, fwmask: nonZero }), { nil: {} }),
    )
    .map(([rule, mark]) => ({ ...rule, ...mark })),
)
