import fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import {
  describeFault,
  environmentLayer,
  layersOf,
  projectFelixConfiguration,
  resolveSettings,
  type SettingsLayer,
} from '#src/cluster/felix-configuration.ts'
import { PARAMETERS, parameterKeys, parameterName } from '#src/cluster/felix-parameters.ts'
import type { FelixSettings } from '#src/mesh/settings.ts'

const configuration = (name: string, spec: object, annotations: object = {}): SettingsLayer => {
  const layer = projectFelixConfiguration({ metadata: { name, annotations }, spec })
  if (!layer) throw new Error(`${name} is not a configuration`)
  return layer
}

const fromSpec = (spec: object) => resolveSettings([configuration('default', spec)])
const fromEnvironment = (env: Record<string, string>) => resolveSettings([environmentLayer(env)])

const DEFAULTS = resolveSettings([]).settings

describe('with nothing configured', () => {
  it('everything is as Felix has it by default', () => {
    expect(DEFAULTS).toEqual({
      wireguard: {
        4: { enabled: false, interfaceName: 'wireguard.cali', listeningPort: 51820, mtu: 0 },
        6: { enabled: false, interfaceName: 'wg-v6.cali', listeningPort: 51821, mtu: 0 },
      },
      hostEncryptionEnabled: false,
      routingRulePriority: 99,
      persistentKeepalive: 0,
      threadingEnabled: false,
      routeSource: undefined,
      routeTableRanges: [{ min: 1, max: 250 }],
      routeSyncDisabled: false,
      deviceRouteProtocol: 3,
      routeRefreshInterval: 90,
      markMask: 0xffff0000,
      mtuIfacePattern: /^((en|wl|ww|sl|ib)[Pcopsvx].*|(eth|wlan|wwan).*)/,
      ipv6Support: true,
      logSeverity: undefined,
      wireguardMetricsEnabled: true,
    } satisfies FelixSettings)
  })
})

const MANY_NAMES = `^(${Array.from({ length: 40 }, (_, i) => `eth${i}`).join('|')})(\\.[0-9]+)?$`

/** field, value in a spec, its text in the environment, where it shows */
const GOOD: [field: string, spec: unknown, text: string, read: (s: FelixSettings) => unknown, expected: unknown][] = [
  ['wireguardEnabled', true, 'Yes', s => s.wireguard[4].enabled, true],
  ['wireguardEnabledV6', true, '1', s => s.wireguard[6].enabled, true],
  ['wireguardInterfaceName', 'wg0', 'wg0', s => s.wireguard[4].interfaceName, 'wg0'],
  ['wireguardInterfaceNameV6', 'wg0.v6', 'wg0.v6', s => s.wireguard[6].interfaceName, 'wg0.v6'],
  ['wireguardListeningPort', 1, '0x1', s => s.wireguard[4].listeningPort, 1],
  ['wireguardListeningPortV6', 65535, '65535', s => s.wireguard[6].listeningPort, 65535],
  ['wireguardMTU', 1440, '1440', s => s.wireguard[4].mtu, 1440],
  ['wireguardMTU', 'none', 'none', s => s.wireguard[4].mtu, 0],
  ['wireguardMTUV6', 1280, '1280', s => s.wireguard[6].mtu, 1280],
  ['wireguardHostEncryptionEnabled', true, 't', s => s.hostEncryptionEnabled, true],
  ['wireguardRoutingRulePriority', 32765, '32765', s => s.routingRulePriority, 32765],
  ['wireguardKeepAlive', '25s', '25', s => s.persistentKeepalive, 25],
  ['wireguardKeepAlive', '1m30s', '90.0', s => s.persistentKeepalive, 90],
  ['wireguardKeepAlive', '500ms', '0.5', s => s.persistentKeepalive, 1],
  ['wireguardThreadingEnabled', true, 'Y', s => s.threadingEnabled, true],
  ['routeSource', 'workloadips', 'WorkloadIPs', s => s.routeSource, 'WorkloadIPs'],
  [
    'routeTableRanges',
    [
      { min: 5, max: 9 },
      { min: 300, max: 300 },
    ],
    '5-9,300-300',
    s => s.routeTableRanges,
    [
      { min: 5, max: 9 },
      { min: 300, max: 300 },
    ],
  ],
  ['routeTableRange', { min: 10, max: 20 }, '10-20', s => s.routeTableRanges, [{ min: 10, max: 20 }]],
  ['routeSyncDisabled', true, 'true', s => s.routeSyncDisabled, true],
  ['deviceRouteProtocol', 80, '80', s => s.deviceRouteProtocol, 80],
  ['routeRefreshInterval', '0s', '0', s => s.routeRefreshInterval, 0],
  ['routeRefreshInterval', '1h', '3600', s => s.routeRefreshInterval, 3600],
  ['iptablesMarkMask', 0xff00, '0xff00', s => s.markMask, 0xff00],
  ['nftablesMarkMask', 0xff00, '0xff00', s => s.markMask, 0xff00],
  [
    'mtuIfacePattern',
    '^(en|[*+(]|\\(+)?s{1,2}(\\.[0-9]+)?$',
    '^(?:en|[*+(])?s(\\.[0-9]{2})?',
    s => s.mtuIfacePattern.test('ens.12'),
    true,
  ],
  ['mtuIfacePattern', '^ens', '^ens', s => s.mtuIfacePattern.source, '^ens'],
  ['mtuIfacePattern', MANY_NAMES, MANY_NAMES, s => s.mtuIfacePattern.test('eth39.7'), true],
  ['mtuIfacePattern', '(?i)^ENS', '(?i)^ENS', s => s.mtuIfacePattern.test('ens5'), true],
  ['ipv6Support', false, 'false', s => s.ipv6Support, false],
  ['logSeverityScreen', 'Warning', 'WARNING', s => s.logSeverity, 'warn'],
  ['logSeverityScreen', 'Debug', 'debug', s => s.logSeverity, 'debug'],
  ['prometheusWireGuardMetricsEnabled', false, 'n', s => s.wireguardMetricsEnabled, false],
]

describe('each field', () => {
  it.each(GOOD)('%s may be %j in a spec and %j in the environment', (field, spec, text, read, expected) => {
    const inSpec = fromSpec({ [field]: spec })
    expect(inSpec.faults).toEqual([])
    expect(read(inSpec.settings)).toEqual(expected)
    const parameter = field === 'wireguardKeepAlive' ? 'WIREGUARDPERSISTENTKEEPALIVE' : field.toUpperCase()
    const inEnvironment = fromEnvironment({ [`FELIX_${parameter}`]: text })
    expect(inEnvironment.faults).toEqual([])
    expect(read(inEnvironment.settings)).toEqual(expected)
  })

  it('has a row in this table', () => {
    const fields = new Set(GOOD.map(([field]) => field))
    expect(parameterKeys.map(key => PARAMETERS[key].field).filter(field => !fields.has(field))).toEqual([])
  })

  it.each<[field: string, spec: unknown]>([
    ['wireguardEnabled', 'maybe'],
    ['wireguardEnabled', 2],
    ['wireguardEnabled', {}.constructor],
    ['wireguardEnabled', [true]],
    ['wireguardInterfaceName', 'name.that.is.too.long'],
    ['wireguardInterfaceName', 'wg/0'],
    ['wireguardInterfaceName', 'wg:0'],
    ['wireguardInterfaceName', 'wg 0'],
    ['wireguardInterfaceName', '..'],
    ['wireguardInterfaceName', 'all'],
    ['wireguardInterfaceName', 'none'],
    ['wireguardInterfaceNameV6', 'lo'],
    ['wireguardListeningPort', 0],
    ['wireguardListeningPort', 65536],
    ['wireguardListeningPort', -1],
    ['wireguardListeningPort', 1.5],
    ['wireguardListeningPort', '1e3'],
    ['wireguardListeningPort', 'none'],
    ['wireguardListeningPortV6', 'x'],
    ['wireguardMTU', 100],
    ['wireguardMTU', 70_000],
    ['wireguardMTUV6', 1279],
    ['wireguardHostEncryptionEnabled', 'on'],
    ['wireguardRoutingRulePriority', 0],
    ['wireguardRoutingRulePriority', 32766],
    ['wireguardKeepAlive', '25'],
    ['wireguardKeepAlive', '25 s'],
    ['wireguardKeepAlive', '-1s'],
    ['wireguardKeepAlive', '100000s'],
    ['wireguardKeepAlive', '1d'],
    ['wireguardThreadingEnabled', 'ja'],
    ['routeSource', 'PodCIDR'],
    ['routeSource', '__proto__'],
    ['routeTableRanges', [{ min: 0, max: 5 }]],
    ['routeTableRanges', [{ min: 5, max: 4 }]],
    ['routeTableRanges', [{ min: 1 }]],
    ['routeTableRanges', [{ min: 1, max: 2 ** 32 }]],
    ['routeTableRanges', [{ min: 1.5, max: 3 }]],
    ['routeTableRanges', ['1-5']],
    ['routeTableRanges', '1-5'],
    ['routeTableRanges', Array.from({ length: 65 }, () => ({ min: 1, max: 2 }))],
    ['routeTableRange', { min: 'a', max: 'b' }],
    ['routeSyncDisabled', 'x'],
    ['deviceRouteProtocol', 256],
    ['deviceRouteProtocol', 0],
    ['routeRefreshInterval', 'soon'],
    ['iptablesMarkMask', 0],
    ['iptablesMarkMask', 0x10000],
    ['iptablesMarkMask', 2 ** 32],
    ['mtuIfacePattern', '('],
    ['mtuIfacePattern', 'x'.repeat(1000)],
    // Those that end after the sun has gone out.
    ['mtuIfacePattern', `^${'(.*)'.repeat(24)}!$`],
    ['mtuIfacePattern', `^${'.{0,15}'.repeat(24)}!$`],
    ['mtuIfacePattern', `^${'(|.)'.repeat(60)}!$`],
    ['mtuIfacePattern', '^(a|a|a|a)*!$'],
    ['mtuIfacePattern', '^((a+)+)+!$'],
    ['mtuIfacePattern', '^((a?)a?)*!$'],
    ['mtuIfacePattern', '^[^](a*)*]!$'],
    ['ipv6Support', 'x'],
    ['logSeverityScreen', 'loud'],
    ['prometheusWireGuardMetricsEnabled', 'x'],
  ])('%s is refused as %j: the default stays, and the reason is told', (field, spec) => {
    const { settings, faults } = fromSpec({ [field]: spec })
    expect(settings).toEqual(DEFAULTS)
    expect(faults).toHaveLength(1)
    const [fault] = faults
    expect(fault).toMatchObject({ source: 'FelixConfiguration default', field })
    expect(fault && describeFault(fault)).toMatch(/; the last good value stays$/)
    expect(fault?.value.length).toBeLessThan(80)
  })

  it.each(['25s', 'x', '-1', '1e9', 'NaN', 'Infinity', '0x10'])(
    'a keepalive of %j seconds in the environment is refused',
    text => {
      const { faults } = fromEnvironment({ FELIX_WIREGUARDPERSISTENTKEEPALIVE: text })
      expect(faults).toHaveLength(1)
    },
  )

  it.each(['1', '1-', '1-2-3', 'a-b', '0-4', '5-4', '1-5,'])('a range of tables written %j is refused', text => {
    expect(fromEnvironment({ FELIX_ROUTETABLERANGES: text }).faults).toHaveLength(1)
    expect(fromEnvironment({ FELIX_ROUTETABLERANGE: text }).faults).toHaveLength(1)
  })

  it('never throws and never takes what is out of range, whatever it is', () => {
    const value = fc.oneof(
      fc.jsonValue(),
      fc.integer(),
      fc.string(),
      fc.double(),
      fc.constantFrom('none', 'true', '25s', '1-9'),
    )
    const specs = fc.dictionary(fc.constantFrom(...parameterKeys.map(key => PARAMETERS[key].field)), value)
    fc.assert(
      fc.property(specs, specs, (spec, annotations) => {
        const prefixed = Object.fromEntries(
          Object.entries(annotations).map(([k, v]) => [`config.projectcalico.org/${k}`, v]),
        )
        const { settings } = fromSpec({ ...spec })
        const { settings: annotated } = resolveSettings([configuration('default', spec, prefixed)])
        for (const { wireguard, ...rest } of [settings, annotated]) {
          for (const family of [4, 6] as const) {
            expect(wireguard[family].interfaceName).toMatch(/^[a-zA-Z0-9._+-]{1,15}$/)
            expect(wireguard[family].listeningPort).toSatisfy((port: number) => port >= 1 && port <= 65535)
            expect(wireguard[family].mtu).toSatisfy((mtu: number) => mtu === 0 || (mtu >= 576 && mtu <= 65535))
          }
          expect(rest.persistentKeepalive).toSatisfy((s: number) => Number.isInteger(s) && s >= 0 && s <= 65535)
          expect(rest.routingRulePriority).toSatisfy((p: number) => p >= 1 && p <= 32765)
          expect(rest.markMask).toSatisfy((mask: number) => mask >= 1 && mask <= 0xffffffff)
          expect(rest.routeTableRanges.length).toBeGreaterThan(0)
        }
      }),
      { numRuns: 1_000 },
    )
  })
})

describe('the masks of marks', () => {
  it.each([
    [0xf0f0_0000, 0xff00_0000, 0xf000_0000],
    [0xf000_0000, 0xff00, 0xf000_0000],
  ])('of iptables %d and of nftables %d allow what both do, else what that of iptables does', (one, other, allowed) =>
    expect(fromSpec({ iptablesMarkMask: one, nftablesMarkMask: other }).settings.markMask).toBe(allowed),
  )
})

describe('sources', () => {
  const configurations = (...layers: [string, SettingsLayer][]) => new Map(layers)
  const none = environmentLayer({})

  it('beat each other: environment over node.<name> over default', () => {
    const all = configurations(
      [
        'default',
        configuration('default', { wireguardMTU: 1300, wireguardEnabled: true, wireguardListeningPort: 1000 }),
      ],
      ['node.n1', configuration('node.n1', { wireguardMTU: 1400, wireguardEnabled: false })],
      ['node.n2', configuration('node.n2', { wireguardMTU: 1500 })],
    )
    const env = environmentLayer({ FELIX_WIREGUARDMTU: '1420' })
    const { settings } = resolveSettings(layersOf('n1', all, env))
    expect(settings.wireguard[4]).toMatchObject({ mtu: 1420, enabled: false, listeningPort: 1000 })
    expect(resolveSettings(layersOf('n1', all, none)).settings.wireguard[4].mtu).toBe(1400)
    expect(resolveSettings(layersOf('n3', all, none)).settings.wireguard[4].mtu).toBe(1300)
  })

  it('may be meant for nodes by their labels: the oldest of these beats default, and is beaten by node.<name>', () => {
    const selecting = (name: string, creationTimestamp: string, nodeSelector: string, spec: object) =>
      projectFelixConfiguration({ metadata: { name, creationTimestamp }, spec: { ...spec, nodeSelector } })
    const layers = [
      [
        'default',
        configuration('default', { wireguardMTU: 1300, wireguardListeningPort: 1000, routeRefreshInterval: '9s' }),
      ],
      [
        'b',
        selecting('b', '2026-02-01T00:00:00Z', "zone == 'a'", { wireguardMTU: 1310, wireguardListeningPort: 1010 }),
      ],
      ['a', selecting('a', '2026-03-01T00:00:00Z', 'has(zone)', { wireguardMTU: 1320, routeRefreshInterval: '7s' })],
      ['node.n1', configuration('node.n1', { wireguardListeningPort: 2000 })],
    ] as const
    const all = new Map(layers.map(([name, layer]) => [name, layer as NonNullable<typeof layer>]))
    const settingsOf = (node: string, labels?: Record<string, string>) =>
      resolveSettings(layersOf(node, all, none, labels)).settings
    expect(settingsOf('n1', { zone: 'a' })).toMatchObject({ routeRefreshInterval: 9 })
    expect(settingsOf('n1', { zone: 'a' }).wireguard[4]).toMatchObject({ mtu: 1310, listeningPort: 2000 })
    expect(settingsOf('n2', { zone: 'b' })).toMatchObject({ routeRefreshInterval: 7 })
    expect(settingsOf('n2', { zone: 'b' }).wireguard[4]).toMatchObject({ mtu: 1320, listeningPort: 1000 })
    for (const labels of [{}, undefined]) expect(settingsOf('n2', labels).wireguard[4].mtu).toBe(1300)
  })

  it('are told apart from one whose nodeSelector is none', () => {
    const broken = { metadata: { name: 'broken' }, spec: { nodeSelector: 'zone ==' } }
    expect(() => projectFelixConfiguration(broken)).toThrow('nodeSelector "zone ==" is not a selector')
  })

  it('count as unset where they are empty, so that the next weaker one counts', () => {
    const all = configurations(
      ['default', configuration('default', { wireguardMTU: 1300, routeTableRanges: [{ min: 7, max: 8 }] })],
      ['node.n1', configuration('node.n1', { wireguardMTU: '', routeTableRanges: [], wireguardKeepAlive: null })],
    )
    const env = environmentLayer({ FELIX_WIREGUARDMTU: '' })
    const { settings, faults } = resolveSettings(layersOf('n1', all, env))
    expect(faults).toEqual([])
    expect(settings.wireguard[4].mtu).toBe(1300)
    expect(settings.routeTableRanges).toEqual([{ min: 7, max: 8 }])
  })

  it('may write names of the environment in any case, and unknown ones', () => {
    const { settings, faults } = fromEnvironment({
      felix_WireguardEnabled: 'true',
      FELIX_NOSUCHTHING: 'x',
      PATH: '/bin',
    })
    expect(settings.wireguard[4].enabled).toBe(true)
    expect(faults).toEqual([])
  })

  it('may override a field by an annotation of the resource, in Felix’s name and units', () => {
    const layer = configuration(
      'default',
      { wireguardKeepAlive: '25s', wireguardMTU: 1300 },
      { 'config.projectcalico.org/WireguardPersistentKeepAlive': '30', 'unrelated/WireguardMTU': '1' },
    )
    const { settings } = resolveSettings([layer])
    expect(settings.persistentKeepalive).toBe(30)
    expect(settings.wireguard[4].mtu).toBe(1300)
  })

  it('prefer routeTableRanges to the older routeTableRange', () => {
    const { settings } = fromSpec({ routeTableRange: { min: 1, max: 2 }, routeTableRanges: [{ min: 3, max: 4 }] })
    expect(settings.routeTableRanges).toEqual([{ min: 3, max: 4 }])
  })

  it.each([undefined, null, 7, {}, { metadata: { name: 7 } }, { metadata: { name: 'by-selector' }, spec: {} }])(
    'are left out when they are %j',
    raw => expect(projectFelixConfiguration(raw)).toBeUndefined(),
  )

  it('know every parameter by one name', () => {
    expect(new Set(parameterKeys.map(parameterName)).size).toBe(parameterKeys.length)
  })
})

describe('a value that does not parse, in a configuration that was good', () => {
  it('keeps the last good value of that field, and takes the other fields as they are now', () => {
    const good = fromSpec({ wireguardEnabled: true, wireguardMTU: 1400, wireguardListeningPort: 1000 })
    const spec = { wireguardEnabled: 'ture', wireguardMTU: 'x', wireguardListeningPort: 2000 }
    const { settings, faults } = resolveSettings([configuration('default', spec)], good)
    expect(settings.wireguard[4]).toEqual({
      enabled: true,
      mtu: 1400,
      listeningPort: 2000,
      interfaceName: 'wireguard.cali',
    })
    expect(faults.map(fault => fault.field)).toEqual(['wireguardEnabled', 'wireguardMTU'])
  })

  it('keeps it over many refusals, and goes to the default when the field is removed', () => {
    let last = fromSpec({ wireguardMTU: 1400 })
    for (let i = 0; i < 3; i++) last = resolveSettings([configuration('default', { wireguardMTU: `x${i}` })], last)
    expect(last.settings.wireguard[4].mtu).toBe(1400)
    last = resolveSettings([configuration('default', {})], last)
    expect(last.settings).toEqual(DEFAULTS)
  })

  it('does not fall through to a weaker source', () => {
    const layers = [configuration('default', { wireguardMTU: 1300 }), environmentLayer({ FELIX_WIREGUARDMTU: 'x' })]
    const { settings, faults } = resolveSettings(layers)
    expect(settings.wireguard[4].mtu).toBe(0)
    expect(faults).toEqual([
      {
        source: 'environment',
        field: 'FELIX_WIREGUARDMTU',
        value: '"x"',
        problem: 'is not a whole number 0 or from 576 to 65535',
      },
    ])
  })

  it('gives the same settings object while nothing changes', () => {
    const first = fromSpec({ wireguardEnabled: true, mtuIfacePattern: '^ens' })
    const again = resolveSettings(
      [configuration('default', { wireguardEnabled: 'yes', mtuIfacePattern: '^ens' })],
      first,
    )
    expect(again.settings).toBe(first.settings)
    expect(resolveSettings([configuration('default', { wireguardEnabled: 'x' })], again).faults).toHaveLength(1)
  })
})
