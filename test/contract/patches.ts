import { describe, expect, it } from 'vitest'
import { APPLY, JSON_PATCH, MERGE, STRATEGIC } from './api-client.ts'
import { type ContractContext, FELIX, felix, fresh, NODES, node } from './fixtures.ts'

const KEY = 'projectcalico.org/WireguardPublicKey'
const ADDRESS = 'projectcalico.org/IPv4WireguardInterfaceAddr'

export function patchContract(context: () => ContractContext): void {
  async function made(body: { metadata: { name: string } }, collection = NODES): Promise<string> {
    const { client, leftovers } = context()
    const { status, text } = await client.post(collection, body)
    expect(status, text).toBe(201)
    return leftovers.add(`${collection}/${body.metadata.name}`)
  }

  describe('merge patch', () => {
    it('changes its own annotations and nobody else’s', async () => {
      const { client } = context()
      const path = await made({ metadata: { name: fresh('n'), annotations: { [ADDRESS]: '10.65.1.1' } } } as never)
      const { status, body } = await client.patch(path, { metadata: { annotations: { [KEY]: 'key' } } })
      expect(status).toBe(200)
      expect(body.metadata.annotations).toEqual({ [ADDRESS]: '10.65.1.1', [KEY]: 'key' })
    })

    it('removes what it sets to null', async () => {
      const { client } = context()
      const path = await made({
        metadata: { name: fresh('n'), annotations: { [ADDRESS]: '10.65.1.1', [KEY]: 'key' } },
      } as never)
      const { body } = await client.patch(path, { metadata: { annotations: { [KEY]: null } } })
      expect(body.metadata.annotations).toEqual({ [ADDRESS]: '10.65.1.1' })
    })

    it('writes nothing where it changes nothing', async () => {
      const { client } = context()
      const path = await made({ metadata: { name: fresh('n'), annotations: { [KEY]: 'key' } } } as never)
      const before = await client.get(path)
      const { body } = await client.patch(path, { metadata: { annotations: { [KEY]: 'key' } } })
      expect(body.metadata.resourceVersion).toBe(before.body.metadata.resourceVersion)
    })

    it('holds only for the state that it names, where it names one', async () => {
      const { client } = context()
      const path = await made(node(fresh('n')))
      const { resourceVersion } = (await client.get(path)).body.metadata
      expect((await client.patch(path, { metadata: { resourceVersion, labels: { a: '1' } } })).status).toBe(200)
      const { status, body } = await client.patch(path, { metadata: { resourceVersion, labels: { a: '2' } } })
      expect([status, body.reason]).toEqual([409, 'Conflict'])
    })

    it('turns encryption on', async () => {
      const { client } = context()
      const path = await made(felix(fresh('f'), { wireguardKeepAlive: '25s' }), FELIX)
      const { body } = await client.patch(path, { spec: { wireguardEnabled: true } })
      expect(body.spec).toEqual({ wireguardKeepAlive: '25s', wireguardEnabled: true })
    })

    it('does not find an object that is not there', async () => {
      const { status, body } = await context().client.patch(`${NODES}/not-there`, { metadata: {} })
      expect([status, body.reason]).toEqual([404, 'NotFound'])
    })

    it('does not rename', async () => {
      const { client } = context()
      const path = await made(node(fresh('n')))
      expect((await client.patch(path, { metadata: { name: 'other' } })).status).toBe(400)
    })
  })

  describe('JSON patch', () => {
    it('adds, replaces and removes', async () => {
      const { client } = context()
      const path = await made(felix(fresh('f'), { wireguardMTU: 1380, routeSource: 'CalicoIPAM' }), FELIX)
      const operations = [
        { op: 'test', path: '/spec/wireguardMTU', value: 1380 },
        { op: 'replace', path: '/spec/wireguardMTU', value: 1400 },
        { op: 'remove', path: '/spec/routeSource' },
        { op: 'add', path: '/metadata/annotations', value: { 'a/b': 'c' } },
        { op: 'add', path: '/metadata/annotations/d~1e', value: 'f' },
      ]
      const { status, body } = await client.patch(path, operations, JSON_PATCH)
      expect(status).toBe(200)
      expect(body.spec).toEqual({ wireguardMTU: 1400 })
      expect(body.metadata.annotations).toEqual({ 'a/b': 'c', 'd/e': 'f' })
    })

    it('changes nothing where a test fails', async () => {
      const { client } = context()
      const path = await made(felix(fresh('f'), { wireguardMTU: 1380 }), FELIX)
      const operations = [
        { op: 'replace', path: '/spec/wireguardMTU', value: 1400 },
        { op: 'test', path: '/spec/wireguardMTU', value: 9 },
      ]
      expect((await client.patch(path, operations, JSON_PATCH)).status).toBe(422)
      expect((await client.get(path)).body.spec.wireguardMTU).toBe(1380)
    })
  })

  describe('strategic merge patch', () => {
    it('merges conditions of a node by their type', async () => {
      const { client } = context()
      const ready = { type: 'Ready', status: 'True', reason: 'KubeletReady', message: '' }
      const path = await made(node(fresh('n'), { status: { conditions: [ready] } }))
      const mesh = { type: 'PodveilReady', status: 'False', reason: 'NoPeers', message: 'no peer has a key' }
      const patch = { status: { conditions: [mesh] } }
      const { status, body } = await client.patch(`${path}/status`, patch, STRATEGIC)
      expect(status).toBe(200)
      const conditions = body.status.conditions as { type: string }[]
      expect(conditions.map(({ type }) => type).sort()).toEqual(['PodveilReady', 'Ready'])
    })

    it('is not for custom resources', async () => {
      const { client } = context()
      const path = await made(felix(fresh('f'), {}), FELIX)
      const { status, body } = await client.patch(path, { spec: {} }, STRATEGIC)
      expect([status, body.reason]).toEqual([415, 'UnsupportedMediaType'])
    })
  })

  describe('server-side apply', () => {
    it('makes what is not there, and merges into what is', async () => {
      const { client, leftovers } = context()
      const name = fresh('f')
      const path = leftovers.add(`${FELIX}/${name}`)
      const query = '?fieldManager=contract&force=true'
      const first = await client.patch(path + query, felix(name, { wireguardEnabled: true }), APPLY)
      expect(first.status).toBe(201)
      await client.patch(path, { spec: { wireguardMTU: 1380 } })
      const second = await client.patch(path + query, felix(name, { wireguardEnabled: false }), APPLY)
      expect(second.status).toBe(200)
      expect(second.body.spec).toEqual({ wireguardEnabled: false, wireguardMTU: 1380 })
    })

    it('wants to know who applies', async () => {
      const { client } = context()
      const name = fresh('f')
      const { status } = await client.patch(`${FELIX}/${name}`, felix(name, {}), APPLY)
      expect([400, 422]).toContain(status)
    })
  })

  it('refuses a patch of no known kind', async () => {
    const { client } = context()
    const path = await made(node(fresh('n')))
    expect((await client.patch(path, {}, 'application/json')).status).toBe(415)
  })

  describe('the status of a node', () => {
    it('is not changed by a write to the node', async () => {
      const { client } = context()
      const addresses = [{ type: 'InternalIP', address: '192.0.2.1' }]
      const path = await made(node(fresh('n'), { status: { addresses } }))
      const patch = { metadata: { labels: { zone: 'a' } }, status: { addresses: [] } }
      const { body } = await client.patch(path, patch)
      expect(body.status.addresses).toEqual(addresses)
      expect(body.metadata.labels).toMatchObject({ zone: 'a' })
    })

    it('is written through /status, and annotations with it, as Calico does', async () => {
      const { client } = context()
      const path = await made(node(fresh('n'), { spec: { podCIDR: '10.65.1.0/24' } }))
      const addresses = [{ type: 'InternalIP', address: '192.0.2.1' }]
      const patch = {
        metadata: { annotations: { [KEY]: 'key' } },
        spec: { unschedulable: true },
        status: { addresses },
      }
      const { status, body } = await client.patch(`${path}/status`, patch, MERGE)
      expect(status).toBe(200)
      expect(body.metadata.annotations).toMatchObject({ [KEY]: 'key' })
      expect(body.status.addresses).toEqual(addresses)
      expect(body.spec.unschedulable).toBeUndefined()
    })
  })
}
