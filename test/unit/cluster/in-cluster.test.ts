import { rm } from 'node:fs/promises'
import { join } from 'node:path'
import { describe, expect, it } from 'vitest'
import { CredentialsError } from '#src/cluster/credentials.ts'
import { inClusterCredentials } from '#src/cluster/in-cluster.ts'
import { ManualClock } from './support/clocks.ts'
import { Scratch } from './support/scratch.ts'

const env = { KUBERNETES_SERVICE_HOST: '10.96.0.1', KUBERNETES_SERVICE_PORT: '443' }

describe('credentials of a pod', () => {
  it('are the mounted token and CA, for the server that the environment names', async () => {
    await using scratch = await Scratch.make()
    await scratch.write('token', 'secret\n')
    await scratch.write('ca.crt', 'PEM\n')
    const credentials = inClusterCredentials({ env, directory: scratch.path })
    expect(credentials.server.href).toBe('https://10.96.0.1/')
    expect(await credentials.access()).toEqual({ headers: { authorization: 'Bearer secret' }, tls: { ca: 'PEM' } })
  })

  it('name an IPv6 server in brackets', () => {
    const credentials = inClusterCredentials({ env: { ...env, KUBERNETES_SERVICE_HOST: 'fd00::1' } })
    expect(credentials.server.href).toBe('https://[fd00::1]/')
  })

  it('read a rotated token after a minute, and at once after a 401', async () => {
    await using scratch = await Scratch.make()
    await scratch.write('token', 'one')
    await scratch.write('ca.crt', 'PEM')
    const clock = new ManualClock()
    const credentials = inClusterCredentials({ env, directory: scratch.path, clock })
    const token = async () => (await credentials.access()).headers.authorization
    expect(await token()).toBe('Bearer one')
    await scratch.write('token', 'two')
    clock.advance(59_000)
    expect(await token()).toBe('Bearer one')
    clock.advance(1_000)
    expect(await token()).toBe('Bearer two')
    await scratch.write('token', 'three')
    credentials.refused()
    expect(await token()).toBe('Bearer three')
  })

  it.each([{}, { KUBERNETES_SERVICE_HOST: '10.0.0.1' }, { ...env, KUBERNETES_SERVICE_PORT: '443/x' }])(
    'are refused outside of a pod, with what to do (%j)',
    environment => {
      expect(() => inClusterCredentials({ env: environment })).toThrow(CredentialsError)
      expect(() => inClusterCredentials({ env: environment })).toThrow(/--kubeconfig/)
    },
  )

  it('name the file that is missing or empty', async () => {
    await using scratch = await Scratch.make()
    await scratch.write('token', '\n')
    await scratch.write('ca.crt', 'PEM')
    const credentials = inClusterCredentials({ env, directory: scratch.path })
    const token = join(scratch.path, 'token')
    await expect(credentials.access()).rejects.toThrow(`${token}: is empty`)
    await rm(token)
    await expect(credentials.access()).rejects.toMatchObject({
      code: 'ERR_KUBERNETES_CREDENTIALS',
      source: token,
      message: expect.stringContaining('is the service account mounted'),
    })
  })
})
