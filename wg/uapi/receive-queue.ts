import { readdir, readFile, readlink } from 'node:fs/promises'
import { SO_RCVBUFFORCE, SOL_SOCKET } from '../native/constants.ts'
import { setOptionOf } from '../native/socket.ts'

/** Bytes; what wireguard-go asks for itself since 2023, and the kernel doubles. */
const WANTED = 7 << 20
/** Listening, in the flags of /proc/net/unix (__SO_ACCEPTCON of net.h). */
const ACCEPTS = 0x10000

/**
 * The UDP sockets of a process that serves a device hold some 200 packets as distributions ship it: a burst that comes
 * while it waits for a processor is lost. This makes them hold thousands, each socket once.
 *
 * A favour, and never an error: it needs the process in sight and the right to trace it, which an agent has over what it
 * started itself, and over nothing in another container.
 */
export class ReceiveQueues {
  /** Inodes of the sockets that were there last, by path. */
  readonly #seen = new Map<string, readonly string[]>()

  /**
   * @param path of the socket that the process listens on for its device
   * @param port of the device: its UDP sockets are made anew when the port changes and when the link goes up
   */
  async enlarge(path: string, port: number): Promise<void> {
    const sockets = await udpSockets(port).catch(() => [])
    const seen = this.#seen.get(path) ?? []
    this.#seen.set(path, sockets)
    const fresh = sockets.filter(inode => !seen.includes(inode))
    if (fresh.length === 0) return
    try {
      const listener = await unixListener(path)
      if (listener !== undefined) await enlargeOf(listener, new Set(fresh))
    } catch {
      // Not ours to change: it stays as it is, for this socket for good.
    }
  }
}

async function enlargeOf(listener: string, sockets: ReadonlySet<string>): Promise<void> {
  const processes = (await readdir('/proc')).map(Number).filter(pid => pid > 0)
  // What was started last is found first.
  for (const pid of processes.toReversed()) {
    const descriptors = await socketsOf(pid)
    if (!descriptors.some(({ inode }) => inode === listener)) continue
    for (const { descriptor, inode } of descriptors)
      if (sockets.has(inode)) setOptionOf(pid, descriptor, SOL_SOCKET, SO_RCVBUFFORCE, WANTED)
    return
  }
}

/** @returns the sockets of a process; none where it has ended or is not for us to see */
async function socketsOf(pid: number): Promise<{ descriptor: number; inode: string }[]> {
  const directory = `/proc/${pid}/fd`
  const names = await readdir(directory).catch(() => [])
  const sockets = names.map(async name => {
    const target = await readlink(`${directory}/${name}`).catch(() => '')
    const inode = /^socket:\[(\d+)\]$/.exec(target)?.[1]
    return inode === undefined ? [] : [{ descriptor: Number(name), inode }]
  })
  return (await Promise.all(sockets)).flat()
}

/** @returns inodes of this network namespace's UDP sockets on a port: proc_net_udp, columns local_address and inode */
async function udpSockets(port: number): Promise<string[]> {
  const suffix = `:${port.toString(16).toUpperCase().padStart(4, '0')}`
  const rows = (await Promise.all(['udp', 'udp6'].map(table))).flat()
  return rows.flatMap(row => (row[1]?.endsWith(suffix) && row[9] !== undefined ? [row[9]] : []))
}

/** @returns the inode of what listens on a path: proc_net_unix, columns Flags, Inode and Path */
async function unixListener(path: string): Promise<string | undefined> {
  const rows = await table('unix')
  return rows.find(row => row[7] === path && (Number.parseInt(row[3] ?? '', 16) & ACCEPTS) !== 0)?.[6]
}

async function table(name: string): Promise<string[][]> {
  const text = await readFile(`/proc/self/net/${name}`, 'latin1')
  return text
    .split('\n')
    .slice(1)
    .map(line => line.trim().split(/\s+/))
}
