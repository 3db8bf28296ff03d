import { spawnSync } from 'node:child_process'
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { homedir, tmpdir } from 'node:os'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { describe, expect, test } from 'vitest'
import { parse } from 'yaml'
import { AgentMetrics, type MetricSources } from '#src/agent/agent-metrics.ts'
import { environmentLayer, resolveSettings } from '#src/cluster/felix-configuration.ts'

const file = (name: string): string => fileURLToPath(new URL(`../../../manifests/monitoring/${name}`, import.meta.url))

interface Rule {
  readonly alert: string
  readonly expr: string
  readonly labels: Readonly<Record<string, string>>
  readonly annotations: Readonly<Record<string, string>>
}

const rules = (parse(readFileSync(file('alerts.yaml'), 'utf8')) as { groups: { rules: Rule[] }[] }).groups.flatMap(
  group => group.rules,
)

const dashboard = JSON.parse(readFileSync(file('dashboard.json'), 'utf8')) as {
  panels: {
    id: number
    title: string
    targets: { expr: string }[]
    gridPos: { x: number; y: number; w: number; h: number }
  }[]
}

/** An agent that has just started: what it exports has its HELP line already. */
async function exported(): Promise<string> {
  const state = { lists: 0, watches: 0, restarts: 0, bytes: 0, lastEventAt: 0 }
  const sources = {
    self: 'node-1',
    feed: {
      settings: resolveSettings([environmentLayer({})]).settings,
      reflectors: { nodes: state },
      peers: { source: 'Nodes', withoutMeshNode: 0 },
    },
    dataplane: () => undefined,
    report: {
      tally: { peers: 1, encrypted: 0, others: [{ node: 'node-2', state: 'clear', reason: '' }] },
      droppedEvents: 0,
      refusedClaims: new Set(['Node a: it announces the key of b']),
    },
    stateDir: '/nowhere',
  } as unknown as MetricSources
  return [...(await new AgentMetrics(sources).exposition())].join('')
}

/** Names of metrics in an expression; those that Prometheus makes itself are its own. */
const namesIn = (expr: string): string[] =>
  [...expr.matchAll(/\b((?:podveil|wireguard)_[a-z_]+)\b/g)].map(([, name = '']) =>
    name.replace(/_(bucket|sum|count)$/, ''),
  )

/** What each metric is labelled with, and what a selector says of it. */
const selectorsIn = (expr: string): [name: string, label: string][] =>
  [...expr.matchAll(/\b((?:podveil|wireguard)_[a-z_]+)\{([^}]*)\}/g)].flatMap(([, name = '', inside = '']) =>
    [...inside.matchAll(/(\w+)\s*[=!]~?/g)].map(([, label = '']): [string, string] => [name, label]),
  )

const expressions: [string, string][] = [
  ...rules.map(({ alert, expr }): [string, string] => [`alert ${alert}`, expr]),
  ...dashboard.panels.flatMap(({ title, targets }) =>
    targets.map(({ expr }): [string, string] => [`panel ${title}`, expr]),
  ),
]

describe('what the alert rules and the dashboard ask for', () => {
  test.each(expressions)('%s is exported by the agent', async (_, expr) => {
    const text = await exported()
    expect(namesIn(expr).length).toBeGreaterThan(0)
    for (const name of namesIn(expr)) expect(text).toContain(`# HELP ${name} `)
  })

  test.each(expressions)('%s selects by labels that there are', (_, expr) => {
    const docs = readFileSync(fileURLToPath(new URL('../../../docs/metrics.md', import.meta.url)), 'utf8')
    for (const [name, label] of selectorsIn(expr)) {
      if (label === 'instance' || label === 'job') continue
      const row = docs.split('\n').find(line => line.includes(`\`${name}\``)) ?? ''
      expect(row).toContain(`\`${label}\``)
    }
  })
})

test('every alert says how bad it is, what it is and what to do', () => {
  expect(new Set(rules.map(({ alert }) => alert)).size).toBe(rules.length)
  for (const { alert, labels, annotations } of rules) {
    expect(alert).toMatch(/^Podveil[A-Z]/)
    expect(['warning', 'critical']).toContain(labels.severity)
    expect(annotations.summary?.length).toBeGreaterThan(10)
    expect(annotations.description?.length).toBeGreaterThan(10)
  }
})

test('no two panels have one place or one number', () => {
  const cells = dashboard.panels.flatMap(({ gridPos: { x, y, w, h } }) =>
    Array.from({ length: w * h }, (_, i) => `${x + (i % w)} ${y + Math.floor(i / w)}`),
  )
  expect(new Set(cells).size).toBe(cells.length)
  expect(new Set(dashboard.panels.map(({ id }) => id)).size).toBe(dashboard.panels.length)
})

/** On the PATH, or as test/promtool/build leaves it. */
const PROMTOOL = [
  'promtool',
  join(process.env.XDG_CACHE_HOME ?? join(homedir(), '.cache'), 'podveil/promtool-current'),
].find(program => spawnSync(program, ['--version']).status === 0)
const why = PROMTOOL ? '' : ' (needs promtool: test/promtool/build)'

/** What promtool says; its complaint is the failure's message. */
function promtool(...argv: string[]): string {
  const { status, stdout, stderr } = spawnSync(PROMTOOL ?? '', argv, { encoding: 'utf8' })
  if (status !== 0) throw new Error(`${stdout}\n${stderr}`)
  return stdout
}

describe.skipIf(!PROMTOOL)(`promtool${why}`, () => {
  test('takes the alert rules', () => {
    expect(promtool('check', 'rules', file('alerts.yaml'))).toContain(`${rules.length} rules found`)
  })

  test('sees each alert fire when it should, and none in a mesh that is well', () => {
    const tests = fileURLToPath(new URL('alerts.test.yaml', import.meta.url))
    expect(promtool('test', 'rules', tests)).toContain('SUCCESS')
    const tested = readFileSync(tests, 'utf8')
    for (const { alert } of rules) expect(tested.split(alert).length, alert).toBeGreaterThan(2)
  })

  test('can parse every expression of the dashboard', () => {
    const directory = mkdtempSync(join(tmpdir(), 'podveil-test-'))
    try {
      const expressions = dashboard.panels.flatMap(({ targets }) => targets.map(({ expr }) => expr))
      const recorded = expressions.map((expr, i) => ({
        record: `panel:${i}`,
        expr: expr.replaceAll('$__rate_interval', '5m').replaceAll('$instance', '.*'),
      }))
      const path = join(directory, 'rules.json')
      writeFileSync(path, JSON.stringify({ groups: [{ name: 'dashboard', rules: recorded }] }))
      expect(promtool('check', 'rules', path)).toContain(`${expressions.length} rules found`)
    } finally {
      rmSync(directory, { recursive: true })
    }
  })
})
