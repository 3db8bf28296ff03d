import type { ChildProcessWithoutNullStreams } from 'node:child_process'
import type { IncomingMessage } from 'node:http'
import type { Duplex } from 'node:stream'
import { ServerWebSocket } from './web-socket.ts'

/** Of k8s.io/apimachinery's remotecommand: the first byte of each message. */
const STDIN = 0
const STDOUT = 1
const STDERR = 2
const STATUS = 3
/** Since v5: the byte after it names a channel that has ended. */
const CLOSED = 255

const PROTOCOLS = ['v5.channel.k8s.io', 'v4.channel.k8s.io']

/** What kubectl asks a kubelet for, by way of the API server. */
export interface StreamRequest {
  readonly kind: 'exec' | 'attach'
  readonly namespace: string
  readonly pod: string
  readonly container: string
  /** Of `exec`. */
  readonly command: readonly string[]
}

export interface Streamed {
  readonly process: ChildProcessWithoutNullStreams
  /** Whether the end of the client's input is the end of the process's: of a container that is attached to, only where it has `stdinOnce`. */
  readonly endsInput: boolean
}

/** Answers an upgrade to a WebSocket as a kubelet does. @param find throws for what there is not */
export async function answerStream(
  request: IncomingMessage,
  socket: Duplex,
  head: Buffer,
  find: (request: StreamRequest) => Promise<Streamed>,
): Promise<void> {
  const offered = String(request.headers['sec-websocket-protocol'] ?? '').split(/,\s*/)
  const protocol = PROTOCOLS.find(each => offered.includes(each))
  const asked = parse(request.url ?? '')
  if (!protocol || !asked) return refuse(socket, `neither exec nor attach by ${PROTOCOLS.join(' or ')}`)
  let streamed: Streamed
  try {
    streamed = await find(asked)
  } catch (error) {
    return refuse(socket, String(error))
  }
  const { process, endsInput } = streamed
  const detach = new AbortController()
  const web = new ServerWebSocket(request, socket, head, protocol, {
    message: bytes => {
      if (bytes[0] === STDIN) process.stdin.write(bytes.subarray(1))
      if (bytes[0] !== CLOSED || bytes[1] !== STDIN) return
      if (endsInput) process.stdin.end()
      else finish(0)
    },
    ended: () => {
      detach.abort()
      if (endsInput) process.stdin.end()
    },
  })
  const finish = (status: number): void => {
    detach.abort()
    web.send(Buffer.concat([Buffer.from([STATUS]), Buffer.from(JSON.stringify(statusOf(status)))]))
    web.close()
  }
  const told = (channel: number) => (bytes: Buffer) => {
    if (!detach.signal.aborted) web.send(Buffer.concat([Buffer.from([channel]), bytes]))
  }
  process.stdout.on('data', told(STDOUT))
  process.stderr.on('data', told(STDERR))
  process.stdin.on('error', () => undefined)
  const done = (): void => {
    if (!detach.signal.aborted) finish(process.exitCode ?? 137)
  }
  if (process.exitCode !== null || process.signalCode !== null) done()
  else process.on('close', done)
}

function parse(url: string): StreamRequest | undefined {
  const { pathname, searchParams } = new URL(url, 'https://kubelet')
  const [, kind, namespace, pod, container] = pathname.split('/')
  if ((kind !== 'exec' && kind !== 'attach') || !namespace || !pod || !container) return undefined
  return { kind, namespace, pod, container, command: searchParams.getAll('command') }
}

function refuse(socket: Duplex, why: string): void {
  const body = `${why}\n`
  socket.end(
    `HTTP/1.1 400 Bad Request\r\nContent-Type: text/plain\r\nContent-Length: ${Buffer.byteLength(body)}\r\nConnection: close\r\n\r\n${body}`,
  )
}

/** metav1.Status, in which kubectl finds what to exit with. */
const statusOf = (status: number): object =>
  status === 0
    ? { metadata: {}, status: 'Success' }
    : {
        metadata: {},
        status: 'Failure',
        reason: 'NonZeroExitCode',
        message: `command terminated with non-zero exit code: ${status}`,
        details: { causes: [{ reason: 'ExitCode', message: String(status) }] },
      }
