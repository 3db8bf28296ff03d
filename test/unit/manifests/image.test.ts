import { spawnSync } from 'node:child_process'
import { existsSync, mkdtempSync, readdirSync, readFileSync, rmSync, statSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { ROOT, read } from '../docs/support.ts'

interface Bill {
  readonly components: readonly {
    readonly name: string
    readonly version: string
    readonly purl: string
    readonly hashes: readonly object[]
  }[]
}

const NODE = join(ROOT, 'node_modules/.bin/node')

/** Instructions of a Dockerfile, by stage. */
function stages(): string[][] {
  const lines = read('Dockerfile')
    .replaceAll(/\\\n/g, ' ')
    .split('\n')
    .filter(line => /^[A-Z]/.test(line))
  const found: string[][] = []
  for (const line of lines) {
    if (line.startsWith('FROM ')) found.push([])
    found.at(-1)?.push(line)
  }
  return found
}

describe('the Dockerfile', () => {
  const last = stages().at(-1)?.join('\n') ?? ''

  test('pins the base of every stage to one version', () => {
    expect(read('Dockerfile')).toMatch(/^ARG BASE=debian:\d+\.\d+-slim$/m)
    for (const [from] of stages()) expect(from).toMatch(/^FROM \$\{BASE\}( AS \w+)?$/)
  })

  test('ends with what the agent runs, and without what it was built with', () => {
    for (const name of ['nftables', 'wireguard-go']) expect(last).toMatch(new RegExp(`\\b${name}\\b`))
    expect(last).not.toMatch(/\b(gcc|cc|npm|libc6-dev|make|node_modules)\b/)
    expect(last).toContain('COPY --from=build /out /')
  })

  test('copies only what .dockerignore lets through', () => {
    const passes = read('.dockerignore').split('\n')
    expect(passes).toContain('*')
    for (const path of [
      'src',
      'wg',
      'keys',
      'package.json',
      'package-lock.json',
      'scripts/bundle.mjs',
      'scripts/podveil',
      'scripts/sbom.mjs',
    ])
      expect(passes).toContain(`!${path}`)
  })
})

describe('the bundle', () => {
  const directory = mkdtempSync(join(tmpdir(), 'podveil-bundle-'))
  const run = (...argv: readonly string[]) =>
    spawnSync(join(directory, 'podveil'), argv, {
      // Nothing of the checkout is in reach.
      cwd: '/',
      env: { PATH: '/usr/bin:/bin', PODVEIL_NODE: NODE },
      encoding: 'utf8',
    })

  beforeAll(() => {
    // Built from the sources as they are: the script itself fails when the agent would load too much.
    const made = spawnSync(NODE, [join(ROOT, 'scripts/bundle.mjs'), '--out', directory], { encoding: 'utf8' })
    expect(made).toMatchObject({ status: 0, stderr: '' })
  }, 60_000)
  afterAll(() => rmSync(directory, { recursive: true, force: true }))

  test('has the agent, with the flags of the sources', () => {
    const { status, stdout } = run('agent', '--help')
    expect(status).toBe(0)
    for (const flag of ['--node-name', '--dataplane', '--state-dir', '--health-port']) expect(stdout).toContain(flag)
  })

  test('has the socket addon beside it', () => {
    expect(existsSync(join(directory, 'build/podveil-socket.node'))).toBe(true)
  })

  test('lists what is in it, and the Node.js that runs it, each as the lock file has it', () => {
    const parse = (path: string) => JSON.parse(readFileSync(path, 'utf8'))
    const bill = parse(join(directory, 'sbom.cdx.json')) as Bill
    expect(bill).toMatchObject({
      bomFormat: 'CycloneDX',
      specVersion: '1.6',
      metadata: { component: { name: 'podveil' } },
    })
    const { packages } = parse(join(ROOT, 'package-lock.json')) as { packages: Record<string, { version: string }> }
    const names = bill.components.map(({ name }) => name)
    for (const name of ['commander', 'pino', `node-linux-${process.arch}`]) expect(names).toContain(name)
    // Tools do not go into the image.
    for (const name of ['vitest', 'esbuild', 'typescript']) expect(names).not.toContain(name)
    expect(new Set(names).size).toBe(names.length)
    for (const { name, version, purl, hashes } of bill.components) {
      expect(version).toBe(packages[`node_modules/${name}`]?.version)
      expect(purl).toBe(`pkg:npm/${name.replace('@', '%40')}@${version}`)
      expect(hashes[0]).toMatchObject({ alg: 'SHA-512', content: expect.stringMatching(/^[0-9a-f]{128}$/) })
    }
  })

  test('says in one line that the lab is not in it', () => {
    const { status, stderr } = run('lab', 'status')
    expect(status).toBe(1)
    expect(stderr).toMatch(/^podveil: the lab is not part of this bundle: .*\n$/)
  })

  test('starts the agent without the Kubernetes client library', () => {
    // It is the one chunk of more than a megabyte.
    const large = readdirSync(directory).filter(
      file => file.endsWith('.mjs') && statSync(join(directory, file)).size > 1e6,
    )
    expect(large).toHaveLength(1)
    for (const file of large) rmSync(join(directory, file))
    const { status, stderr } = run('agent', '--node-name', 'node-1')
    expect(status).toBe(1)
    expect(stderr).toBe(
      'podveil: KUBERNETES_SERVICE_HOST: not set: this is not a pod; give --kubeconfig or KUBECONFIG\n',
    )
  })
})
