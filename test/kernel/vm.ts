// One throw-away virtual machine: a kernel from the cache on this machine's own root directory. The root is shared read-only over
// virtiofs and covered by an overlay in the guest's memory, so the guest has node, node_modules and the repository as they are here,
// in the same place, and whatever it writes is gone with it.
import { type ChildProcess, spawn } from 'node:child_process'
import { once } from 'node:events'
import {
  closeSync,
  existsSync,
  mkdirSync,
  mkdtempSync,
  openSync,
  readdirSync,
  readFileSync,
  realpathSync,
  rmSync,
  writeFileSync,
} from 'node:fs'
import { createServer, type Server, type Socket } from 'node:net'
import { tmpdir } from 'node:os'
import { basename, dirname, join } from 'node:path'
import { createInterface } from 'node:readline'
import type { Writable } from 'node:stream'
import { findProgram, needProgram } from '../tools/programs.ts'
import { Skip } from '../tools/skip.ts'
import { cpio, type Entry } from './cpio.ts'
import type { FetchedKernel } from './kernels.ts'

// What the root of the guest needs, where it is not built into the kernel.
const BOOT_MODULES = ['virtio_pci', 'virtio_console', 'virtio_rng', 'virtiofs', 'overlay']
// Found to matter: expedited RCU (deleting a WireGuard link waits for one grace period for each peer), no mitigations and a trusted
// time source (start-up under emulation). A panic ends the machine at once, and QEMU does not reboot it.
const KERNEL_ARGUMENTS =
  'console=ttyS0 quiet panic=-1 oops=panic mitigations=off nokaslr tsc=reliable no_timer_check rcupdate.rcu_expedited=1 audit=0'
const VIRTIOFSD_LIMIT_MS = 20_000
const PORTS = ['control', 'out', 'err', 'files'] as const

export interface Machine {
  readonly kernel: FetchedKernel
  readonly accelerator: 'kvm' | 'tcg'
  readonly memoryMiB: number
  readonly kernelArguments: string
  /**
   * While an emulated guest has something to do, its clock goes by the instructions that it has run, a nanosecond for each: a machine that
   * is busy with other things makes it late, and none of its waits too short.
   */
  readonly steady: boolean
  /** A shell script that the guest runs. */
  readonly command: string
  /** Folders of the host that the guest must see. */
  readonly paths: readonly string[]
  /** From QEMU's start to the command's start. */
  readonly bootLimitMs: number
  /** From the command's start to its end. */
  readonly runLimitMs: number
  readonly stdout: Writable
  readonly stderr: Writable
  /** Where what the command leaves in $PODVEIL_VM_OUT is unpacked. */
  readonly collect: string | undefined
  readonly signal: AbortSignal
}

export type Outcome =
  | { readonly kind: 'ended'; readonly status: number; readonly bootMs: number; readonly runMs: number }
  | { readonly kind: 'timeout'; readonly log: string }
  /** The machine itself failed, before or after the command had started. */
  | { readonly kind: 'died'; readonly started: boolean; readonly log: string }

interface Programs {
  readonly qemu: string
  readonly virtiofsd: string
  readonly busybox: string
}

/** @throws Skip that names what is missing */
export function needPrograms(): Programs {
  for (const program of ['unshare', 'setpriv', 'mount']) needProgram('util-linux', program)
  return {
    qemu: needProgram('qemu-system-x86', 'qemu-system-x86_64'),
    // Debian 12 has the C server inside QEMU's packages; from Debian 13 on it is a package of its own.
    virtiofsd: needProgram(
      existsSync('/usr/lib/qemu') ? 'virtiofsd (Debian 13 and later) or qemu-system-x86 (Debian 12)' : 'virtiofsd',
      process.env.VIRTIOFSD ?? '/usr/libexec/virtiofsd',
      '/usr/lib/qemu/virtiofsd',
      'virtiofsd',
    ),
    busybox: staticBusybox(),
  }
}

/** The initramfs has no libraries. The package `busybox` has the same path and wants some. */
function staticBusybox(): string {
  const path = needProgram('busybox-static', 'busybox')
  if (readFileSync(path).includes('/ld-linux')) throw new Skip(`${path} is not static: apt-get install busybox-static`)
  return path
}

export async function boot(machine: Machine, programs: Programs): Promise<Outcome> {
  const work = mkdtempSync(join(tmpdir(), `podveil-vm.${process.pid}.`))
  const children: ChildProcess[] = []
  const servers: Server[] = []
  try {
    const socket = await shareRoot(machine, programs, work, children)
    const ports = await openPorts(work, servers)
    writeFileSync(join(work, 'initramfs'), initramfs(machine, programs))
    const began = Date.now()
    const qemu = start(children, programs.qemu, qemuArguments(machine, work, socket), join(work, 'qemu.log'))
    return await follow(machine, qemu, ports, began, work)
  } finally {
    for (const child of children) child.kill('SIGKILL')
    for (const server of servers) server.close()
    rmSync(work, { recursive: true, force: true })
  }
}

/** What earlier runs left that were killed before they could clean up. Their machines went with them. */
export function removeLeftovers(): void {
  for (const name of readdirSync(tmpdir())) {
    const pid = /^podveil-vm\.(\d+)\./.exec(name)?.[1]
    if (pid !== undefined && !existsSync(`/proc/${pid}`)) rmSync(join(tmpdir(), name), { recursive: true, force: true })
  }
}

/** Starts a program that the kernel ends when this process dies, however it dies. */
function start(children: ChildProcess[], program: string, args: readonly string[], log: string): ChildProcess {
  const file = openSync(log, 'a')
  const child = spawn('setpriv', ['--pdeathsig', 'KILL', '--', program, ...args], { stdio: ['ignore', file, file] })
  closeSync(file)
  child.on('error', error => writeFileSync(log, String(error), { flag: 'a' }))
  children.push(child)
  return child
}

async function shareRoot(
  machine: Machine,
  programs: Programs,
  work: string,
  children: ChildProcess[],
): Promise<string> {
  const socket = join(work, 'root.sock')
  const root = join(work, 'root')
  const script = join(work, 'share')
  mkdirSync(root)
  writeFileSync(script, sharingScript(root, machine.paths, serverCommand(programs.virtiofsd, socket, root)))
  const log = join(work, 'virtiofsd.log')
  const server = start(children, 'unshare', ['--mount', '--propagation', 'private', 'sh', '-eu', script], log)
  const limit = Date.now() + VIRTIOFSD_LIMIT_MS
  while (!existsSync(socket)) {
    if (server.exitCode !== null || server.signalCode !== null || Date.now() > limit) {
      throw new Error(`virtiofsd did not start (it needs root): ${tail(log, 5)}`)
    }
    await new Promise(resolve => setTimeout(resolve, 10))
  }
  return socket
}

/**
 * The file server sees the root through read-only mounts of its own mount namespace. What the guest needs may lie on other file
 * systems than the root: those are mounted in the same place, read-only too.
 */
function sharingScript(root: string, paths: readonly string[], server: string): string {
  const mounts = new Set(['/', ...paths.map(path => mountPoint(realpathSync(path)))])
  const lines = [...mounts].sort().flatMap(mount => {
    const place = quote(join(root, mount))
    return [`mount --bind ${quote(mount)} ${place}`, `mount -o remount,bind,ro ${place}`]
  })
  return [...lines, `exec ${server}`, ''].join('\n')
}

function mountPoint(path: string): string {
  const points = new Set(
    readFileSync('/proc/self/mounts', 'utf8')
      .split('\n')
      .map(line =>
        (line.split(' ')[1] ?? '').replace(/\\(\d{3})/g, (_, octal) => String.fromCharCode(parseInt(octal, 8))),
      ),
  )
  let at = path
  while (at !== '/' && !points.has(at)) at = dirname(at)
  return at
}

function serverCommand(virtiofsd: string, socket: string, root: string): string {
  const common = [`--socket-path=${socket}`, '--thread-pool-size=0']
  // The C server (until Debian 12) takes its settings as mount options, the one in Rust as arguments.
  const own = virtiofsd.startsWith('/usr/lib/qemu/')
    ? ['-o', `source=${root}`, '-o', 'cache=always', '-o', 'sandbox=chroot']
    : [`--shared-dir=${root}`, '--cache=always', '--sandbox=chroot']
  return [virtiofsd, ...common, ...own].map(quote).join(' ')
}

type Ports = Record<(typeof PORTS)[number], Promise<Socket>>

async function openPorts(work: string, servers: Server[]): Promise<Ports> {
  const entries = PORTS.map(async name => {
    const server = createServer()
    servers.push(server)
    const connected = new Promise<Socket>(resolve => server.once('connection', resolve))
    server.listen(join(work, `${name}.sock`))
    await once(server, 'listening')
    return [name, connected] as const
  })
  // The names are those of PORTS, one entry each.
  return Object.fromEntries(await Promise.all(entries)) as Ports
}

function initramfs(machine: Machine, programs: Programs): Buffer {
  const { modules, release } = machine.kernel
  const home = join(modules, release)
  const order = loadOrder(readFileSync(join(home, 'modules.dep'), 'utf8'))
  const text = (content: string): Buffer => Buffer.from(content)
  const entries: Entry[] = [
    { path: 'bin' },
    { path: 'bin/busybox', content: readFileSync(programs.busybox) },
    { path: 'init', content: readFileSync(join(import.meta.dirname, 'init')) },
    { path: 'command', content: text(machine.command) },
    { path: 'modules' },
    { path: 'modules/order', content: text(order.map(file => `${basename(file)}\n`).join('')) },
    { path: 'modules/host-path', content: text(realpathSync(modules)) },
    ...order.map(file => ({ path: `modules/${basename(file)}`, content: readFileSync(join(home, file)) })),
  ]
  return cpio(entries)
}

/** The files of BOOT_MODULES with what they depend on, each after its dependencies. Built-in ones have no file. */
function loadOrder(modulesDep: string): string[] {
  const depends = new Map(
    modulesDep.split('\n').map(line => {
      const [file = '', ...on] = line.split(/:?\s+/)
      return [file.replace(/:$/, ''), on.filter(Boolean)]
    }),
  )
  const order = new Set<string>()
  const add = (file: string): void => {
    for (const other of depends.get(file) ?? []) add(other)
    order.add(file)
  }
  for (const name of BOOT_MODULES) {
    const file = [...depends.keys()].find(each => basename(each) === `${name}.ko`)
    if (file !== undefined) add(file)
  }
  return [...order]
}

function qemuArguments(machine: Machine, work: string, fsSocket: string): string[] {
  const { accelerator, memoryMiB, kernel, steady } = machine
  const kvm = accelerator === 'kvm'
  const port = (name: string): string[] => [
    ...['-chardev', `socket,id=${name},path=${join(work, `${name}.sock`)}`],
    ...['-device', `virtserialport,chardev=${name},name=${name}`],
  ]
  return [
    ...['-machine', 'q35,hpet=off,sata=off,usb=off,smbus=off,memory-backend=memory'],
    ...(kvm ? ['-accel', 'kvm', '-cpu', 'host'] : emulation(steady)),
    // One processor under emulation: with two, one may run code that the other is patching, and a boot in some eighty dies of it.
    ...['-smp', kvm ? '2' : '1', '-m', `${memoryMiB}`],
    // virtiofsd reads and writes the guest's memory, so it is shared.
    ...['-object', `memory-backend-memfd,id=memory,size=${memoryMiB}M,share=on`],
    ...[
      '-nodefaults',
      '-no-user-config',
      '-display',
      'none',
      '-no-reboot',
      '-serial',
      `file:${join(work, 'kernel.log')}`,
    ],
    ...[
      '-chardev',
      `socket,id=root,path=${fsSocket}`,
      '-device',
      'vhost-user-fs-pci,chardev=root,tag=root,queue-size=1024',
    ],
    ...['-object', 'rng-random,id=random,filename=/dev/urandom', '-device', 'virtio-rng-pci,rng=random'],
    '-device',
    'virtio-serial-pci',
    ...PORTS.flatMap(port),
    ...['-kernel', kernel.image, '-initrd', join(work, 'initramfs')],
    ...['-append', `${KERNEL_ARGUMENTS} ${machine.kernelArguments}`.trim()],
  ]
}

/** Counting instructions costs the emulator a third, and leaves it a single thread. */
function emulation(steady: boolean): string[] {
  const clock = steady ? ['-icount', 'shift=0,sleep=on,align=off'] : []
  return ['-accel', `tcg,thread=${steady ? 'single' : 'multi'},tb-size=512`, '-cpu', 'max', ...clock]
}

/** Resolves when the command has ended and all that it said has been passed on, or when the machine can be given up. */
async function follow(
  machine: Machine,
  qemu: ChildProcess,
  ports: Ports,
  began: number,
  work: string,
): Promise<Outcome> {
  const gone = new Promise<void>(resolve => qemu.once('exit', () => resolve()))
  const streams: Promise<unknown>[] = []
  const pass = async (port: Promise<Socket>, to: Writable): Promise<void> => {
    const socket = await port
    streams.push(once(socket, 'close'))
    socket.pipe(to, { end: false })
  }
  void pass(ports.out, machine.stdout)
  void pass(ports.err, machine.stderr)
  if (machine.collect !== undefined)
    void ports.files.then(socket => streams.push(unpackInto(machine.collect ?? '', socket)))

  let started = 0
  let ended = 0
  let status: number | undefined
  let timedOut = false
  let limit = setTimeout(() => qemu.kill('SIGKILL'), machine.bootLimitMs)
  void ports.control.then(socket => {
    createInterface({ input: socket }).on('line', line => {
      if (line === 'started') {
        started = Date.now()
        clearTimeout(limit)
        limit = setTimeout(() => {
          timedOut = true
          qemu.kill('SIGKILL')
        }, machine.runLimitMs)
      } else if (line.startsWith('status ')) {
        status = Number(line.slice('status '.length))
        ended = Date.now()
        qemu.kill('SIGTERM')
      }
    })
  })
  const stop = (): boolean => qemu.kill('SIGKILL')
  machine.signal.addEventListener('abort', stop)

  await gone
  clearTimeout(limit)
  machine.signal.removeEventListener('abort', stop)
  await Promise.all(streams)
  if (status !== undefined) return { kind: 'ended', status, bootMs: started - began, runMs: ended - started }
  const log = [tail(join(work, 'qemu.log'), 10), tail(join(work, 'kernel.log'), 30)].filter(Boolean).join('\n')
  return timedOut ? { kind: 'timeout', log } : { kind: 'died', started: started > 0, log }
}

async function unpackInto(folder: string, socket: Socket): Promise<void> {
  mkdirSync(folder, { recursive: true })
  const tar = spawn(findProgram('tar') ?? 'tar', ['-x', '-C', folder], { stdio: ['pipe', 'ignore', 'ignore'] })
  // An empty stream is no archive to tar, and no failure here: the command left nothing.
  tar.stdin.on('error', () => socket.resume())
  socket.pipe(tar.stdin)
  await once(tar, 'exit')
}

export function quote(text: string): string {
  return `'${text.replaceAll("'", "'\\''")}'`
}

function tail(file: string, lines: number): string {
  return existsSync(file) ? readFileSync(file, 'utf8').trimEnd().split('\n').slice(-lines).join('\n') : ''
}
