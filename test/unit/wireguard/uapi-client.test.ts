import { spawnSync } from 'node:child_process'
import { statSync } from 'node:fs'
import { chmod, mkdtemp, rm } from 'node:fs/promises'
import { createServer, type Server, type Socket } from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterEach, beforeEach, describe, expect, it } from 'vitest'
import { PrivateKey } from '#keys/private-key.ts'
import { deviceError } from '#wg/device/errors.ts'
import { parseCidr } from '#wg/ip.ts'
import { UapiClient, type UapiClientOptions } from '#wg/uapi/client.ts'
import { UapiError, UapiFormatError } from '#wg/uapi/errors.ts'

let directory: string
let server: Server | undefined
let received: string[]

beforeEach(async () => {
  directory = await mkdtemp(join(tmpdir(), 'podveil-uapi-'))
  received = []
})

afterEach(async () => {
  server?.close()
  server = undefined
  await rm(directory, { recursive: true, force: true })
})

/** A process that serves wg0 in this way. */
async function serve(answer: (socket: Socket, operation: string) => void): Promise<void> {
  const { promise, resolve } = Promise.withResolvers<void>()
  server = createServer(socket => {
    let operation = ''
    socket.on('error', () => {})
    socket.on('data', chunk => {
      operation += chunk.toString('latin1')
      if (!operation.endsWith('\n\n')) return
      const whole = operation
      operation = ''
      received.push(whole)
      answer(socket, whole)
    })
  }).listen(join(directory, 'wg0.sock'), resolve)
  await promise
}

const client = (options: UapiClientOptions = {}) => new UapiClient({ directory, ...options })

/** What a process leaves behind that had no time to clean up. */
function leaveSocket(path: string): void {
  const script = 'require("net").createServer().listen(process.argv[1], () => process.kill(process.pid, "SIGKILL"))'
  spawnSync(process.execPath, ['-e', script, path])
  expect(statSync(path).isSocket()).toBe(true)
}

async function failure(action: Promise<unknown>): Promise<UapiError> {
  const error = await action.catch((reason: unknown) => reason)
  if (!(error instanceof UapiError)) throw new Error(`not a UapiError: ${String(error)}`)
  return error
}

describe('a client of the userspace protocol', () => {
  it('reads a device', async () => {
    await serve(socket => socket.end('listen_port=51820\nerrno=0\n\n'))
    expect(await client().get('wg0')).toMatchObject({ name: 'wg0', listenPort: 51820 })
    expect(received).toEqual(['get=1\n\n'])
  })

  it('does not wait for the process to close the connection', async () => {
    await serve(socket => socket.write('errno=0\n\n'))
    expect(await client().get('wg0')).toBeDefined()
  })

  it('asks by the same connection again where the process keeps it', async () => {
    const sockets = new Set<Socket>()
    await serve(socket => {
      sockets.add(socket)
      socket.write('errno=0\n\n')
    })
    const one = client()
    for (let turn = 0; turn < 3; turn++) await one.get('wg0')
    await one.set('wg0', { fwmark: 1 })
    expect(sockets.size).toBe(1)
  })

  it('asks two things at a time by two connections', async () => {
    await serve((socket, operation) => {
      if (operation.startsWith('get')) setTimeout(() => socket.write('listen_port=7\nerrno=0\n\n'), 20)
      else socket.write('errno=0\n\n')
    })
    const one = client()
    await one.set('wg0', { fwmark: 1 })
    const [device] = await Promise.all([one.get('wg0'), one.set('wg0', { fwmark: 1 })])
    expect(device?.listenPort).toBe(7)
  })

  it('does not ask again by a connection that has refused something, or was late', async () => {
    let asked = 0
    const sockets = new Set<Socket>()
    await serve(socket => {
      sockets.add(socket)
      asked++
      if (asked === 1) socket.write('errno=-22\n\n')
      else if (asked === 2) setTimeout(() => socket.write('listen_port=7\nerrno=0\n\n'), 80)
      else socket.write('listen_port=9\nerrno=0\n\n')
    })
    const one = client({ timeout: 40 })
    expect((await failure(one.set('wg0', { fwmark: 1 }))).errnoName).toBe('EINVAL')
    expect((await failure(one.get('wg0'))).errnoName).toBe('ETIMEDOUT')
    expect((await one.get('wg0'))?.listenPort).toBe(9)
    expect(sockets.size).toBe(3)
  })

  it.each([
    ['closed the connection', (socket: Socket) => socket.end()],
    ['broken it off', (socket: Socket) => socket.destroy()],
    ['gone on, and taken its socket away', () => {}],
    ['said something that nobody had asked for', (socket: Socket) => socket.write('listen_port=1\nerrno=0\n\n')],
  ])('asks the process that is there now where the one before has %s meanwhile', async (_, then) => {
    const held: Socket[] = []
    await serve(socket => {
      held.push(socket)
      socket.write('errno=0\n\n')
    })
    const one = client()
    await one.get('wg0')
    const before = server
    await rm(join(directory, 'wg0.sock'), { force: true })
    await serve(socket => socket.write('listen_port=9\nerrno=0\n\n'))
    for (const socket of held) then(socket)
    await expect.poll(async () => (await one.get('wg0'))?.listenPort).toBe(9)
    before?.close()
  })

  it('finds no device where its process has ended since it was asked last', async () => {
    const held: Socket[] = []
    await serve(socket => {
      held.push(socket)
      socket.write('errno=0\n\n')
    })
    const one = client()
    expect(await one.get('wg0')).toBeDefined()
    server?.close()
    for (const socket of held) socket.destroy()
    expect(await one.get('wg0')).toBeUndefined()
  })

  it('reads an answer that comes byte by byte', async () => {
    await serve(socket => {
      const next = (rest: string): void => {
        if (rest === '') return
        socket.write(rest.slice(0, 1), () => setImmediate(next, rest.slice(1)))
      }
      next('listen_port=51820\nerrno=0\n\n')
    })
    expect((await client().get('wg0'))?.listenPort).toBe(51820)
  })

  it('finds no device where there is no socket, no directory, or a socket that a dead process has left', async () => {
    expect(await client().get('wg0')).toBeUndefined()
    expect(await client({ directory: join(directory, 'none') }).get('wg0')).toBeUndefined()
    leaveSocket(join(directory, 'wg0.sock'))
    expect(await client().get('wg0')).toBeUndefined()
  })

  it('writes a long change in several operations, one after the other', async () => {
    await serve(socket => socket.end('errno=0\n\n'))
    const publicKey = PrivateKey.generate().publicKey()
    const addAllowedIps = Array.from({ length: 6_000 }, (_, i) => parseCidr(`10.${i >> 8}.${i & 255}.0/24`))
    await client().set('wg0', { fwmark: 7, peers: [{ kind: 'set', publicKey, addAllowedIps }] })
    expect(received.length).toBeGreaterThan(1)
    expect(received.map(operation => operation.includes('fwmark=7'))).toEqual(received.map((_, i) => i === 0))
  })

  it('stops at the first operation that is refused and says by which number', async () => {
    await serve(socket => socket.end('errno=-98\n\n'))
    const error = await failure(client().set('wg0', { listenPort: 51820 }))
    expect(error).toMatchObject({ errnoName: 'EADDRINUSE', code: 'ERR_UAPI' })
    expect(error.message).toBe('configure wg0: EADDRINUSE: address already in use')
  })

  it('says that nobody serves a device that is to be written', async () => {
    expect((await failure(client().set('wg0', { fwmark: 1 }))).errnoName).toBe('ENODEV')
  })

  it('gives up on a process that does not answer', async () => {
    await serve(() => {})
    const error = await failure(client({ timeout: 50 }).get('wg0'))
    expect(error.errnoName).toBe('ETIMEDOUT')
    expect(error.message).toContain('no answer within 50 ms')
  })

  it('gives up on an answer without end', async () => {
    await serve(socket => {
      const more = (): void => {
        if (!socket.destroyed) socket.write('x=1\n'.repeat(1_000), more)
      }
      more()
    })
    expect((await failure(client({ maxAnswer: 100_000 }).get('wg0'))).errnoName).toBe('EMSGSIZE')
  })

  it('tells a process that hangs up from one that breaks off', async () => {
    await serve(socket => socket.end())
    expect((await failure(client().get('wg0'))).errnoName).toBe('EPIPE')
    server?.close()
    await serve(socket => socket.end('listen_port=1\n'))
    await expect(client().get('wg0')).rejects.toThrow(UapiFormatError)
  })

  it('does not hand a key to a socket that anybody could have put there', async () => {
    await serve(socket => socket.end('errno=0\n\n'))
    await chmod(directory, 0o777)
    const error = await client()
      .set('wg0', { privateKey: PrivateKey.generate() })
      .catch((thrown: unknown) => deviceError(thrown, 'wg0'))
    expect(error).toMatchObject({ code: 'ERR_WIREGUARD_DEVICE', reason: 'not-permitted', device: 'wg0' })
    expect(String(error)).toContain(`others can write to ${directory}`)
    expect(String(error)).toContain(`run "chmod go-w ${directory}"`)
    expect(received).toEqual([])
  })
})
