import { mkdtempSync, readdirSync, readFileSync, rmSync, statSync } from 'node:fs'
import { type FileHandle, open } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterEach, beforeEach, expect, test, vi } from 'vitest'
import { replaceReport, replaceStateFile } from '#src/agent/state-file.ts'

let directory: string
beforeEach(() => {
  directory = mkdtempSync(join(tmpdir(), 'podveil-state-'))
})
afterEach(() => {
  vi.restoreAllMocks()
  rmSync(directory, { recursive: true })
})

/** What the directory holds each time that something is forced to the disk. */
async function atEachSync(): Promise<Record<string, string>[]> {
  const seen: Record<string, string>[] = []
  await using handle = await open(directory)
  const prototype = Object.getPrototypeOf(handle) as FileHandle
  vi.spyOn(prototype, 'sync').mockImplementation(async () => {
    seen.push(
      Object.fromEntries(readdirSync(directory).map(name => [name, readFileSync(join(directory, name), 'utf8')])),
    )
  })
  return seen
}

test('what the power may not take is on disk before it has its name, and the name as well before it counts as written', async () => {
  const path = join(directory, 'guard.nft')
  await replaceStateFile(path, 'old')
  const seen = await atEachSync()
  await replaceStateFile(path, 'new')
  expect(seen).toEqual([{ 'guard.nft': 'old', 'guard.nft.tmp': 'new' }, { 'guard.nft': 'new' }])
  expect(statSync(path).mode & 0o777).toBe(0o600)
})

test('a report does not wait for the disk', async () => {
  const path = join(directory, 'status.json')
  const seen = await atEachSync()
  await replaceReport(path, 'new')
  expect(seen).toEqual([])
  expect(readFileSync(path, 'utf8')).toBe('new')
})
