import { describe, expect, it } from 'vitest'
import { type ApiObject, PARTIAL, type WatchEvent } from './api-client.ts'
import { type ContractContext, FELIX, felix, fresh, NODES } from './fixtures.ts'

const named = (events: readonly WatchEvent[]): string[] => {
  return events.map(({ type, object }) => `${type} ${object.metadata.name}`)
}

const isBookmark = ({ type }: WatchEvent): boolean => type === 'BOOKMARK'

export function watchContract(context: () => ContractContext): void {
  async function revision(): Promise<string> {
    return (await context().client.get(`${NODES}?limit=1`)).body.metadata.resourceVersion
  }

  async function makeNode(labels: Record<string, string>, name = fresh('n')): Promise<string> {
    const { client, leftovers } = context()
    const { status, text } = await client.post(NODES, { metadata: { name, labels } })
    expect(status, text).toBe(201)
    leftovers.add(`${NODES}/${name}`)
    return name
  }

  describe('watches', () => {
    it('tell every change after their resourceVersion, in order', async () => {
      const { client } = context()
      const mesh = fresh('mesh')
      const from = await revision()
      const name = await makeNode({ mesh })
      await client.patch(`${NODES}/${name}`, { metadata: { annotations: { a: 'b' } } })
      await client.delete(`${NODES}/${name}`)
      using stream = await client.watch(`${NODES}?watch=1&resourceVersion=${from}&labelSelector=mesh%3D${mesh}`)
      const events = await stream.until(({ type }) => type === 'DELETED')
      expect(named(events)).toEqual([`ADDED ${name}`, `MODIFIED ${name}`, `DELETED ${name}`])
      const revisions = events.map(({ object }) => Number(object.metadata.resourceVersion))
      expect(revisions).toEqual(revisions.toSorted((a, b) => a - b))
      expect(events[1]?.object).toMatchObject({ kind: 'Node', apiVersion: 'v1', metadata: { annotations: { a: 'b' } } })
    })

    it('tell a change when it happens', async () => {
      const { client } = context()
      const from = await revision()
      using stream = await client.watch(`${NODES}?watch=true&resourceVersion=${from}`)
      const name = await makeNode({})
      const events = await stream.until(({ object }) => object.metadata.name === name)
      expect(events.at(-1)?.type).toBe('ADDED')
    })

    it('begin with what there is where they name no resourceVersion', async () => {
      const { client } = context()
      const mesh = fresh('mesh')
      const name = await makeNode({ mesh })
      using stream = await client.watch(`${NODES}?watch=1&labelSelector=mesh%3D${mesh}`)
      expect(named([(await stream.next()) as WatchEvent])).toEqual([`ADDED ${name}`])
    })

    it('tell of what enters and leaves the selection as ADDED and DELETED', async () => {
      const { client } = context()
      const mesh = fresh('mesh')
      const from = await revision()
      using stream = await client.watch(`${NODES}?watch=1&resourceVersion=${from}&labelSelector=mesh%3D${mesh}`)
      const name = await makeNode({})
      await client.patch(`${NODES}/${name}`, { metadata: { labels: { mesh } } })
      const left = await client.patch(`${NODES}/${name}`, { metadata: { labels: { mesh: null } } })
      const events = await stream.until(({ type }) => type === 'DELETED')
      expect(named(events)).toEqual([`ADDED ${name}`, `DELETED ${name}`])
      expect(events[1]?.object.metadata).toMatchObject({
        labels: { mesh },
        resourceVersion: left.body.metadata.resourceVersion,
      })
    })

    it('can be of one object', async () => {
      const { client } = context()
      const [one, other] = [await makeNode({}), await makeNode({})]
      const from = await revision()
      const query = `watch=1&resourceVersion=${from}&fieldSelector=metadata.name%3D${one}`
      using stream = await client.watch(`${NODES}?${query}`)
      await client.patch(`${NODES}/${other}`, { metadata: { annotations: { a: 'b' } } })
      await client.patch(`${NODES}/${one}`, { metadata: { annotations: { a: 'b' } } })
      expect(named([(await stream.next()) as WatchEvent])).toEqual([`MODIFIED ${one}`])
    })

    it('can be of metadata alone', async () => {
      const { client } = context()
      const mesh = fresh('mesh')
      const from = await revision()
      const name = await makeNode({ mesh })
      const query = `watch=1&resourceVersion=${from}&labelSelector=mesh%3D${mesh}`
      using stream = await client.watch(`${NODES}?${query}`, { accept: PARTIAL })
      const event = await stream.next()
      expect(event).toMatchObject({ type: 'ADDED', object: { kind: 'PartialObjectMetadata', metadata: { name } } })
      expect(Object.keys(event?.object).sort()).toEqual(['apiVersion', 'kind', 'metadata'])
    })

    it('of metadata, and of what a label is not on, go on where one of whole objects was', async () => {
      const { client } = context()
      const label = fresh('label')
      const name = await makeNode({})
      using first = await client.watch(`${NODES}?watch=1&fieldSelector=metadata.name%3D${name}`)
      const from = (await first.next())?.object.metadata.resourceVersion
      await client.patch(`${NODES}/${name}`, { metadata: { annotations: { a: 'b' } } })
      await client.patch(`${NODES}/${name}`, { metadata: { labels: { [label]: 'true' } } })
      await client.patch(`${NODES}/${name}`, { metadata: { labels: { [label]: null } } })
      const query = `watch=1&resourceVersion=${from}&fieldSelector=metadata.name%3D${name}`
      using metadata = await client.watch(`${NODES}?${query}`, { accept: PARTIAL })
      using unlabelled = await client.watch(`${NODES}?${query}&labelSelector=%21${label}`)
      const three = async (stream: typeof metadata) =>
        [await stream.next(), await stream.next(), await stream.next()].map(event => event?.type)
      expect(await three(metadata)).toEqual(['MODIFIED', 'MODIFIED', 'MODIFIED'])
      expect(await three(unlabelled)).toEqual(['MODIFIED', 'DELETED', 'ADDED'])
    })

    it('of custom resources tell what their settings became', async () => {
      const { client, leftovers } = context()
      const name = fresh('f')
      const { body } = await client.post(FELIX, felix(name, {}))
      leftovers.add(`${FELIX}/${name}`)
      using stream = await client.watch(`${FELIX}?watch=1&resourceVersion=${body.metadata.resourceVersion}`)
      await client.patch(`${FELIX}/${name}`, { spec: { wireguardEnabled: true } })
      const event = await stream.next()
      expect(event).toMatchObject({ type: 'MODIFIED', object: { spec: { wireguardEnabled: true } } })
    })

    it('end in good order when their time is over', async () => {
      const { client } = context()
      using stream = await client.watch(`${NODES}?watch=1&resourceVersion=${await revision()}&timeoutSeconds=1`)
      while ((await stream.next()) !== undefined);
    })

    it('say how far they came before they end, to a client that asked for bookmarks', async () => {
      const { client } = context()
      const from = await revision()
      const other = `labelSelector=mesh%3D${fresh('mesh')}`
      const query = `watch=1&resourceVersion=${from}&allowWatchBookmarks=true&timeoutSeconds=5&${other}`
      using stream = await client.watch(`${NODES}?${query}`)
      const name = await makeNode({})
      const made = await client.get(`${NODES}/${name}`)
      const [bookmark] = await stream.until(isBookmark)
      expect(bookmark?.object).toMatchObject({ kind: 'Node', apiVersion: 'v1' })
      const revisionOf = (object: ApiObject): number => Number(object.metadata.resourceVersion)
      expect(revisionOf(bookmark?.object)).toBeGreaterThanOrEqual(revisionOf(made.body))
    })

    it('from before history begins end with 410 in the stream', async test => {
      const { client } = context()
      await client.connection.compact?.()
      await makeNode({})
      using stream = await client.watch(`${NODES}?watch=1&resourceVersion=1`)
      const event = await stream.next()
      if (event?.type !== 'ERROR' && client.connection.compact === undefined) {
        return test.skip('this server still has its whole history, and cannot be told to compact it')
      }
      expect(event).toMatchObject({ type: 'ERROR', object: { kind: 'Status', reason: 'Expired', code: 410 } })
      expect(await stream.next()).toBeUndefined()
    })
  })

  describe('WatchList', () => {
    const QUERY = 'watch=1&sendInitialEvents=true&resourceVersionMatch=NotOlderThan&allowWatchBookmarks=true'

    it('streams what there is, says so, and goes on with what changes', async test => {
      const { client } = context()
      const mesh = fresh('mesh')
      const [one, two] = [await makeNode({ mesh }, `${mesh}-1`), await makeNode({ mesh }, `${mesh}-2`)]
      const path = `${NODES}?${QUERY}&labelSelector=mesh%3D${mesh}`
      const probe = await client.get(`${path}&timeoutSeconds=1`)
      if (probe.status === 422) return test.skip('WatchList is off on this server')
      using stream = await client.watch(path)
      const initial = await stream.until(isBookmark)
      expect(named(initial.slice(0, -1)).sort()).toEqual([`ADDED ${one}`, `ADDED ${two}`])
      expect(initial.at(-1)?.object.metadata.annotations).toEqual({ 'k8s.io/initial-events-end': 'true' })
      await client.patch(`${NODES}/${one}`, { metadata: { annotations: { a: 'b' } } })
      const [next] = await stream.until(({ type }) => type !== 'BOOKMARK')
      expect(next?.type).toBe('MODIFIED')
    })

    it('tells in the stream that a state is yet to come', async test => {
      const { client } = context()
      using stream = await client
        .watch(`${NODES}?${QUERY}&resourceVersion=999999999999&timeoutSeconds=30`)
        .catch(() => {
          return test.skip('WatchList is off on this server')
        })
      const event = await stream.next()
      expect(event).toMatchObject({ type: 'ERROR', object: { reason: 'Timeout', code: 504 } })
    })

    it('wants to be told how fresh the state is to be', async () => {
      const { status, body } = await context().client.get(`${NODES}?watch=1&sendInitialEvents=true`)
      expect([status, body.reason]).toEqual([422, 'Invalid'])
    })
  })
}
