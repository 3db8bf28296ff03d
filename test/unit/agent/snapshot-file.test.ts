import { mkdtemp, readdir, readFile, rm, stat, symlink, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { expect, test } from 'vitest'
import { SnapshotFile } from '#src/agent/snapshot-file.ts'
import { recordingLogger } from '../cluster/support/recording-logger.ts'
import { snapshot } from '../status/support/snapshots.ts'

async function scratch(): Promise<AsyncDisposable & { path: string }> {
  const path = await mkdtemp(join(tmpdir(), 'podveil-snapshot-'))
  return { path, [Symbol.asyncDispose]: () => rm(path, { recursive: true }) }
}

test('the snapshot is written whole, for root alone, and nothing else is left', async () => {
  await using directory = await scratch()
  const file = new SnapshotFile(join(directory.path, 'state'), recordingLogger())
  file.offer(() => snapshot())
  await file.stop()
  const state = join(directory.path, 'state')
  expect(JSON.parse(await readFile(join(state, 'status.json'), 'utf8'))).toEqual(snapshot())
  expect((await stat(join(state, 'status.json'))).mode & 0o777).toBe(0o600)
  expect(await readdir(state)).toEqual(['status.json'])
})

test('of many offers the last one counts, and is made only when it is written', async () => {
  await using directory = await scratch()
  const file = new SnapshotFile(directory.path, recordingLogger())
  let made = 0
  for (const node of ['a', 'b', 'c'])
    file.offer(() => {
      made++
      return snapshot({ node })
    })
  await file.stop()
  expect(made).toBe(1)
  expect(JSON.parse(await readFile(join(directory.path, 'status.json'), 'utf8')).node).toBe('c')
})

test('what says the same as before is not written again', async () => {
  await using directory = await scratch()
  const path = join(directory.path, 'status.json')
  const written = async (time: string, node = 'a') => {
    file.offer(() => snapshot({ node, time }))
    await file.stop()
    return JSON.parse(await readFile(path, 'utf8')).time
  }
  const file = new SnapshotFile(directory.path, recordingLogger())
  expect(await written('2026-01-01T00:00:01.000Z')).toBe('2026-01-01T00:00:01.000Z')
  expect(await written('2026-01-01T00:00:02.000Z')).toBe('2026-01-01T00:00:01.000Z')
  expect(await written('2026-01-01T00:00:03.000Z', 'b')).toBe('2026-01-01T00:00:03.000Z')
})

test('a first one that takes long holds the next one back for seconds, not for a minute', async () => {
  await using directory = await scratch()
  const file = new SnapshotFile(directory.path, recordingLogger())
  const node = async () => JSON.parse(await readFile(join(directory.path, 'status.json'), 'utf8')).node
  file.offer(() => {
    const until = performance.now() + 100
    while (performance.now() < until);
    return snapshot({ node: 'a' })
  })
  await expect.poll(node, { timeout: 10_000 }).toBe('a')
  file.offer(() => snapshot({ node: 'b' }))
  await expect.poll(node, { timeout: 20_000 }).toBe('b')
  await file.stop()
}, 40_000)

test('a link in its place is not written through', async () => {
  await using directory = await scratch()
  const victim = join(directory.path, 'victim')
  await symlink(victim, join(directory.path, 'status.json.tmp'))
  const file = new SnapshotFile(directory.path, recordingLogger())
  file.offer(() => snapshot())
  await file.stop()
  await expect(stat(victim)).rejects.toMatchObject({ code: 'ENOENT' })
})

test('a directory that cannot be written to is told, and disturbs nobody', async () => {
  await using directory = await scratch()
  await writeFile(join(directory.path, 'file'), '')
  const logger = recordingLogger()
  const file = new SnapshotFile(join(directory.path, 'file'), logger)
  file.offer(() => snapshot())
  await file.stop()
  expect(logger.lines).toEqual([expect.stringContaining('warn cannot write status.json')])
})
