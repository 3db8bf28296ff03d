import { spawnSync } from 'node:child_process'
import { existsSync, mkdtempSync, readdirSync, rmSync, writeFileSync } from 'node:fs'
import { homedir, tmpdir } from 'node:os'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { afterAll, beforeAll, describe, expect, onTestFinished, test } from 'vitest'
import { parseAllDocuments } from 'yaml'
import { applyObjects, type KubernetesObject } from '#src/lab/kube-apiserver/apply.ts'
import { renderKustomization } from '#src/lab/pod/kustomize.ts'
import { noRealApi, RealApi } from './harness/real-api.ts'

const MANIFESTS = fileURLToPath(new URL('../../manifests', import.meta.url))
const HELM = join(process.env.XDG_CACHE_HOME || join(homedir(), '.cache'), 'podveil/helm-template-current')
const noHelm = existsSync(HELM) ? undefined : 'no helm-template: run test/helm/build'

const OVERLAYS = readdirSync(join(MANIFESTS, 'overlays')).map(name => `overlays/${name}`)

const render = (directory: string) => renderKustomization(join(MANIFESTS, directory)) as unknown as KubernetesObject[]

/** Runs Helm's own renderer and linter over the chart. */
function helm(values: string): { status: number | null; stdout: string; stderr: string } {
  const directory = mkdtempSync(join(tmpdir(), 'podveil-helm-'))
  onTestFinished(() => rmSync(directory, { recursive: true }))
  writeFileSync(join(directory, 'values.yaml'), values)
  const { status, stdout, stderr } = spawnSync(
    HELM,
    [join(MANIFESTS, 'chart'), 'podveil-system', join(directory, 'values.yaml')],
    { encoding: 'utf8', timeout: 60_000 },
  )
  return { status, stdout, stderr }
}

function rendered(values: string): KubernetesObject[] {
  const { status, stdout, stderr } = helm(values)
  expect({ status, stderr }).toEqual({ status: 0, stderr: '' })
  return parseAllDocuments(stdout).flatMap(document => (document.toJS() as KubernetesObject | null) ?? [])
}

const named = (objects: readonly KubernetesObject[], kind: string, name: string): KubernetesObject | undefined =>
  objects.find(object => object.kind === kind && object.metadata.name === name)

describe.skipIf(noRealApi)(`a real API server takes${noRealApi ? ` (${noRealApi})` : ''}`, () => {
  let server: RealApi | undefined
  /** Server-side: nothing is stored, all else is done, and a field that the API does not have is an error. */
  const dryRun = async (objects: readonly KubernetesObject[]): Promise<void> => {
    if (!server) throw new Error('no server')
    await applyObjects(server.client, objects, true)
  }

  beforeAll(async () => {
    server = await RealApi.start()
    // What must be there before a dry run of what is of it, or in it.
    const first = render('base').filter(({ kind }) => kind === 'Namespace' || kind === 'CustomResourceDefinition')
    await applyObjects(server.client, [...first, ...render('crds/calico')])
  })
  afterAll(() => server?.[Symbol.asyncDispose]())

  test.each(['base', ...OVERLAYS])('manifests/%s', async directory => {
    await dryRun(render(directory))
  })

  test('no DaemonSet with a field that there is not', async () => {
    const [agent] = render('base').filter(({ kind }) => kind === 'DaemonSet')
    if (!agent) throw new Error('no DaemonSet')
    const misspelt = { ...agent, spec: { ...(agent.spec as object), updateStrateggy: {} } } as KubernetesObject
    await expect(dryRun([misspelt])).rejects.toThrow(/updateStrateggy/)
  })

  describe.skipIf(noHelm)(`of the Helm chart${noHelm ? ` (${noHelm})` : ''}`, () => {
    test('all that it makes of its own values, which is what the base says', async () => {
      const objects = rendered('')
      await dryRun(objects)
      const base = render('base')
      for (const object of base.filter(({ kind }) => kind !== 'Namespace'))
        expect(named(objects, object.kind, object.metadata.name), `${object.kind} ${object.metadata.name}`).toEqual(
          object,
        )
    })

    test('all that it makes with everything turned on', async () => {
      const objects = rendered(`
image: {repository: registry.example/podveil, tag: 9.9.9, pullSecrets: [{name: pull}]}
agent: {dataplane: kernel, logLevel: debug, env: {FELIX_WIREGUARDMTU: "1380"}, nodeSelector: {stage: one}, maxUnavailable: 1}
userspace: {enabled: true}
besideCalico: {enabled: true}
guard: {mode: enforce, podSupernets: [10.244.0.0/16, "fd00:244::/32"]}
`)
      await dryRun(objects)
      expect(named(objects, 'PodveilConfiguration', 'default')).toMatchObject({
        spec: { guard: 'enforce', podSupernets: ['10.244.0.0/16', 'fd00:244::/32'] },
      })
      const agent = JSON.stringify(named(objects, 'DaemonSet', 'podveil-agent'))
      const said = ['registry.example/podveil:9.9.9', '--dataplane=kernel', '"value":"1380"', '"stage":"one"']
      for (const words of [...said, 'start-wireguard-go', 'podveil.cali']) expect(agent).toContain(words)
      expect(named(objects, 'DaemonSet', 'podveil-wireguard-go')).toBeDefined()
    })

    test('in the agents’ place, before an uninstall, what the cleanup overlay says', async () => {
      const objects = rendered('cleanUp: true')
      await dryRun(objects)
      const agentOf = (all: readonly KubernetesObject[]) => named(all, 'DaemonSet', 'podveil-agent')
      expect(agentOf(objects)).toEqual(agentOf(render('overlays/cleanup')))
      expect(agentOf(objects)).not.toEqual(agentOf(rendered('')))
    })

    test.each([
      ['a guard that there is not', 'guard: {mode: maybe}', /guard\/mode/],
      ['enforce without the pods’ ranges', 'guard: {mode: enforce}', /podSupernets/],
      ['a value that it does not know', 'agent: {logLvel: info}', /logLvel/],
      ['an environment of numbers', 'agent: {env: {FELIX_WIREGUARDMTU: 1380}}', /FELIX_WIREGUARDMTU/],
    ])('no %s', (_, values, message) => {
      const { status, stderr } = helm(values)
      expect(status).toBe(1)
      expect(stderr).toMatch(message)
    })
  })
})
