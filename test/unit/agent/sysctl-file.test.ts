import { mkdirSync, readdirSync, readFileSync, writeFileSync } from 'node:fs'
import { dirname, join } from 'node:path'
import { afterAll, expect, test, vi } from 'vitest'
import { Scratch } from '../cluster/support/scratch.ts'

const root = await Scratch.make()
afterAll(() => root[Symbol.asyncDispose]())
vi.stubEnv('PODVEIL_PROC_SYS', root.path)
// Where the sysctls are is read once, and another file of this process may have had it read: the machine's own are no test's.
vi.resetModules()
const { SysctlFile, VALID_MARK } = await import('#src/agent/sysctl-file.ts')

const path = join(root.path, VALID_MARK.sysctl)
const marks = () => readFileSync(path, 'utf8')
const setMarks = (value: string) => {
  mkdirSync(dirname(path), { recursive: true })
  writeFileSync(path, value)
}

test('what the agent set is put back to what it was, also by one that comes later', async () => {
  await using directory = await Scratch.make()
  setMarks('0\n')
  expect(await new SysctlFile(directory.path).set(VALID_MARK)).toBe('0')
  expect(marks()).toBe('1')
  expect(await new SysctlFile(directory.path).set(VALID_MARK)).toBeUndefined()
  expect(await new SysctlFile(directory.path).putBack(VALID_MARK)).toBe('0')
  expect(marks()).toBe('0')
  expect(readdirSync(directory.path)).toEqual([])
})

test('what was so already stays so', async () => {
  await using directory = await Scratch.make()
  setMarks('1\n')
  expect(await new SysctlFile(directory.path).set(VALID_MARK)).toBeUndefined()
  expect(await new SysctlFile(directory.path).putBack(VALID_MARK)).toBeUndefined()
  expect(marks()).toBe('1\n')
})

test('what somebody else has changed since is his', async () => {
  await using directory = await Scratch.make()
  setMarks('0')
  await new SysctlFile(directory.path).set(VALID_MARK)
  setMarks('2')
  expect(await new SysctlFile(directory.path).putBack(VALID_MARK)).toBeUndefined()
  expect(marks()).toBe('2')
})

test('what was repaired meanwhile is put back to what it was at first', async () => {
  await using directory = await Scratch.make()
  setMarks('0')
  await new SysctlFile(directory.path).set(VALID_MARK)
  setMarks('2')
  expect(await new SysctlFile(directory.path).set(VALID_MARK)).toBe('2')
  expect(await new SysctlFile(directory.path).putBack(VALID_MARK)).toBe('0')
})

test.each(['{"boot":"of yesterday","before":{"net/ipv4/conf/all/src_valid_mark":"0"}}', '{', '{"before":7}', ''])(
  'what was remembered before the machine booted, or is damaged, counts for nothing: %s',
  async text => {
    await using directory = await Scratch.make()
    await directory.write('sysctls.json', text)
    setMarks('1')
    expect(await new SysctlFile(directory.path).putBack(VALID_MARK)).toBeUndefined()
    expect(marks()).toBe('1')
  },
)
