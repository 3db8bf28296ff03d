import fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import { Store } from '#src/lab/apiserver/store.ts'

const object = (name: string, value = 0) => ({ metadata: { name }, value })
const names = (list: readonly { metadata: { name: string } }[] | undefined) =>
  list?.map(({ metadata }) => metadata.name)

describe('the store', () => {
  it('gives every write a revision of its own, over all collections', () => {
    const store = new Store(10)
    const revisions = [
      store.put('nodes', object('a')),
      store.put('pods', object('b')),
      store.put('nodes', object('a', 1)),
    ].map(({ metadata }) => Number(metadata.resourceVersion))
    expect(revisions).toEqual([2, 3, 4])
    expect(store.revision).toBe(4)
  })

  it('lists in the order of keys, not of writes', () => {
    const store = new Store(10)
    for (const name of ['b', 'c', 'a']) store.put('nodes', object(name))
    expect(names(store.list('nodes'))).toEqual(['a', 'b', 'c'])
  })

  it('tells what a removed object was, at the revision of its removal', () => {
    const store = new Store(10)
    store.put('nodes', object('a', 7))
    expect(store.remove('nodes', 'a')).toMatchObject({ value: 7, metadata: { resourceVersion: '3' } })
    expect(store.remove('nodes', 'a')).toBeUndefined()
    expect(store.history('nodes').since(2)).toMatchObject([{ type: 'DELETED', revision: 3 }])
  })

  it('tells listeners of every write until they leave', () => {
    const store = new Store(10)
    const heard: string[] = []
    const leave = store.onChange((collection, { type }) => heard.push(`${type} ${collection}`))
    store.put('nodes', object('a'))
    store.put('nodes', object('a', 1))
    leave()
    store.remove('nodes', 'a')
    expect(heard).toEqual(['ADDED nodes', 'MODIFIED nodes'])
  })

  it('does not know states from before its history', () => {
    const store = new Store(4)
    for (let n = 0; n < 20; n++) store.put('nodes', object('a', n))
    const { floor } = store.history('nodes')
    expect(floor).toBeGreaterThan(15)
    expect(store.listAt('nodes', floor - 1)).toBeUndefined()
    expect(store.listAt('nodes', floor)).toHaveLength(1)
    expect(store.listAt('nodes', store.revision + 1)).toBeUndefined()
  })

  it('forgets its history when it is told to, also of collections that nobody has used', () => {
    const store = new Store(10)
    store.put('nodes', object('a'))
    store.compact()
    expect([store.history('nodes').floor, store.history('pods').floor]).toEqual([2, 2])
    expect(store.history('nodes').since(2)).toEqual([])
  })

  it('shows every state of its history as it was', () => {
    const write = fc.record({ name: fc.constantFrom('a', 'b', 'c', 'd'), value: fc.nat(9), remove: fc.boolean() })
    fc.assert(
      fc.property(fc.array(write, { maxLength: 40 }), writes => {
        const store = new Store(1000)
        const states = new Map([[store.revision, store.list('nodes')]])
        for (const { name, value, remove } of writes) {
          if (remove) store.remove('nodes', name)
          else store.put('nodes', object(name, value))
          states.set(store.revision, store.list('nodes'))
        }
        for (const [revision, state] of states) expect(store.listAt('nodes', revision)).toEqual(state)
      }),
    )
  })

  it('is the same after a restart, without history', () => {
    const store = new Store(10)
    store.put('nodes', object('a'))
    store.put('pods', { metadata: { name: 'p', namespace: 'default' } })
    const again = new Store(10, JSON.parse(JSON.stringify(store.state)))
    expect(again.revision).toBe(store.revision)
    expect(again.get('pods', 'default/p')).toEqual(store.get('pods', 'default/p'))
    expect(again.history('nodes').floor).toBe(store.revision)
  })
})
