import { describe, expect, it } from 'vitest'
import { type ContractContext, eventually } from './fixtures.ts'

export function discoveryContract(context: () => ContractContext): void {
  describe('discovery', () => {
    it('tells its version', async () => {
      const { status, body } = await context().client.get('/version')
      expect(status).toBe(200)
      expect(body).toMatchObject({ major: '1', gitVersion: expect.stringMatching(/^v1\.\d+/) })
    })

    it.each(['/healthz', '/livez', '/readyz'])('answers %s', async path => {
      const { status, text } = await context().client.get(path)
      expect([status, text]).toEqual([200, 'ok'])
    })

    it('names nodes, their status and pods in the core group', async () => {
      const { body } = await context().client.get('/api/v1')
      expect(body).toMatchObject({ kind: 'APIResourceList', groupVersion: 'v1' })
      expect(body.resources).toContainEqual(expect.objectContaining({ name: 'nodes', kind: 'Node', namespaced: false }))
      expect(body.resources).toContainEqual(expect.objectContaining({ name: 'nodes/status' }))
      expect(body.resources).toContainEqual(expect.objectContaining({ name: 'pods', namespaced: true }))
    })

    it('names the groups of custom resources', async () => {
      const { body } = await context().client.get('/apis')
      const names = body.groups.map((group: { name: string }) => group.name)
      expect(names).toEqual(expect.arrayContaining(['crd.projectcalico.org', 'podveil.io', 'events.k8s.io']))
    })

    it('names the custom resources of a group', async () => {
      const { body } = await context().client.get('/apis/crd.projectcalico.org/v1')
      const felixConfigurations = body.resources.find(({ name }: { name: string }) => name === 'felixconfigurations')
      expect(felixConfigurations).toMatchObject({ kind: 'FelixConfiguration', namespaced: false })
      expect(felixConfigurations.verbs).toEqual(expect.arrayContaining(['get', 'list', 'patch', 'watch']))
    })

    it('tells everything at once to a client that asks for aggregated discovery', async () => {
      const accept = 'application/json;g=apidiscovery.k8s.io;v=v2;as=APIGroupDiscoveryList'
      const { body, headers } = await context().client.get('/apis', { accept })
      expect(headers['content-type']).toContain('as=APIGroupDiscoveryList')
      const calico = body.items.find(({ metadata }: { metadata: { name: string } }) => {
        return metadata.name === 'crd.projectcalico.org'
      })
      expect(calico.versions[0].resources).toContainEqual(expect.objectContaining({ resource: 'felixconfigurations' }))
    })

    it('describes custom resources in OpenAPI', async () => {
      const { client } = context()
      let schema: { properties: { spec: { properties: { guard: { enum: string[] } } } } } | undefined
      await eventually('OpenAPI describes PodveilConfiguration', async () => {
        const path = (await client.get('/openapi/v3')).body.paths['apis/podveil.io/v1alpha1']?.serverRelativeURL
        // One kind after the other is described, each at another address; the ones before lead on to it.
        const document = path && (await client.get(path))
        schema = document?.body?.components?.schemas['io.podveil.v1alpha1.PodveilConfiguration']
        return schema !== undefined
      })
      expect(schema?.properties.spec.properties.guard.enum).toEqual(['off', 'audit', 'enforce'])
    })

    it.each(['/api/v1/noderings', '/apis/podveil.io/v1alpha1/meshes', '/apis/example.invalid/v1/things', '/nowhere'])(
      'does not find %s',
      async path => {
        expect((await context().client.get(path)).status).toBe(404)
      },
    )
  })

  describe('authentication', () => {
    it('refuses a token that it does not know, with a Status', async () => {
      const { status, body } = await context().client.get('/api/v1/nodes', { token: 'nobody-has-this-one' })
      expect(status).toBe(401)
      expect(body).toMatchObject({
        kind: 'Status',
        apiVersion: 'v1',
        status: 'Failure',
        reason: 'Unauthorized',
        code: 401,
      })
    })

    it('gives nothing to whoever has no token', async () => {
      const { status } = await context().client.get('/api/v1/nodes', { token: '' })
      expect([401, 403]).toContain(status)
    })
  })
}
