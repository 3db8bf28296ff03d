import { afterEach, beforeEach, expect, test, vi } from 'vitest'
import { errnoName, errnoText } from '#wg/native/errno.ts'

beforeEach(() => vi.resetModules())
afterEach(() => vi.unstubAllEnvs())

test('where the addon is missing, the error says where it was looked for and how to build it', async () => {
  vi.stubEnv('PODVEIL_NATIVE', '/nonexistent/podveil-socket.node')
  const { socketAddon } = await import('#wg/native/addon.ts')
  expect(() => socketAddon()).toThrow(
    expect.objectContaining({
      code: 'ERR_NATIVE_ADDON',
      message: expect.stringMatching(/run npm run build:native .*\/nonexistent\/podveil-socket\.node/),
    }),
  )
})

test('errors have the names that the kernel gives them', () => {
  expect([1, 11, 19, 95, 105, 524].map(errnoName)).toEqual([
    'EPERM',
    'EAGAIN',
    'ENODEV',
    'EOPNOTSUPP',
    'ENOBUFS',
    'ENOTSUPP',
  ])
  expect(errnoName(4095)).toBe('errno 4095')
  expect(errnoText(19)).toBe('no such device')
  expect(errnoText(4095)).toBe('unknown error')
})
