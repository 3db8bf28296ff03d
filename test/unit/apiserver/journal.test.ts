import { appendFileSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterEach, beforeEach, describe, expect, it } from 'vitest'
import { DataDirectoryError, Journal } from '#src/lab/apiserver/journal.ts'
import { Store } from '#src/lab/apiserver/store.ts'

describe('the data directory', () => {
  let directory: string
  beforeEach(() => {
    directory = mkdtempSync(join(tmpdir(), 'podveil-journal-'))
  })
  afterEach(() => rmSync(directory, { recursive: true }))

  function open(): { store: Store; journal: Journal } {
    const journal = new Journal(directory)
    const store = new Store(10, journal.loaded)
    journal.begin(() => store.state)
    store.onChange(journal.record)
    return { store, journal }
  }

  const journalFile = (): string => join(directory, 'journal.ndjson')

  it('holds nothing at first', () => {
    const { journal } = open()
    expect(journal.loaded).toBeUndefined()
    journal.close()
  })

  it('gives back what was written, also when nobody closed it', () => {
    const { store } = open()
    store.put('nodes', { metadata: { name: 'a' } })
    store.put('pods', { metadata: { name: 'p', namespace: 'x' } })
    store.put('nodes', { metadata: { name: 'b' } })
    store.remove('nodes', 'a')
    const again = open()
    expect(again.store.state).toEqual(store.state)
    again.journal.close()
  })

  it('takes a line that was cut off for one that was never answered', () => {
    const { store } = open()
    store.put('nodes', { metadata: { name: 'a' } })
    appendFileSync(journalFile(), '{"revision":3,"collec')
    const again = open()
    expect(again.store.list('nodes')).toHaveLength(1)
    expect(again.store.revision).toBe(2)
    again.journal.close()
  })

  it('counts once what is in the snapshot and in the journal', () => {
    const { store, journal } = open()
    store.put('nodes', { metadata: { name: 'a' } })
    const lines = readFileSync(journalFile())
    store.remove('nodes', 'a')
    journal.close()
    writeFileSync(journalFile(), lines)
    const again = open()
    expect(again.store.list('nodes')).toEqual([])
    again.journal.close()
  })

  it('refuses to begin with what it cannot read', () => {
    writeFileSync(join(directory, 'snapshot.json'), '{')
    expect(() => new Journal(directory)).toThrow(DataDirectoryError)
  })
})
