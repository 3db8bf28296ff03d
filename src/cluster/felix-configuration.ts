import { isDeepStrictEqual } from 'node:util'
import type { FelixSettings } from '#src/mesh/settings.ts'
import {
  DEFAULTS,
  PARAMETERS,
  type ParameterKey,
  type ParameterValues,
  parameterKeys,
  parameterName,
} from './felix-parameters.ts'
import type { Parse, ValueForm } from './felix-values.ts'
import { isObject, type JsonObject, member, messageOf, objectOf, quote, textOf } from './hostile.ts'
import { type NodeSelector, parseNodeSelector } from './node-selector.ts'
import { birthDate } from './timestamp.ts'

/** What one source says, by Felix's parameter name in lower case. */
export interface SettingsLayer {
  /** As people know it: `FelixConfiguration default`, `environment`. */
  readonly source: string
  readonly values: ReadonlyMap<string, WrittenValue>
  /** Of a FelixConfiguration that is meant for some nodes, by their labels. */
  readonly scope?: Scope
}

interface Scope {
  readonly name: string
  readonly selects: NodeSelector
  /** Unix time in seconds. */
  readonly createdAt: number
}

interface WrittenValue {
  /** Its name as it is written there: `wireguardMTU`, `FELIX_WIREGUARDMTU`. */
  readonly field: string
  readonly raw: unknown
  readonly form: ValueForm
}

/** A value that was refused. */
export interface SettingFault {
  readonly source: string
  readonly field: string
  /** Quoted, cut to 64 characters. */
  readonly value: string
  /** Ends a sentence that begins with the value. */
  readonly problem: string
}

export interface ResolvedSettings {
  readonly settings: FelixSettings
  readonly faults: readonly SettingFault[]
  /** What a later resolution falls back to. */
  readonly values: ParameterValues
}

/** FelixConfiguration that applies to one node only is named so. */
/** Name of the FelixConfiguration that is for one node alone. */
export const nodeConfigurationName = (nodeName: string): string => `node.${nodeName}`

/** More than Calico's API takes, so that the message about its length is the selector's own. */
const LONGEST_SELECTOR = 4096

const ANNOTATION_PREFIX = 'config.projectcalico.org/'
const ENVIRONMENT_PREFIX = 'felix_'

/**
 * What a FelixConfiguration says. An annotation `config.projectcalico.org/<ParamName>` beats the field of the same name.
 * @returns undefined for what is not one, and for one that is meant for no node
 * @throws RangeError for a nodeSelector that is none
 */
export function projectFelixConfiguration(raw: unknown): SettingsLayer | undefined {
  const object = objectOf(raw)
  const metadata = objectOf(member(object, 'metadata'))
  const name = textOf(member(metadata, 'name'), 253)
  const spec = objectOf(member(object, 'spec'))
  if (!name) return undefined
  const isNamed = name === 'default' || name.startsWith('node.')
  // Where the name says for whom it is, a selector has nothing to say.
  const selector = isNamed ? undefined : textOf(member(spec, 'nodeSelector'), LONGEST_SELECTOR)
  if (!isNamed && !selector) return undefined
  const values = new Map<string, WrittenValue>()
  for (const key of parameterKeys) {
    const { field } = PARAMETERS[key]
    const value = member(spec, field)
    if (!isUnset(value)) values.set(parameterName(key), { field, raw: value, form: 'spec' })
  }
  collectText(values, objectOf(member(metadata, 'annotations')), ANNOTATION_PREFIX)
  const source = `FelixConfiguration ${name}`
  if (!selector) return { source, values }
  const createdAt = birthDate(member(metadata, 'creationTimestamp')) ?? Number.MAX_SAFE_INTEGER
  return { source, values, scope: { name, selects: selectorOf(selector), createdAt } }
}

function selectorOf(text: string): NodeSelector {
  try {
    return parseNodeSelector(text)
  } catch (error) {
    throw new RangeError(`nodeSelector ${quote(text)} ${messageOf(error)}`)
  }
}

/** `FELIX_*` of the environment, in any case. */
export function environmentLayer(env: Readonly<Record<string, string | undefined>>): SettingsLayer {
  const values = new Map<string, WrittenValue>()
  collectText(values, env, ENVIRONMENT_PREFIX)
  return { source: 'environment', values }
}

/** A Node's labels, by which a FelixConfiguration may choose it. */
export function labelsOf(node: unknown): Readonly<Record<string, string>> {
  const labels = objectOf(member(objectOf(member(objectOf(node), 'metadata')), 'labels'))
  return Object.fromEntries(Object.entries(labels).map(([label, value]) => [label, String(value)]))
}

/**
 * The layers of a node, weakest first: `default`, the oldest that its labels select, `node.<name>`, environment.
 * @param configurations by name
 * @param labels of the Node; where they are not known nothing is selected
 */
export function layersOf(
  nodeName: string,
  configurations: ReadonlyMap<string, SettingsLayer>,
  environment: SettingsLayer,
  labels?: Readonly<Record<string, string>>,
): readonly SettingsLayer[] {
  const named = configurations.get(nodeConfigurationName(nodeName))
  const layers = [configurations.get('default'), labels && selected(configurations, labels), named, environment]
  return layers.filter(layer => layer !== undefined)
}

function selected(
  configurations: ReadonlyMap<string, SettingsLayer>,
  labels: Readonly<Record<string, string>>,
): SettingsLayer | undefined {
  const [first] = [...configurations.values()]
    .flatMap(layer => (layer.scope?.selects(labels) ? [{ layer, ...layer.scope }] : []))
    .sort((a, b) => a.createdAt - b.createdAt || (a.name < b.name ? -1 : 1))
  return first?.layer
}

/**
 * Settings from layers, weakest first. Of each parameter the strongest layer that sets it counts; a value of it that
 * cannot be used is told in `faults`, and the last good value of that parameter stays, or at first Felix's default.
 * Where nothing changed, `settings` is the same object as before.
 */
export function resolveSettings(layers: readonly SettingsLayer[], lastGood?: ResolvedSettings): ResolvedSettings {
  const faults: SettingFault[] = []
  const resolve = <K extends ParameterKey>(key: K): ParameterValues[K] => {
    const name = parameterName(key)
    const layer = layers.findLast(candidate => candidate.values.has(name))
    const written = layer?.values.get(name)
    if (!layer || !written) return DEFAULTS[key]
    try {
      // Sound: a parameter's own parser makes a parameter's own type, which the compiler does not see through the key.
      return (PARAMETERS[key].parse as Parse<ParameterValues[K]>)(written.raw, written.form)
    } catch (error) {
      faults.push({ source: layer.source, field: written.field, value: quote(written.raw), problem: messageOf(error) })
      return lastGood?.values[key] ?? DEFAULTS[key]
    }
  }
  const entries = parameterKeys.map(key => [key, resolve(key)] as const)
  // Sound: the entries are of every key, each with that key's type.
  const values = Object.fromEntries(entries) as unknown as ParameterValues
  if (lastGood && isDeepStrictEqual(values, lastGood.values)) return { ...lastGood, faults }
  return { settings: settingsOf(values), faults, values }
}

/** A fault as one sentence for a person. */
export const describeFault = ({ source, field, value, problem }: SettingFault): string =>
  `${source}: ${field} ${value} ${problem}; the last good value stays`

function settingsOf(values: ParameterValues): FelixSettings {
  const { hostEncryptionEnabled, routingRulePriority, persistentKeepalive, threadingEnabled, routeSource } = values
  const { routeSyncDisabled, deviceRouteProtocol, routeRefreshInterval, mtuIfacePattern } = values
  const { ipv6Support, logSeverity, wireguardMetricsEnabled } = values
  const ranges = values.routeTableRanges.length > 0 ? values.routeTableRanges : values.routeTableRange
  return {
    wireguard: {
      4: {
        enabled: values.enabled4,
        interfaceName: values.interfaceName4,
        listeningPort: values.listeningPort4,
        mtu: values.mtu4,
      },
      6: {
        enabled: values.enabled6,
        interfaceName: values.interfaceName6,
        listeningPort: values.listeningPort6,
        mtu: values.mtu6,
      },
    },
    hostEncryptionEnabled,
    routingRulePriority,
    persistentKeepalive,
    threadingEnabled,
    routeSource,
    routeTableRanges: ranges.length > 0 ? ranges : ALL_TABLES,
    routeSyncDisabled,
    deviceRouteProtocol,
    routeRefreshInterval,
    markMask: allowedMarks(values.markMask, values.nftablesMarkMask),
    mtuIfacePattern,
    ipv6Support,
    logSeverity,
    wireguardMetricsEnabled,
  }
}

/**
 * Felix goes by the one or the other, as it works with iptables or nftables. Whoever sets one means that the other bits are
 * somebody else's, so a bit that both allow is right in either case.
 */
function allowedMarks(iptables: number, nftables: number | undefined): number {
  if (nftables === undefined) return iptables
  if (iptables === DEFAULTS.markMask) return nftables
  // Of 32 bits, which JavaScript takes for signed ones.
  const both = (iptables & nftables) >>> 0
  return both === 0 ? iptables : both
}

/** What Felix uses where no range is configured. */
const ALL_TABLES = [{ min: 1, max: 250 }] as const

const KNOWN: ReadonlySet<string> = new Set(parameterKeys.map(parameterName))

function collectText(values: Map<string, WrittenValue>, from: JsonObject, prefix: string): void {
  for (const field of Object.keys(from)) {
    const name = field.toLowerCase()
    const raw = from[field]
    const parameter = name.slice(prefix.length)
    if (name.startsWith(prefix) && KNOWN.has(parameter) && !isUnset(raw))
      values.set(parameter, { field, raw, form: 'text' })
  }
}

/** Empty means unset in Felix, whose next weaker source then counts. */
const isUnset = (value: unknown): boolean =>
  value === undefined ||
  value === null ||
  value === '' ||
  (Array.isArray(value) && value.length === 0) ||
  isEmpty(value)

const isEmpty = (value: unknown): boolean => isObject(value) && Object.keys(value).length === 0
