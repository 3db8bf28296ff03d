import { fileURLToPath } from 'node:url'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { applyObjects, readManifests } from '#src/lab/kube-apiserver/apply.ts'
import { noRealApi, RealApi } from './harness/real-api.ts'

const CRDS = fileURLToPath(new URL('../../manifests/crds', import.meta.url))
const FELIX = {
  path: '/apis/crd.projectcalico.org/v1/felixconfigurations',
  apiVersion: 'crd.projectcalico.org/v1',
  kind: 'FelixConfiguration',
}
const PODVEIL = {
  path: '/apis/podveil.io/v1alpha1/podveilconfigurations',
  apiVersion: 'podveil.io/v1alpha1',
  kind: 'PodveilConfiguration',
}

const definitions = readManifests(CRDS)

describe.skipIf(noRealApi)(`the definitions in manifests/crds${noRealApi ? ` (${noRealApi})` : ''}`, () => {
  let server: RealApi | undefined

  beforeAll(async () => {
    server = await RealApi.start()
    await applyObjects(server.client, definitions)
  })
  afterAll(() => server?.[Symbol.asyncDispose]())

  test.each(definitions.map(({ metadata }) => metadata.name))(
    '%s is accepted as it stands, with nothing to complain of',
    async name => {
      if (!server) throw new Error('no server')
      const path = `/apis/apiextensions.k8s.io/v1/customresourcedefinitions/${name}`
      const { status } = (await server.client.get(path)) as unknown as {
        status: { conditions: { type: string; status: string }[] }
      }
      const conditions = Object.fromEntries(status.conditions.map(condition => [condition.type, condition.status]))
      expect(conditions).toMatchObject({ Established: 'True', NamesAccepted: 'True' })
      expect(conditions.NonStructuralSchema ?? 'False').toBe('False')
    },
  )

  test('can be applied again over themselves', async () => {
    if (!server) throw new Error('no server')
    await applyObjects(server.client, definitions)
  })

  test.each([
    ['a port above 65535', FELIX, { wireguardListeningPort: 65_536 }, /wireguardListeningPort.*65535/],
    ['a negative port', FELIX, { wireguardListeningPortV6: -1 }, /wireguardListeningPortV6.*greater than or equal/],
    ['an MTU that is text', FELIX, { wireguardMTU: '1420' }, /wireguardMTU.*must be of type integer/],
    ['an unknown routeSource', FELIX, { routeSource: 'Guess' }, /routeSource/],
    ['an unknown routeSource', PODVEIL, { routeSource: 'Guess' }, /routeSource.*supported values.*"PodCIDR"/],
    ['a duration without a unit', FELIX, { wireguardKeepAlive: '25' }, /wireguardKeepAlive/],
    ['a duration in words', PODVEIL, { rotation: { interval: 'weekly' } }, /rotation\.interval/],
    ['an unknown guard', PODVEIL, { guard: 'maybe' }, /guard.*supported values.*"enforce"/],
    ['a supernet that is an address', PODVEIL, { podSupernets: ['10.0.0.1'] }, /podSupernets\[0\]/],
  ])('%s is refused, with a message that names the field', async (_, { path, apiVersion, kind }, spec, message) => {
    const answer = await server?.client.request('POST', path, { apiVersion, kind, metadata: { name: 'node.x' }, spec })
    expect(answer?.status).toBe(422)
    expect(String(answer?.body.message)).toMatch(message)
  })
})
