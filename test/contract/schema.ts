import { describe, expect, it } from 'vitest'
import { type ContractContext, FELIX, felix, fresh, PODVEIL, podveil } from './fixtures.ts'

export function schemaContract(context: () => ContractContext): void {
  /** Only names of nodes are allowed beside `default`, which tests leave to the cluster. */
  const name = (): string => fresh('node.contract')

  describe('a FelixConfiguration', () => {
    it.each([
      ['a flag that is text', { wireguardEnabled: 'yes' }, 'spec.wireguardEnabled', 'FieldValueTypeInvalid'],
      [
        'a port that is text',
        { wireguardListeningPort: '51820' },
        'spec.wireguardListeningPort',
        'FieldValueTypeInvalid',
      ],
      ['a duration without unit', { wireguardKeepAlive: '25' }, 'spec.wireguardKeepAlive', 'FieldValueInvalid'],
      // Calico's pattern takes no fraction, by mistake; whoever writes one has to hear it.
      ['a duration with a fraction', { wireguardKeepAlive: '1.5s' }, 'spec.wireguardKeepAlive', 'FieldValueInvalid'],
      ['a source of routes that Felix lacks', { routeSource: 'PodCIDR' }, 'spec.routeSource', 'FieldValueInvalid'],
      [
        'a mark mask of more than 32 bits',
        { iptablesMarkMask: 4294967296 },
        'spec.iptablesMarkMask',
        'FieldValueInvalid',
      ],
      ['a range without end', { routeTableRange: { min: 1 } }, 'spec.routeTableRange.max', 'FieldValueRequired'],
    ])('with %s is refused, and the field named', async (_, spec, field, reason) => {
      const { status, body } = await context().client.post(FELIX, felix(name(), spec))
      expect(status).toBe(422)
      expect(body).toMatchObject({
        kind: 'Status',
        reason: 'Invalid',
        details: { group: 'crd.projectcalico.org', kind: 'FelixConfiguration' },
      })
      expect(body.details.causes).toContainEqual(expect.objectContaining({ field, reason }))
    })

    it('is refused as a whole by a patch that spoils it', async () => {
      const { client, leftovers } = context()
      const { body } = await client.post(FELIX, felix(name(), { wireguardEnabled: true }))
      const path = leftovers.add(`${FELIX}/${body.metadata.name}`)
      expect((await client.patch(path, { spec: { wireguardEnabled: 1 } })).status).toBe(422)
      expect((await client.get(path)).body.spec).toEqual({ wireguardEnabled: true })
    })

    it('takes route sources in any case, as Felix does', async () => {
      const { client, leftovers } = context()
      const { status, body } = await client.post(FELIX, felix(name(), { routeSource: 'workloadips' }))
      leftovers.add(`${FELIX}/${body.metadata.name}`)
      expect(status).toBe(201)
    })

    it('takes null for a setting that is not set', async () => {
      const { client, leftovers } = context()
      const spec = { wireguardEnabled: null, wireguardMTU: 1380 }
      const { status, body, text } = await client.post(FELIX, felix(name(), spec))
      expect(status, text).toBe(201)
      leftovers.add(`${FELIX}/${body.metadata.name}`)
      expect(body.spec).toEqual({ wireguardMTU: 1380 })
    })

    it('keeps fields of Calico’s that the mesh does not know', async () => {
      const { client, leftovers } = context()
      const spec = { bpfEnabled: true, failsafeInboundHostPorts: [{ protocol: 'tcp', port: 22 }] }
      const { body } = await client.post(FELIX, felix(name(), spec))
      leftovers.add(`${FELIX}/${body.metadata.name}`)
      expect(body.spec).toEqual(spec)
    })

    it('counts its generations by its settings, not by its annotations', async () => {
      const { client, leftovers } = context()
      const { body } = await client.post(FELIX, felix(name(), {}))
      const path = leftovers.add(`${FELIX}/${body.metadata.name}`)
      expect(body.metadata.generation).toBe(1)
      const annotated = await client.patch(path, { metadata: { annotations: { a: 'b' } } })
      expect(annotated.body.metadata.generation).toBe(1)
      const changed = await client.patch(path, { spec: { wireguardEnabled: true } })
      expect(changed.body.metadata.generation).toBe(2)
    })
  })

  describe('a PodveilConfiguration', () => {
    it('takes everything that it is for', async () => {
      const { client, leftovers } = context()
      const spec = {
        guard: 'enforce',
        clearTextNodes: ['node-a'],
        podSupernets: ['10.65.0.0/16', 'fd00:65::/48'],
        natExceptions: ['198.51.100.7/32'],
        keyStorage: 'memory',
        rotation: {
          interval: '720h',
          notBefore: '2026-01-02T03:04:05Z',
          compromised: '2026-01-02T03:04:05Z',
          patience: '5m',
        },
        spareListeningPort: 51822,
        spareListeningPortV6: 51823,
        pathMtuProbing: false,
        peerSource: 'MeshNodes',
        routeSource: 'PodCIDR',
      }
      const { status, body, text } = await client.post(PODVEIL, podveil(name(), spec))
      expect(status, text).toBe(201)
      leftovers.add(`${PODVEIL}/${body.metadata.name}`)
      expect(body.spec).toEqual(spec)
    })

    it.each([
      ['a guard that there is not', { guard: 'on' }, 'spec.guard', 'FieldValueNotSupported'],
      ['a supernet that is no CIDR', { podSupernets: ['10.65.0.0'] }, 'spec.podSupernets[0]', 'FieldValueTypeInvalid'],
      [
        'an exception that is text',
        { natExceptions: '198.51.100.7/32' },
        'spec.natExceptions',
        'FieldValueTypeInvalid',
      ],
      ['a node named twice', { clearTextNodes: ['a', 'a'] }, 'spec.clearTextNodes[1]', 'FieldValueDuplicate'],
      [
        'a rotation that is no duration',
        { rotation: { interval: 'weekly' } },
        'spec.rotation.interval',
        'FieldValueInvalid',
      ],
    ])('with %s is refused, and the field named', async (_, spec, field, reason) => {
      const { status, body } = await context().client.post(PODVEIL, podveil(name(), spec))
      expect(status).toBe(422)
      expect(body.details.causes).toContainEqual(expect.objectContaining({ field, reason }))
    })

    it('loses a field that it does not have, with a warning', async () => {
      const { client, leftovers } = context()
      const { status, body, headers } = await client.post(PODVEIL, podveil(name(), { guard: 'audit', gaurd: 'off' }))
      leftovers.add(`${PODVEIL}/${body.metadata.name}`)
      expect(status).toBe(201)
      expect(body.spec).toEqual({ guard: 'audit' })
      expect(headers.warning).toContain('unknown field \\"spec.gaurd\\"')
    })

    it('is refused with a field that it does not have, where the client is strict', async () => {
      const { client } = context()
      const { status, body } = await client.post(`${PODVEIL}?fieldValidation=Strict`, podveil(name(), { gaurd: 'off' }))
      expect(status).toBe(400)
      expect(body.message).toContain('unknown field "spec.gaurd"')
    })
  })

  describe('Calico’s IPAM', () => {
    const BLOCKS = '/apis/crd.projectcalico.org/v1/ipamblocks'

    it('keeps a block with free and borrowed addresses', async () => {
      const { client, leftovers } = context()
      const spec = {
        cidr: '10.65.0.0/30',
        affinity: 'host:node-a',
        allocations: [0, 1, null, null],
        attributes: [
          { handle_id: 'a', secondary: { node: 'node-a', pod: 'one' } },
          { handle_id: 'b', secondary: { node: 'node-b', pod: 'two' } },
        ],
        unallocated: [2, 3],
        strictAffinity: false,
      }
      const block = { apiVersion: 'crd.projectcalico.org/v1', kind: 'IPAMBlock', metadata: { name: fresh('b') }, spec }
      const { status, body, text } = await client.post(BLOCKS, block)
      expect(status, text).toBe(201)
      leftovers.add(`${BLOCKS}/${body.metadata.name}`)
      expect(body.spec).toEqual({ ...spec, sequenceNumber: 0 })
    })

    it('keeps a pool', async () => {
      const { client, leftovers } = context()
      const path = '/apis/crd.projectcalico.org/v1/ippools'
      const pool = { apiVersion: 'crd.projectcalico.org/v1', kind: 'IPPool', metadata: { name: fresh('p') } }
      expect((await client.post(path, { ...pool, spec: {} })).status).toBe(422)
      const { status, body, text } = await client.post(path, { ...pool, spec: { cidr: '10.65.0.0/16', blockSize: 26 } })
      expect(status, text).toBe(201)
      leftovers.add(`${path}/${body.metadata.name}`)
    })
  })
}
