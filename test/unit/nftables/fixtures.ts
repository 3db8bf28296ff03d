import { parseCidr } from '#wg/ip.ts'
import type { DesiredFirewall, GuardRules, Prefixes } from '#wg/nftables/ruleset.ts'
import { PrefixMap } from '#wg/prefix-map.ts'

export const prefixes = (four: readonly string[], six: readonly string[] = []): Prefixes => {
  const parse = (texts: readonly string[]) => {
    const map = new PrefixMap<true>()
    for (const text of texts) map.set(parseCidr(text), true)
    return map
  }
  return { 4: parse(four), 6: parse(six) }
}

export const guard = (fields: Partial<GuardRules> = {}): GuardRules => ({
  mode: 'enforce',
  supernets: prefixes(['10.244.0.0/16'], ['fd00:244::/32']),
  clear: prefixes([]),
  unarmed: prefixes([]),
  pinned: prefixes(['10.200.0.12'], ['fd00:200::12']),
  wireguardPorts: [51820, 51821],
  ...fields,
})

/** What a node of a small mesh asks for. */
export const firewall = (fields: Partial<DesiredFirewall> = {}): DesiredFirewall => ({
  mark: 0x200000,
  devices: ['wireguard.cali', 'wg-v6.cali'],
  helloPort: 9182,
  localPods: prefixes(['10.244.1.0/24'], ['fd00:244:1::/64']),
  remotes: prefixes(['10.244.2.0/24', '10.200.0.12'], ['fd00:244:2::/64', 'fd00:200::12']),
  nodes: prefixes(['10.200.0.12'], ['fd00:200::12']),
  deviceAddresses: prefixes(['10.244.1.1'], ['fd00:244:1::1']),
  guard: guard(),
  ...fields,
})
