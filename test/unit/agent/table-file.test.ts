import { mkdtemp, readFile, rm, stat, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterEach, beforeEach, expect, test } from 'vitest'
import { TableFile } from '#src/agent/table-file.ts'
import { TABLE_FILE } from '#src/status/sources/table.ts'
import type { TableListing } from '#wg/nftables/listing.ts'

let directory = ''
beforeEach(async () => {
  directory = await mkdtemp(join(tmpdir(), 'podveil-table-'))
})
afterEach(() => rm(directory, { recursive: true, force: true }))

const silent = { warn: () => {} } as unknown as ConstructorParameters<typeof TableFile>[1]
/** As nft would list it. */
const table = (words: string): TableListing => ({ frame: words, objects: [], elements: new Map() })
const ONE = table('table one')
const kept = () => readFile(join(directory, TABLE_FILE), 'utf8')

test('the table is kept as it was last told, for root alone', async () => {
  const file = new TableFile(directory, silent)
  await file.keep(ONE)
  expect(await kept()).toBe('table one')
  expect((await stat(join(directory, TABLE_FILE))).mode & 0o777).toBe(0o600)
  await file.keep(table(''))
  expect(await kept()).toBe('')
})

test('what is not known leaves what is there', async () => {
  const file = new TableFile(directory, silent)
  await file.keep(ONE)
  await file.keep(undefined)
  expect(await kept()).toBe('table one')
})

test('the newest of those that come while one is written is what stays', async () => {
  const file = new TableFile(directory, silent)
  void file.keep(ONE)
  void file.keep(table('table two'))
  void file.keep(table('table three'))
  await file.stop()
  expect(await kept()).toBe('table three')
})

test('a failure is told once, and tried again', async () => {
  const place = join(directory, 'state')
  await writeFile(place, 'in the way')
  const told: unknown[] = []
  const log = { warn: (fact: unknown) => told.push(fact) } as unknown as ConstructorParameters<typeof TableFile>[1]
  const file = new TableFile(place, log)
  await file.keep(ONE)
  await file.keep(ONE)
  expect(told).toEqual([{ event: 'snapshot-unwritten' }])
  await rm(place)
  await file.keep(ONE)
  expect(await readFile(join(place, TABLE_FILE), 'utf8')).toBe('table one')
})
