import { describe, expect, test } from 'vitest'
import { Counter, collected, exposition, Histogram } from '#src/agent/metrics/registry.ts'

describe('the exposition of metrics', () => {
  test('has HELP and TYPE, then a line for each sample', () => {
    const counter = new Counter('podveil_errors_total', 'Errors.')
    counter.add()
    counter.add({ family: '4', error: 'EPERM' }, 2)
    const histogram = new Histogram('podveil_pass_seconds', 'Passes.', [0.5, 1])
    histogram.observe(0.75)
    expect([...exposition([counter, histogram])].join('')).toBe(
      `# HELP podveil_errors_total Errors.
# TYPE podveil_errors_total counter
podveil_errors_total 1
podveil_errors_total{family="4",error="EPERM"} 2
# HELP podveil_pass_seconds Passes.
# TYPE podveil_pass_seconds histogram
podveil_pass_seconds_bucket{le="0.5"} 0
podveil_pass_seconds_bucket{le="1"} 1
podveil_pass_seconds_bucket{le="+Inf"} 1
podveil_pass_seconds_sum 0.75
podveil_pass_seconds_count 1
`,
    )
  })

  test('escapes what would end a label', () => {
    const claims = collected('gauge', 'claims', 'Claims.', () => [{ labels: { claim: 'a\\b "c"\nd' }, value: 1 }])
    expect([...exposition([claims])].join('')).toContain(String.raw`claims{claim="a\\b \"c\"\nd"} 1`)
  })

  test('comes in pieces of whole lines, made as they are taken', () => {
    let made = 0
    const peers = collected('gauge', 'peers', 'Peers.', function* () {
      for (; made < 5_000; made++) yield { labels: { peer: `node-${made}` }, value: 1 }
    })
    const pieces = exposition([peers])
    expect(pieces.next().value).toMatch(/\n$/)
    expect(made).toBeLessThan(1_000)
    expect(pieces.every(piece => piece.endsWith('\n'))).toBe(true)
    expect(made).toBe(5_000)
  })
})
