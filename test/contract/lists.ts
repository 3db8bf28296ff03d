import { describe, expect, it } from 'vitest'
import { PARTIAL, PARTIAL_LIST, TABLE } from './api-client.ts'
import { type ContractContext, fresh, NODES, node } from './fixtures.ts'

interface Named {
  readonly metadata: { readonly name: string }
}

const names = (list: readonly Named[]): string[] => list.map(({ metadata }) => metadata.name)

export function listContract(context: () => ContractContext): void {
  /** Nodes with a label of their own, in the order of their names. */
  async function labelledNodes(count: number): Promise<{ selector: string; nodes: string[]; label: string }> {
    const { client, leftovers } = context()
    const label = fresh('mesh')
    const nodes = Array.from({ length: count }, (_, index) => `${label}-${index}`)
    for (const name of nodes) {
      await client.post(NODES, { metadata: { name, labels: { mesh: label } } })
      leftovers.add(`${NODES}/${name}`)
    }
    return { selector: `labelSelector=mesh%3D${label}`, nodes, label }
  }

  describe('lists', () => {
    it('hold everything of their kind, and the resourceVersion to watch from', async () => {
      const { client } = context()
      const { nodes } = await labelledNodes(2)
      const { status, body } = await client.get(NODES)
      expect(status).toBe(200)
      expect(body).toMatchObject({ kind: 'NodeList', apiVersion: 'v1' })
      expect(names(body.items)).toEqual(expect.arrayContaining(nodes))
      expect(body.metadata.resourceVersion).toMatch(/^\d+$/)
    })

    it('come in pages of one and the same state', async () => {
      const { client, leftovers } = context()
      const { selector, nodes, label } = await labelledNodes(5)
      const first = await client.get(`${NODES}?${selector}&limit=2`)
      expect(names(first.body.items)).toEqual(nodes.slice(0, 2))

      await client.delete(`${NODES}/${nodes[3]}`)
      const late = `${label}-late`
      await client.post(NODES, { metadata: { name: late, labels: { mesh: label } } })
      leftovers.add(`${NODES}/${late}`)

      const seen = names(first.body.items)
      let next: string | undefined = first.body.metadata.continue
      while (next) {
        const page = await client.get(`${NODES}?${selector}&limit=2&continue=${encodeURIComponent(next)}`)
        expect(page.body.metadata.resourceVersion).toBe(first.body.metadata.resourceVersion)
        seen.push(...names(page.body.items))
        next = page.body.metadata.continue
      }
      expect(seen).toEqual(nodes)
    })

    it('lose their place when history is gone: 410, and a token to go on from', async test => {
      const { client } = context()
      const { compact } = client.connection
      if (compact === undefined) return test.skip('this server cannot be told to compact its history')
      const { selector, nodes } = await labelledNodes(3)
      const { body } = await client.get(`${NODES}?${selector}&limit=1`)
      await client.patch(`${NODES}/${nodes[0]}`, { metadata: { labels: { zone: 'a' } } })
      await compact()
      const query = `${selector}&limit=1&continue=${encodeURIComponent(body.metadata.continue)}`
      const expired = await client.get(`${NODES}?${query}`)
      expect(expired.status).toBe(410)
      expect(expired.body).toMatchObject({ kind: 'Status', reason: 'Expired', code: 410 })
      const resume = encodeURIComponent(expired.body.metadata.continue)
      const rest = await client.get(`${NODES}?${selector}&continue=${resume}`)
      expect(names(rest.body.items)).toEqual(nodes.slice(1))
    })

    it('choose by name', async () => {
      const { client } = context()
      const { nodes } = await labelledNodes(2)
      const { body } = await client.get(`${NODES}?fieldSelector=metadata.name%3D${nodes[1]}`)
      expect(names(body.items)).toEqual([nodes[1]])
    })

    it('choose by labels: sets, inequality and absence', async () => {
      const { client } = context()
      const { nodes, label } = await labelledNodes(3)
      await client.patch(`${NODES}/${nodes[0]}`, { metadata: { labels: { zone: 'a' } } })
      await client.patch(`${NODES}/${nodes[1]}`, { metadata: { labels: { zone: 'b' } } })
      const chosen = async (term: string): Promise<string[]> => {
        const { body } = await client.get(`${NODES}?labelSelector=${encodeURIComponent(`mesh=${label},${term}`)}`)
        return names(body.items)
      }
      expect(await chosen('zone in (a,b)')).toEqual(nodes.slice(0, 2))
      expect(await chosen('zone notin (a)')).toEqual(nodes.slice(1))
      expect(await chosen('zone!=b')).toEqual([nodes[0], nodes[2]])
      expect(await chosen('!zone')).toEqual([nodes[2]])
      expect(await chosen('zone')).toEqual(nodes.slice(0, 2))
    })

    it('refuse to choose by a field that is not for it', async () => {
      const { status, body } = await context().client.get(`${NODES}?fieldSelector=spec.podCIDR%3Dx`)
      expect([status, body.reason]).toEqual([400, 'BadRequest'])
    })

    it('of pods choose by node', async () => {
      const { client, leftovers } = context()
      const namespace = fresh('pods')
      await client.post('/api/v1/namespaces', { metadata: { name: namespace } })
      const base = `/api/v1/namespaces/${namespace}`
      await client.post(`${base}/serviceaccounts`, { metadata: { name: 'default' } })
      for (const [name, nodeName] of [
        ['here', 'node-a'],
        ['there', 'node-b'],
      ] as const) {
        const spec = { nodeName, automountServiceAccountToken: false, containers: [{ name: 'c', image: 'i' }] }
        const { status, text } = await client.post(`${base}/pods`, { metadata: { name }, spec })
        expect(status, text).toBe(201)
        leftovers.add(`${base}/pods/${name}?gracePeriodSeconds=0`)
      }
      leftovers.add(`/api/v1/namespaces/${namespace}`)
      const { body } = await client.get(`${base}/pods?fieldSelector=spec.nodeName%3Dnode-b`)
      expect(names(body.items)).toEqual(['there'])
    })

    it('can be metadata alone', async () => {
      const { client } = context()
      const { selector, nodes } = await labelledNodes(2)
      const { body, headers } = await client.get(`${NODES}?${selector}`, { accept: PARTIAL_LIST })
      expect(headers['content-type']).toBe('application/json')
      expect(body).toMatchObject({ kind: 'PartialObjectMetadataList', apiVersion: 'meta.k8s.io/v1' })
      expect(names(body.items)).toEqual(nodes)
      for (const item of body.items) expect(Object.keys(item).sort()).toEqual(['apiVersion', 'kind', 'metadata'])
    })

    it('are not one PartialObjectMetadata', async () => {
      const { status } = await context().client.get(NODES, { accept: PARTIAL })
      expect(status).toBe(406)
    })

    it('can be a table', async () => {
      const { client } = context()
      const { selector, nodes } = await labelledNodes(1)
      const { body } = await client.get(`${NODES}?${selector}`, { accept: TABLE })
      expect(body).toMatchObject({ kind: 'Table', apiVersion: 'meta.k8s.io/v1' })
      const columns = body.columnDefinitions.map(({ name }: { name: string }) => name)
      expect(columns.slice(0, 5)).toEqual(['Name', 'Status', 'Roles', 'Age', 'Version'])
      expect(body.rows[0].cells.slice(0, 3)).toEqual([nodes[0], 'Unknown', '<none>'])
      expect(body.rows[0].object).toMatchObject({ kind: 'PartialObjectMetadata', metadata: { name: nodes[0] } })
    })

    it('of a state that is yet to come are not to be had', async () => {
      const { status, body } = await context().client.get(`${NODES}?resourceVersion=999999999999&limit=1`)
      expect(status).toBe(504)
      expect(body).toMatchObject({ reason: 'Timeout', details: { causes: [{ reason: 'ResourceVersionTooLarge' }] } })
    })

    it('are not needed for the metadata of one object', async () => {
      const { client, leftovers } = context()
      const name = fresh('n')
      await client.post(NODES, node(name, { spec: { podCIDR: '10.65.1.0/24' } }))
      const { body } = await client.get(leftovers.add(`${NODES}/${name}`), { accept: PARTIAL })
      expect(body).toMatchObject({ kind: 'PartialObjectMetadata', metadata: { name } })
      expect(body.spec).toBeUndefined()
    })
  })
}
