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
const MESH_NODE = {
  path: '/apis/podveil.io/v1alpha1/meshnodes',
  apiVersion: 'podveil.io/v1alpha1',
  kind: 'MeshNode',
}
const KEY = `${'x'.repeat(42)}A=`

const hundred = Array.from({ length: 100 }, (_, at) => `10.0.0.${at}`)

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
    ['an unknown source of peers', PODVEIL, { peerSource: 'Gossip' }, /peerSource.*supported values.*"MeshNodes"/],
    ['a key that is too short', MESH_NODE, { ipv4: { publicKey: 'AAAA' } }, /ipv4\.publicKey/],
    ['a key that is no base64', MESH_NODE, { ipv6: { publicKey: '!'.repeat(44) } }, /ipv6\.publicKey/],
    ['a port of 0', MESH_NODE, { ipv4: { publicKey: KEY, port: 0 } }, /ipv4\.port/],
    ['an IPv6 address for IPv4', MESH_NODE, { ipv4: { interfaceAddress: 'fd00::1' } }, /ipv4\.interfaceAddress/],
    ['an address that is none', MESH_NODE, { addresses: ['300.1.1.1'] }, /addresses\[0\]/],
    ['a hundred addresses', MESH_NODE, { addresses: hundred }, /addresses.*at most 72/],
    ['a pod CIDR that is an address', MESH_NODE, { podCIDRs: ['10.0.0.1'] }, /podCIDRs\[0\]/],
    ['a pod CIDR of half the world', MESH_NODE, { podCIDRs: ['0.0.0.0/1'] }, /no node's share/],
    ['an IPv6 one', MESH_NODE, { podCIDRs: ['8000::/1'] }, /no node's share/],
    ['a spare device without a port', MESH_NODE, { ipv4: { spare: { publicKey: KEY } } }, /spare\.port/],
    ['a place that is none', MESH_NODE, { ipv4: { spare: { publicKey: KEY, port: 1, move: 'up' } } }, /spare\.move/],
    ['a supernet that is an address', PODVEIL, { podSupernets: ['10.0.0.1'] }, /podSupernets\[0\]/],
  ])('%s is refused, with a message that names the field', async (_, { path, apiVersion, kind }, spec, message) => {
    const answer = await server?.client.request('POST', path, { apiVersion, kind, metadata: { name: 'node.x' }, spec })
    expect(answer?.status).toBe(422)
    expect(String(answer?.body.message)).toMatch(message)
  })

  test('a MeshNode as agents write it is taken as it is', async () => {
    const device = { publicKey: KEY, port: 51820, spare: { publicKey: KEY, port: 51822, move: 'away' } }
    const spec = {
      nodeUID: '7d1b8a0e-0000-4000-8000-000000000001',
      nodeCreatedAt: '2026-01-02T03:04:05Z',
      addresses: ['10.0.0.5', 'fd00::5'],
      podCIDRs: ['10.244.1.0/24', 'fd00:1::/64'],
      tunnelAddresses: ['10.244.1.2'],
      hello: 1,
      ipv4: { ...device, interfaceAddress: '10.244.1.1' },
      ipv6: { ...device, interfaceAddress: 'fd00:1::1' },
    }
    const { path, apiVersion, kind } = MESH_NODE
    const answer = await server?.client.request('POST', path, { apiVersion, kind, metadata: { name: 'node-1' }, spec })
    expect(answer?.status).toBe(201)
    expect(answer?.body.spec).toEqual(spec)
  })
})
