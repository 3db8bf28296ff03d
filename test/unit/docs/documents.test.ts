import { existsSync } from 'node:fs'
import { dirname, join } from 'node:path'
import { describe, expect, test } from 'vitest'
import { OWN_ANNOTATIONS, SELF_DESCRIBED } from '#src/cluster/annotations.ts'
import { CONDITION_TYPE } from '#src/cluster/node-condition.ts'
import { CONFIGURATION_DOC, configurationDoc } from '../../../scripts/generate-configuration-doc.ts'
import { documents, firstCells, inCode, ROOT, read, sources } from './support.ts'

test('docs/configuration.md says what the code says: node scripts/generate-configuration-doc.ts makes it anew', () => {
  expect(read(CONFIGURATION_DOC.slice(ROOT.length))).toBe(configurationDoc())
})

describe('links lead somewhere', () => {
  test.each(documents())('in %s', document => {
    const targets = [...read(document).matchAll(/\]\(([^)#\s]+)(?:#[^)]*)?\)/g)].map(([, target = '']) => target)
    const broken = targets
      .filter(target => !/^[a-z]+:/.test(target))
      .filter(target => !existsSync(join(ROOT, dirname(document), target)))
    expect(broken).toEqual([])
  })
})

describe('what the agent is quoted with, it says', () => {
  const said = sources('src', 'wg', 'keys')
  test.each([
    ['docs/troubleshooting.md', 'it says'],
    ['docs/peer-states.md', 'reason'],
  ])('in %s', (document, head) => {
    const quoted = firstCells(read(document), head).flatMap(inCode)
    expect(quoted.length).toBeGreaterThan(4)
    const pieces = quoted.flatMap(quote => quote.split('…')).filter(piece => piece.trim().length >= 6)
    expect(pieces.filter(piece => !said.includes(piece.trim()))).toEqual([])
  })
})

test('docs/metrics.md names every metric, and no other', () => {
  const exported = [...read('src/agent/agent-metrics.ts').matchAll(/'((?:podveil|wireguard)_[a-z_]+)'/g)]
  const documented = firstCells(read('docs/metrics.md'), 'metric').flatMap(inCode)
  expect(documented.toSorted()).toEqual(exported.map(([, name]) => name).toSorted())
})

test('docs/metrics.md names every Event and every reason of the condition, and no other', () => {
  const metrics = read('docs/metrics.md')
  const rows = metrics
    .split('\n')
    .filter(line => /^\| (Normal|Warning|Warning, Normal|True|False|Unknown) \|/.test(line))
  const documented = rows.flatMap(line => inCode(line.split('|')[2] ?? ''))
  const given = ['report-events', 'report-guard', 'report-paths', 'report-condition'].flatMap(file => [
    ...read(`src/agent/${file}.ts`).matchAll(/'([A-Z][A-Za-z]{5,})'/g),
  ])
  const others = new Set(['Normal', 'Warning', 'Unknown'])
  const reasons = new Set(given.map(([, reason = '']) => reason).filter(reason => !others.has(reason)))
  expect(documented.toSorted()).toEqual([...reasons].toSorted())
  expect(metrics).toContain(CONDITION_TYPE)
})

test('docs/troubleshooting.md says of every alert what to do, and of no other', () => {
  const alerts = [...read('manifests/monitoring/alerts.yaml').matchAll(/^ +- alert: (\w+)$/gm)].map(([, name]) => name)
  expect(alerts.length).toBeGreaterThan(5)
  expect(firstCells(read('docs/troubleshooting.md'), 'alert').flatMap(inCode)).toEqual(alerts)
})

test('docs/kernel-shape.md names every chain of the table', () => {
  const chains = [...read('wg/nftables/ruleset.ts').matchAll(/^ {2}chain (\w+) \{$|\bchain (\w+) \{$/gm)]
  const documented = firstCells(read('docs/kernel-shape.md'), 'chain').flatMap(inCode)
  expect(documented.toSorted()).toEqual(chains.map(([, a, b]) => a ?? b).toSorted())
})

test('the admission policy allows the annotations and the label that an agent may write', () => {
  const policy = read('manifests/base/admission-policy.yaml')
  for (const name of [...OWN_ANNOTATIONS, SELF_DESCRIBED]) expect(policy).toContain(`'${name}'`)
})
