import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterEach, beforeEach, describe, expect, test } from 'vitest'
import { liveProcess, startDetached, startTimeIn, stopProcess } from '#src/lab/processes.ts'
import { waitUntil } from '#src/lab/wait.ts'

let directory = ''
let recordFile = ''
let logFile = ''

beforeEach(() => {
  directory = mkdtempSync(join(tmpdir(), 'podveil-processes-'))
  recordFile = join(directory, 'process.json')
  logFile = join(directory, 'process.log')
})

afterEach(async () => {
  await stopProcess(recordFile, 'SIGKILL')
  rmSync(directory, { recursive: true })
})

describe('a process of the lab', () => {
  test('is known by its record while it runs, and no longer', async () => {
    const started = await startDetached(['sleep', '60'], { recordFile, logFile })
    expect(liveProcess(recordFile)).toEqual(started)
    await stopProcess(recordFile)
    expect(liveProcess(recordFile)).toBeUndefined()
  })

  test('is not taken for a later one that was given its number', async () => {
    const { pid } = await startDetached(['sleep', '60'], { recordFile, logFile })
    const record = readFileSync(recordFile, 'utf8')
    writeFileSync(recordFile, JSON.stringify({ pid, startTime: '1' }))
    expect(liveProcess(recordFile)).toBeUndefined()
    await stopProcess(recordFile, 'SIGKILL')
    writeFileSync(recordFile, record)
    expect(liveProcess(recordFile)?.pid).toBe(pid)
  })

  test('that does not mind SIGTERM is ended all the same', async () => {
    await startDetached(['sh', '-c', 'trap "" TERM; echo deaf; while :; do sleep 0.05; done'], { recordFile, logFile })
    await waitUntil(() => readFileSync(logFile, 'utf8').includes('deaf'), 5_000, 'the trap')
    await stopProcess(recordFile, 'SIGTERM', 100)
    expect(liveProcess(recordFile)).toBeUndefined()
  })

  test('that cannot be started is an error that names it', async () => {
    await expect(startDetached(['podveil-no-such-program'], { recordFile, logFile })).rejects.toMatchObject({
      code: 'ERR_LAB_PROCESS',
      message: expect.stringContaining('podveil-no-such-program'),
    })
  })

  test.each(['', '{}', '[]', 'null', '{"pid":1,"startTime":"1"}', '{"pid":"2","startTime":"1"}'])(
    'is nobody when its record is %j',
    text => {
      writeFileSync(recordFile, text)
      expect(liveProcess(recordFile)).toBeUndefined()
    },
  )

  test('sees nothing of what its starter has set for itself', async () => {
    process.env.PODVEIL_TEST_ONLY = 'secret'
    await startDetached(['sh', '-c', 'env; sleep 60'], { recordFile, logFile, env: { GIVEN: 'yes' } })
    delete process.env.PODVEIL_TEST_ONLY
    await waitUntil(() => readFileSync(logFile, 'utf8').includes('GIVEN=yes'), 5_000, 'its environment')
    expect(readFileSync(logFile, 'utf8')).not.toContain('PODVEIL_TEST_ONLY')
  })
})

describe('a process has ended', () => {
  /** As proc_pid_stat(5) has one. */
  const stat = (state: string, threads: number): string =>
    `81 (a (b) c) ${state} 1 81 81 0 -1 4194304 79 0 0 0 0 0 0 0 20 0 ${threads} 0 2703286 430080 33 18446744073709551615\n`

  test.each([
    ['while it runs', 'S', 11, '2703286'],
    ['while threads of a killed one are on their way out, and its ports taken', 'Z', 2, '2703286'],
    ['when it is only not collected yet', 'Z', 1, undefined],
    ['when it is dead', 'X', 1, undefined],
  ])('or not: %s', (_, state, threads, startTime) => {
    expect(startTimeIn(stat(state, threads))).toBe(startTime)
  })
})
