import { spawnSync } from 'node:child_process'
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { describe, expect, onTestFinished, test } from 'vitest'
import { parseAllDocuments } from 'yaml'
import type { Json } from '#src/lab/apiserver/json.ts'
import { renderKustomization } from '#src/lab/pod/kustomize.ts'
import { filesBelow, ROOT } from '../docs/support.ts'

// A component is rendered as part of what has it.
const KUSTOMIZATIONS = filesBelow('manifests', 'ustomization.yaml')
  .filter(file => !file.includes('/components/'))
  .map(file => file.replace(/\/[^/]*$/, ''))
  .concat('manifests/crds/podveil', 'manifests/crds/calico')

const kubectl = (directory: string) =>
  spawnSync('kubectl', ['kustomize', join(ROOT, directory)], { encoding: 'utf8', timeout: 60_000 })
const noKubectl = kubectl('manifests/crds/podveil').status === 0 ? '' : ' (skipped: no kubectl with kustomize)'

/** The order of lists and how long lines of text are folded are not part of what is meant. */
function meant(value: Json): Json {
  if (typeof value === 'string') return value.replaceAll(/\s+/g, ' ')
  if (typeof value !== 'object' || value === null) return value
  if (Array.isArray(value))
    return value.map(meant).toSorted((a, b) => (JSON.stringify(a) < JSON.stringify(b) ? -1 : 1)) as readonly Json[]
  const keys = Object.keys(value).toSorted()
  return Object.fromEntries(keys.map(key => [key, meant((value as Record<string, Json>)[key] ?? null)]))
}

describe.skipIf(noKubectl)(`what the lab makes of a kustomization${noKubectl}`, () => {
  test.each(KUSTOMIZATIONS)('of %s is what kubectl makes of it', directory => {
    const { status, stdout, stderr } = kubectl(directory)
    expect({ status, stderr }).toEqual({ status: 0, stderr: '' })
    const theirs = parseAllDocuments(stdout, { version: '1.1' }).map(document => document.toJS() as Json)
    expect(meant(renderKustomization(join(ROOT, directory)))).toEqual(meant(theirs))
  })
})

test('a field that it does not understand is refused by its name', () => {
  const directory = mkdtempSync(join(tmpdir(), 'podveil-kustomize-'))
  onTestFinished(() => rmSync(directory, { recursive: true }))
  writeFileSync(join(directory, 'kustomization.yaml'), 'replicas: [{name: a, count: 2}]\n')
  expect(() => renderKustomization(directory)).toThrow(/kustomization\.yaml: replicas is not understood/)
})

test('in every overlay the agent may still write its Events, and renew its Lease, where they are kept', () => {
  const roles = (directory: string) =>
    renderKustomization(join(ROOT, directory)).flatMap(({ kind, metadata }) => (kind === 'Role' ? [metadata] : []))
  const base = roles('manifests/base')
  expect(base).toContainEqual({ name: 'podveil-agent-events', namespace: 'default' })
  for (const directory of KUSTOMIZATIONS.filter(each => each.includes('/overlays/')))
    expect(roles(directory), directory).toEqual(base)
})
