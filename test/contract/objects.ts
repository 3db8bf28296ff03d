import { describe, expect, it } from 'vitest'
import { type ContractContext, FELIX, felix, fresh, NODES, node } from './fixtures.ts'

export function objectContract(context: () => ContractContext): void {
  describe('creating', () => {
    it('answers with the object, its uid, resourceVersion and time of creation', async () => {
      const { client, leftovers } = context()
      const name = fresh('n')
      const { status, body } = await client.post(NODES, node(name, { spec: { podCIDR: '10.65.1.0/24' } }))
      leftovers.add(`${NODES}/${name}`)
      expect(status).toBe(201)
      expect(body).toMatchObject({ kind: 'Node', apiVersion: 'v1', spec: { podCIDRs: ['10.65.1.0/24'] } })
      expect(body.metadata.uid).toMatch(/^[0-9a-f-]{36}$/)
      expect(body.metadata.resourceVersion).toMatch(/^\d+$/)
      expect(body.metadata.creationTimestamp).toMatch(/^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ$/)
    })

    it('refuses a second one of the same name', async () => {
      const { client, leftovers } = context()
      const name = fresh('n')
      await client.post(NODES, node(name))
      leftovers.add(`${NODES}/${name}`)
      const { status, body } = await client.post(NODES, node(name))
      expect(status).toBe(409)
      expect(body).toMatchObject({
        kind: 'Status',
        reason: 'AlreadyExists',
        details: { name, kind: 'nodes' },
        code: 409,
      })
      expect(body.message).toBe(`nodes "${name}" already exists`)
    })

    it('makes up a name where the client gives only its beginning', async () => {
      const { client, leftovers } = context()
      const { status, body } = await client.post(NODES, { metadata: { generateName: 'contract-' } })
      expect(status).toBe(201)
      leftovers.add(`${NODES}/${body.metadata.name}`)
      expect(body.metadata.name).toMatch(/^contract-[a-z0-9]{5}$/)
    })

    it('keeps nothing of a dry run', async () => {
      const { client } = context()
      const name = fresh('n')
      expect((await client.post(`${NODES}?dryRun=All`, node(name))).status).toBe(201)
      expect((await client.get(`${NODES}/${name}`)).status).toBe(404)
    })

    it('refuses a name that is no DNS name, and names the field', async () => {
      const { status, body } = await context().client.post(NODES, node('Not_A_Name'))
      expect(status).toBe(422)
      expect(body).toMatchObject({ reason: 'Invalid', details: { causes: [{ field: 'metadata.name' }] } })
    })

    it('refuses an annotation that is not text', async () => {
      const body = { metadata: { name: fresh('n'), annotations: { key: 7 } } }
      const answer = await context().client.post(NODES, body)
      expect(answer.status).toBe(400)
      expect(answer.body).toMatchObject({ kind: 'Status', reason: 'BadRequest' })
    })

    it('refuses a body of another kind', async () => {
      const { status, body } = await context().client.post(FELIX, { ...felix(fresh('f'), {}), kind: 'Node' })
      expect(status).toBe(422)
      expect(body.details.causes).toMatchObject([{ field: 'kind', reason: 'FieldValueInvalid' }])
    })

    it('refuses a body of another version', async () => {
      const body = { ...felix(fresh('f'), {}), apiVersion: 'crd.projectcalico.org/v2' }
      expect((await context().client.post(FELIX, body)).status).toBe(400)
    })

    it('refuses what is no JSON', async () => {
      const { status, body } = await context().client.send('POST', NODES, { raw: '{"metadata":' })
      expect([status, body.reason]).toEqual([400, 'BadRequest'])
    })

    it('refuses a media type that it does not read', async () => {
      const { status, body } = await context().client.send('POST', NODES, { raw: 'x', contentType: 'text/plain' })
      expect([status, body.reason]).toEqual([415, 'UnsupportedMediaType'])
    })

    it('takes YAML', async () => {
      const { client, leftovers } = context()
      const name = fresh('n')
      const raw = `apiVersion: v1\nkind: Node\nmetadata:\n  name: ${name}\n`
      const { status } = await client.send('POST', NODES, { raw, contentType: 'application/yaml' })
      leftovers.add(`${NODES}/${name}`)
      expect(status).toBe(201)
    })

    it('refuses an object in a namespace that is not there', async () => {
      const lease = { metadata: { name: fresh('l') } }
      const { status, body } = await context().client.post(
        '/apis/coordination.k8s.io/v1/namespaces/not-there/leases',
        lease,
      )
      expect(status).toBe(404)
      expect(body).toMatchObject({ reason: 'NotFound', details: { kind: 'namespaces', name: 'not-there' } })
    })
  })

  describe('reading one', () => {
    it('says what it does not find', async () => {
      const { status, body } = await context().client.get(`${FELIX}/not-there`)
      expect(status).toBe(404)
      expect(body).toMatchObject({
        kind: 'Status',
        status: 'Failure',
        reason: 'NotFound',
        message: 'felixconfigurations.crd.projectcalico.org "not-there" not found',
        details: { name: 'not-there', group: 'crd.projectcalico.org', kind: 'felixconfigurations' },
      })
    })

    it('refuses a form that it does not know', async () => {
      const { status, body } = await context().client.get(NODES, { accept: 'text/html' })
      expect([status, body.reason]).toEqual([406, 'NotAcceptable'])
    })

    it('refuses a method that makes no sense there', async () => {
      const { status, body } = await context().client.put(NODES, {})
      expect([status, body.reason]).toEqual([405, 'MethodNotAllowed'])
    })
  })

  describe('replacing', () => {
    it('raises the resourceVersion', async () => {
      const { client, leftovers } = context()
      const { body } = await client.post(NODES, node(fresh('n')))
      const path = leftovers.add(`${NODES}/${body.metadata.name}`)
      body.metadata.labels = { ...body.metadata.labels, zone: 'a' }
      const answer = await client.put(path, body)
      expect(answer.status).toBe(200)
      expect(Number(answer.body.metadata.resourceVersion)).toBeGreaterThan(Number(body.metadata.resourceVersion))
      expect(answer.body.metadata).toMatchObject({ uid: body.metadata.uid, labels: { zone: 'a' } })
    })

    it('refuses what was made from an older state', async () => {
      const { client, leftovers } = context()
      const { body } = await client.post(NODES, node(fresh('n')))
      const { name } = body.metadata
      const path = leftovers.add(`${NODES}/${name}`)
      await client.patch(path, { metadata: { labels: { zone: 'a' } } })
      const answer = await client.put(path, body)
      expect(answer.status).toBe(409)
      expect(answer.body).toMatchObject({ reason: 'Conflict', details: { name, kind: 'nodes' }, code: 409 })
    })

    it('refuses what was made of another object of that name', async () => {
      const { client, leftovers } = context()
      const { body } = await client.post(NODES, node(fresh('n')))
      const path = leftovers.add(`${NODES}/${body.metadata.name}`)
      const metadata = { name: body.metadata.name, uid: '00000000-0000-4000-8000-000000000000' }
      expect((await client.put(path, { metadata })).status).toBe(409)
    })

    it('changes nothing where nothing changes, not even the resourceVersion', async () => {
      const { client, leftovers } = context()
      const { body } = await client.post(FELIX, felix(fresh('f'), { wireguardEnabled: true }))
      const answer = await client.put(leftovers.add(`${FELIX}/${body.metadata.name}`), body)
      expect(answer.body.metadata.resourceVersion).toBe(body.metadata.resourceVersion)
    })

    it('wants to know of a custom resource from which state', async () => {
      const { client, leftovers } = context()
      const name = fresh('f')
      await client.post(FELIX, felix(name, {}))
      const { status, body } = await client.put(leftovers.add(`${FELIX}/${name}`), felix(name, {}))
      expect(status).toBe(422)
      expect(body.details.causes).toMatchObject([{ field: 'metadata.resourceVersion' }])
    })

    it('refuses another name than the path has', async () => {
      const { client, leftovers } = context()
      const name = fresh('n')
      await client.post(NODES, node(name))
      expect((await client.put(leftovers.add(`${NODES}/${name}`), node('other'))).status).toBe(400)
    })

    it('does not let a node change its pod CIDRs', async () => {
      const { client, leftovers } = context()
      const { body } = await client.post(NODES, node(fresh('n'), { spec: { podCIDR: '10.65.2.0/24' } }))
      const path = leftovers.add(`${NODES}/${body.metadata.name}`)
      const spec = { podCIDR: '10.65.3.0/24', podCIDRs: ['10.65.3.0/24'] }
      const answer = await client.put(path, { ...body, spec })
      expect(answer.status).toBe(422)
      expect(answer.body.details.causes).toContainEqual(expect.objectContaining({ field: 'spec.podCIDRs' }))
    })
  })

  describe('deleting', () => {
    it('answers Success, and the object is gone', async () => {
      const { client } = context()
      const { body } = await client.post(NODES, node(fresh('n')))
      const { name, uid } = body.metadata
      const answer = await client.delete(`${NODES}/${name}`)
      expect(answer.status).toBe(200)
      expect(answer.body).toMatchObject({ kind: 'Status', status: 'Success', details: { name, kind: 'nodes', uid } })
      expect((await client.get(`${NODES}/${name}`)).status).toBe(404)
      expect((await client.delete(`${NODES}/${name}`)).status).toBe(404)
    })

    it('spares an object that is another than the client meant', async () => {
      const { client, leftovers } = context()
      const name = fresh('n')
      await client.post(NODES, node(name))
      const path = leftovers.add(`${NODES}/${name}`)
      const { status } = await client.delete(path, {
        apiVersion: 'v1',
        kind: 'DeleteOptions',
        preconditions: { uid: '00000000-0000-4000-8000-000000000000' },
      })
      expect(status).toBe(409)
      expect((await client.get(path)).status).toBe(200)
    })

    it('waits for finalizers', async () => {
      const { client } = context()
      const name = fresh('f')
      const body = felix(name, {})
      body.metadata.finalizers = ['podveil.io/contract']
      await client.post(FELIX, body)
      await client.delete(`${FELIX}/${name}`)
      const dying = await client.get(`${FELIX}/${name}`)
      expect(dying.body.metadata.deletionTimestamp).toBeDefined()
      await client.patch(`${FELIX}/${name}`, { metadata: { finalizers: null } })
      expect((await client.get(`${FELIX}/${name}`)).status).toBe(404)
    })
  })
}
