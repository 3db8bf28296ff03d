import { closeSync, openSync, readlinkSync } from 'node:fs'
import { expect, test, vi } from 'vitest'
import { parseAddress } from '#wg/ip.ts'
import { AF_INET, AF_INET6, SO_BINDTODEVICE, SOCK_DGRAM, SOL_SOCKET } from '#wg/native/constants.ts'
import { decodeSockaddr, encodeSockaddr } from '#wg/native/sockaddr.ts'
import { DatagramSocket, type DatagramSocketOptions, SocketError } from '#wg/native/socket.ts'
import { describeInNamespaces, Namespace } from './namespace.ts'

interface Received {
  readonly text: string
  readonly from: ReturnType<typeof decodeSockaddr>
  readonly length: number
}

const LOOPBACK = { 4: parseAddress('127.0.0.1'), 6: parseAddress('::1') }

/** A UDP socket in a namespace, bound to its loopback address. */
function udp(namespace: Namespace, family: 4 | 6, options: Partial<DatagramSocketOptions> = {}): DatagramSocket {
  const netnsFd = openSync(namespace.path, 'r')
  try {
    const socket = new DatagramSocket({
      domain: family === 4 ? AF_INET : AF_INET6,
      type: SOCK_DGRAM,
      netnsFd,
      ...options,
    })
    socket.bind(encodeSockaddr({ address: LOOPBACK[family], port: 0 }))
    return socket
  } finally {
    closeSync(netnsFd)
  }
}

function receive(socket: DatagramSocket): { received: Received[]; batches: number[]; errors: SocketError[] } {
  const seen = { received: [] as Received[], batches: [] as number[], errors: [] as SocketError[] }
  socket.start({
    datagrams: batch => {
      seen.batches.push(batch.length)
      for (const { bytes, address, length } of batch)
        seen.received.push({ text: Buffer.from(bytes).toString(), from: decodeSockaddr(address), length })
    },
    failed: error => seen.errors.push(error),
  })
  return seen
}

const up = (namespace: Namespace): Namespace => {
  namespace.ip('link set lo up')
  return namespace
}

describeInNamespaces('a datagram socket', () => {
  test.each([4, 6] as const)('carries datagrams over IPv%i and says who sent them', async family => {
    using namespace = up(new Namespace())
    using a = udp(namespace, family)
    using b = udp(namespace, family)
    const { received } = receive(b)
    expect(a.send(Buffer.from('hello'), b.localAddress())).toBe(5)
    await vi.waitFor(() => expect(received).toHaveLength(1))
    expect(received[0]).toEqual({ text: 'hello', length: 5, from: decodeSockaddr(a.localAddress()) })
    expect(received[0]?.from?.address).toBe(LOOPBACK[family])
  })

  test('is made in the namespace that is asked for, and leaves the thread in its own', () => {
    using namespace = new Namespace()
    const home = readlinkSync('/proc/thread-self/ns/net')
    using _ = udp(up(namespace), 4)
    expect(readlinkSync('/proc/thread-self/ns/net')).toBe(home)
  })

  test('a descriptor that is no namespace is an error, and the thread stays at home', () => {
    const home = readlinkSync('/proc/thread-self/ns/net')
    const file = openSync('/dev/null', 'r')
    try {
      expect(() => new DatagramSocket({ domain: AF_INET, type: SOCK_DGRAM, netnsFd: file })).toThrow(
        /^open a socket: EINVAL/,
      )
    } finally {
      closeSync(file)
    }
    expect(readlinkSync('/proc/thread-self/ns/net')).toBe(home)
  })

  test('many datagrams come in few calls, in order', async () => {
    using namespace = up(new Namespace())
    using a = udp(namespace, 4)
    using b = udp(namespace, 4, { slots: 64 })
    const { received, batches } = receive(b)
    for (let n = 0; n < 100; n++) a.send(Buffer.from(String(n)), b.localAddress())
    await vi.waitFor(() => expect(received).toHaveLength(100))
    expect(received.map(({ text }) => Number(text))).toEqual(Array.from({ length: 100 }, (_, n) => n))
    expect(batches).toEqual([64, 36])
  })

  test('a datagram that is too long for its slot is cut, says so, and the next one of its kind is whole', async () => {
    using namespace = up(new Namespace())
    using a = udp(namespace, 4)
    using b = udp(namespace, 4, { slotSize: 16 })
    const { received } = receive(b)
    const long = 'x'.repeat(1000)
    for (const count of [1, 2]) {
      a.send(Buffer.from(long), b.localAddress())
      await vi.waitFor(() => expect(received).toHaveLength(count))
    }
    expect(received.map(({ text, length }) => [text.length, length])).toEqual([
      [16, 1000],
      [1000, 1000],
    ])
  })

  test('what has arrived can be taken without the event loop', () => {
    using namespace = up(new Namespace())
    using a = udp(namespace, 4)
    using b = udp(namespace, 4, { slots: 2 })
    const texts: string[] = []
    for (const text of ['one', 'two', 'three']) a.send(Buffer.from(text), b.localAddress())
    b.drain({
      datagrams: batch => texts.push(...batch.map(({ bytes }) => Buffer.from(bytes).toString())),
      failed: error => expect.unreachable(error.message),
    })
    expect(texts).toEqual(['one', 'two', 'three'])
  })

  test('bound to a device, it does not hear what comes by another', async () => {
    using namespace = up(new Namespace())
    namespace.addDevice('t0')
    using sender = udp(namespace, 4)
    using bound = udp(namespace, 4)
    using free = udp(namespace, 4)
    bound.setOption(SOL_SOCKET, SO_BINDTODEVICE, Buffer.from('t0\0'))
    const [heard, control] = [receive(bound), receive(free)]
    sender.send(Buffer.from('by lo'), bound.localAddress())
    sender.send(Buffer.from('by lo'), free.localAddress())
    await vi.waitFor(() => expect(control.received).toHaveLength(1))
    expect(heard.received).toEqual([])
  })

  test('stops, starts again, and is quiet in between', async () => {
    using namespace = up(new Namespace())
    using a = udp(namespace, 4)
    using b = udp(namespace, 4)
    const first = receive(b)
    b.stop()
    a.send(Buffer.from('later'), b.localAddress())
    await new Promise(setImmediate)
    expect(first.received).toEqual([])
    const second = receive(b)
    await vi.waitFor(() => expect(second.received).toHaveLength(1))
  })

  test('may be closed by its own listener, twice, and refuses to work after that', async () => {
    using namespace = up(new Namespace())
    using a = udp(namespace, 4)
    const b = udp(namespace, 4)
    const address = b.localAddress()
    let calls = 0
    b.start({
      datagrams: () => {
        calls++
        b.close()
        b.close()
      },
      failed: () => expect.unreachable(),
    })
    a.send(Buffer.from('1'), address)
    a.send(Buffer.from('2'), address)
    await vi.waitFor(() => expect(calls).toBe(1))
    expect(() => b.localAddress()).toThrow('the socket is closed')
  })

  test('its port is free as soon as it is closed', () => {
    using namespace = up(new Namespace())
    const first = udp(namespace, 4)
    const address = first.localAddress()
    const netnsFd = openSync(namespace.path, 'r')
    using second = new DatagramSocket({ domain: AF_INET, type: SOCK_DGRAM, netnsFd })
    closeSync(netnsFd)
    expect(() => second.bind(address)).toThrow(/EADDRINUSE/)
    first.close()
    second.bind(address)
  })

  test('what the system refuses is an error with its name', () => {
    using namespace = up(new Namespace())
    using socket = udp(namespace, 4)
    const bind = (): void => socket.bind(encodeSockaddr({ address: parseAddress('192.0.2.1'), port: 1 }))
    expect(bind).toThrow(SocketError)
    expect(bind).toThrow(/^bind a socket: EADDRNOTAVAIL/)
    expect(socket.send(Buffer.from('x'), encodeSockaddr({ address: parseAddress('192.0.2.1'), port: 1 }))).toBeLessThan(
      0,
    )
  })
})
