import { describe, expect, it } from 'vitest'
import { NODES } from '#src/lab/apiserver/kind-node.ts'
import { representationFor } from '#src/lab/apiserver/representation.ts'
import { everything, type Selector } from '#src/lab/apiserver/selectors.ts'
import { Store } from '#src/lab/apiserver/store.ts'
import { Watch, type WatchOptions } from '#src/lab/apiserver/watch.ts'

/** A client of a watch that takes so many writes before it is slow. */
class Client {
  readonly events: { type: string; object: { metadata: { name: string; resourceVersion: string } } }[] = []
  ended = false
  takes = Number.POSITIVE_INFINITY

  write(text: string): boolean {
    for (const line of text.trimEnd().split('\n')) this.events.push(JSON.parse(line))
    return --this.takes > 0
  }

  end(): void {
    this.ended = true
  }

  get heard(): string[] {
    return this.events.map(({ type, object }) => `${type} ${object.metadata.name ?? ''}`.trim())
  }
}

function watching(store: Store, more: Partial<WatchOptions> = {}): { watch: Watch; client: Client } {
  const client = new Client()
  const options = {
    resource: NODES,
    representation: representationFor('application/json', 'Metadata'),
    selector: everything,
    from: store.revision,
    initial: [],
    endsInitial: false,
    ...more,
  }
  return { watch: new Watch(store, options, client), client }
}

const put = (store: Store, name: string, labels = {}): void => {
  store.put('nodes', { metadata: { name, labels } })
}

describe('a watch', () => {
  it('says nothing of what it has said already', () => {
    const store = new Store(10)
    const { watch, client } = watching(store)
    put(store, 'a')
    watch.pump()
    watch.pump()
    expect(client.heard).toEqual(['ADDED a'])
  })

  it('says nothing while its client is slow, and the rest when it is not', () => {
    const store = new Store(100)
    const { watch, client } = watching(store)
    client.takes = 1
    put(store, 'a')
    watch.pump()
    put(store, 'b')
    watch.pump()
    expect(client.heard).toEqual(['ADDED a'])
    client.takes = 9
    watch.unblock()
    watch.pump()
    expect(client.heard).toEqual(['ADDED a', 'ADDED b'])
  })

  it('sends what there was before what changed, however slow the client', () => {
    const store = new Store(100)
    for (let n = 0; n < 40; n++) put(store, `n${n}`)
    const { watch, client } = watching(store, { initial: store.list('nodes'), endsInitial: true })
    put(store, 'late')
    for (let n = 0; n < 10; n++) {
      client.takes = 1
      watch.unblock()
      watch.pump()
    }
    expect(client.heard.slice(0, 40).every(text => text.startsWith('ADDED n'))).toBe(true)
    expect(client.heard.slice(40)).toEqual(['BOOKMARK', 'ADDED late'])
  })

  it('gives no bookmark before anything has happened, and then one that says how far it is', () => {
    const store = new Store(10)
    const { watch, client } = watching(store)
    watch.bookmark()
    expect(client.events).toEqual([])
    store.put('pods', { metadata: { name: 'p' } })
    watch.bookmark()
    expect(client.events).toMatchObject([{ type: 'BOOKMARK', object: { metadata: { resourceVersion: '2' } } }])
  })

  it('gives up with 410 where history is gone', () => {
    const store = new Store(2)
    const { watch, client } = watching(store)
    for (let n = 0; n < 9; n++) put(store, `n${n}`)
    watch.pump()
    expect(client.events).toMatchObject([{ type: 'ERROR', object: { code: 410, reason: 'Expired' } }])
    expect(client.ended).toBe(true)
  })

  it('does not give up because others made history', () => {
    const store = new Store(2)
    const { watch, client } = watching(store)
    watch.pump()
    for (let n = 0; n < 9; n++) store.put('pods', { metadata: { name: `p${n}` } })
    watch.pump()
    store.compact()
    put(store, 'a')
    watch.pump()
    expect(client.heard).toEqual(['ADDED a'])
  })

  it('tells of what leaves its selection as it was last in it', () => {
    const store = new Store(10)
    const selector: Selector = object => JSON.stringify(object).includes('"in":"yes"')
    const { watch, client } = watching(store, { selector })
    put(store, 'a', { in: 'yes' })
    put(store, 'a', { in: 'no' })
    put(store, 'a', { in: 'still no' })
    watch.pump()
    expect(client.heard).toEqual(['ADDED a', 'DELETED a'])
    expect(client.events[1]).toMatchObject({ object: { metadata: { labels: { in: 'yes' }, resourceVersion: '3' } } })
  })

  it('says nothing more once it has ended', () => {
    const store = new Store(10)
    const { watch, client } = watching(store)
    watch.end()
    put(store, 'a')
    watch.pump()
    watch.bookmark()
    expect(client.events).toEqual([])
  })
})
