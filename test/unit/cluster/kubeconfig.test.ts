import { delimiter } from 'node:path'
import { beforeAll, describe, expect, it } from 'vitest'
import { stringify } from 'yaml'
import { CredentialsError } from '#src/cluster/credentials.ts'
import { kubeconfigCredentials } from '#src/cluster/kubeconfig.ts'
import { ManualClock } from './support/clocks.ts'
import { Scratch } from './support/scratch.ts'

interface Parts {
  readonly cluster?: object
  readonly user?: object
  readonly name?: string
  readonly current?: string
}

const kubeconfig = ({ cluster = {}, user = {}, name = 'main', current = name }: Parts = {}): string =>
  stringify({
    apiVersion: 'v1',
    kind: 'Config',
    'current-context': current,
    clusters: [{ name, cluster: { server: `https://${name}.example:6443/base`, ...cluster } }],
    users: [{ name, user }],
    contexts: [{ name, context: { cluster: name, user: name } }],
  })

const base64 = (text: string) => Buffer.from(text).toString('base64')

/** Credentials of one kubeconfig in a directory of its own. */
async function load(scratch: Scratch, parts: Parts, env = {}, clock = new ManualClock()) {
  const file = await scratch.write('config', kubeconfig(parts))
  return kubeconfigCredentials(file, { env, clock })
}

// The client library takes its time to load the first time.
beforeAll(async () => {
  await import('@kubernetes/client-node')
}, 60_000)

describe('credentials of a kubeconfig', () => {
  it('are those of its current context: a server, its CA, a token', async () => {
    await using scratch = await Scratch.make()
    const credentials = await load(scratch, {
      cluster: { 'certificate-authority-data': base64('CA') },
      user: { token: 'secret' },
    })
    expect(credentials.server.href).toBe('https://main.example:6443/base')
    expect(credentials.proxy).toBeUndefined()
    expect(await credentials.access()).toEqual({ headers: { authorization: 'Bearer secret' }, tls: { ca: 'CA' } })
  })

  it('are certificates of files beside it, read again when they are renewed', async () => {
    await using scratch = await Scratch.make()
    await scratch.write('ca.pem', 'CA')
    await scratch.write('cert.pem', 'CERT')
    await scratch.write('key.pem', 'KEY')
    const clock = new ManualClock()
    const parts = {
      cluster: { 'certificate-authority': 'ca.pem', 'tls-server-name': 'kubernetes' },
      user: { 'client-certificate': 'cert.pem', 'client-key': 'key.pem' },
    }
    const credentials = await load(scratch, parts, {}, clock)
    expect((await credentials.access()).tls).toEqual({ ca: 'CA', cert: 'CERT', key: 'KEY', servername: 'kubernetes' })
    await scratch.write('cert.pem', 'RENEWED')
    clock.advance(60_000)
    expect((await credentials.access()).tls.cert).toBe('RENEWED')
  })

  it.each<[string, object, Record<string, string>]>([
    ['a user name and password', { username: 'u', password: 'p' }, { authorization: `Basic ${base64('u:p')}` }],
    ['a token file', { tokenFile: 'token' }, { authorization: 'Bearer from-file' }],
    ['impersonation', { as: 'somebody', token: 't' }, { authorization: 'Bearer t', 'impersonate-user': 'somebody' }],
    ['nothing', {}, {}],
    [
      'an exec plugin',
      {
        exec: {
          apiVersion: 'client.authentication.k8s.io/v1',
          command: process.execPath,
          args: ['-e', 'console.log(JSON.stringify({ status: { token: "from-helper" } }))'],
        },
      },
      { authorization: 'Bearer from-helper' },
    ],
  ])('may be %s', async (_name, user, headers) => {
    await using scratch = await Scratch.make()
    await scratch.write('token', 'from-file\n')
    const credentials = await load(scratch, { user })
    expect((await credentials.access()).headers).toEqual(headers)
  })

  it('need no user, and keep the CA all the same', async () => {
    await using scratch = await Scratch.make()
    const text = kubeconfig({ cluster: { 'certificate-authority-data': base64('CA') } }).replace(/^ +user: main\n/m, '')
    const credentials = await kubeconfigCredentials(await scratch.write('config', text), { env: {} })
    expect(await credentials.access()).toEqual({ headers: {}, tls: { ca: 'CA' } })
  })

  it('do not verify the server only where it is said so', async () => {
    await using scratch = await Scratch.make()
    const credentials = await load(scratch, { cluster: { 'insecure-skip-tls-verify': true } })
    expect((await credentials.access()).tls).toEqual({ rejectUnauthorized: false })
  })

  it('are read anew from the file after a 401', async () => {
    await using scratch = await Scratch.make()
    const credentials = await load(scratch, { user: { token: 'old' } })
    await credentials.access()
    await scratch.write('config', kubeconfig({ user: { token: 'new' } }))
    expect((await credentials.access()).headers.authorization).toBe('Bearer old')
    credentials.refused()
    expect((await credentials.access()).headers.authorization).toBe('Bearer new')
  })

  it('are merged from several files, of which the first to name a thing wins and missing ones do not matter', async () => {
    await using scratch = await Scratch.make()
    const first = await scratch.write('one', kubeconfig({ name: 'a', current: '', user: { token: 'first' } }))
    const second = await scratch.write('two', kubeconfig({ name: 'a', user: { token: 'second' } }))
    const paths = [`${scratch.path}/missing`, first, second].join(delimiter)
    const credentials = await kubeconfigCredentials(paths, { env: {} })
    expect((await credentials.access()).headers.authorization).toBe('Bearer first')
  })

  it('go through the proxy of the cluster, else of the environment', async () => {
    await using scratch = await Scratch.make()
    const env = { HTTPS_PROXY: 'http://proxy:3128' }
    expect((await load(scratch, {}, env)).proxy).toBe('http://proxy:3128')
    expect((await load(scratch, {}, { ...env, NO_PROXY: 'localhost,.example' })).proxy).toBeUndefined()
    expect((await load(scratch, { cluster: { 'proxy-url': 'http://other:1' } }, env)).proxy).toBe('http://other:1')
  })
})

describe('a kubeconfig that cannot be used', () => {
  it.each<[string, string, RegExp]>([
    ['is no YAML', 'users: [\n token: "hunter2', /config: is not a kubeconfig.*kubectl config view$/],
    ['is YAML of another kind', '- hunter2', /is not a kubeconfig/],
    ['is empty', '', /is not a kubeconfig/],
    ['has a nameless cluster', 'clusters: [{ cluster: {} }]', /clusters\[0\]\.name is missing/],
    ['has no current context', kubeconfig({ current: '' }), /has no current-context; set one with kubectl/],
    [
      'has a current context that is not there',
      kubeconfig({ current: 'x' }),
      /current-context is "x", and there is no such/,
    ],
    [
      'names a cluster that is not there',
      kubeconfig().replace('cluster: main', 'cluster: x'),
      /names cluster "x", which it lacks/,
    ],
    ['names a user that is not there', kubeconfig().replace('user: main', 'user: x'), /names user "x", which it lacks/],
    ['has a server that is no URL', kubeconfig({ cluster: { server: 'main:6443' } }), /is not an http or https URL/],
    ['has a SOCKS proxy', kubeconfig({ cluster: { 'proxy-url': 'socks5://x' } }), /is not http or https/],
  ])('says so when it %s, in one line that does not repeat it', async (_name, text, expected) => {
    await using scratch = await Scratch.make()
    const file = await scratch.write('config', text)
    const error = await kubeconfigCredentials(file, { env: {} }).then(
      () => undefined,
      (reason: unknown) => reason,
    )
    expect(error).toBeInstanceOf(CredentialsError)
    expect(String(error)).toMatch(expected)
    expect(String(error)).toContain(file)
    expect(String(error)).not.toMatch(/hunter2|\n/)
  })

  it('is named when it is missing', async () => {
    await using scratch = await Scratch.make()
    const file = `${scratch.path}/none`
    await expect(kubeconfigCredentials(file)).rejects.toThrow(`${file}: cannot be read`)
    await expect(kubeconfigCredentials(`${file}${delimiter}${file}2`)).rejects.toThrow('no such kubeconfig')
  })

  it('says that its login helper fails, and not what that printed', async () => {
    await using scratch = await Scratch.make()
    const args = ['-e', 'console.error("token hunter2"); process.exit(1)']
    const exec = { apiVersion: 'client.authentication.k8s.io/v1', command: process.execPath, args }
    const credentials = await load(scratch, { user: { exec } })
    const error = await credentials.access().then(
      () => undefined,
      (reason: unknown) => reason,
    )
    expect(String(error)).toContain('its login helper failed; run kubectl get nodes to see why')
    expect(String(error)).not.toContain('hunter2')
  })

  it('says so when a file that it names is gone', async () => {
    await using scratch = await Scratch.make()
    const credentials = await load(scratch, { user: { 'client-certificate': 'gone.pem' } })
    await expect(credentials.access()).rejects.toThrow(/gone\.pem/)
  })
})
