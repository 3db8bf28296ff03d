import { readdirSync, readFileSync, readlinkSync } from 'node:fs'

/** One process as /proc has it. */
export interface Usage {
  /** Seconds of a processor, user and system, since it began. */
  readonly cpu: number
  /** Of these, the kernel's own. */
  readonly system: number
  /** Bytes, now and at most. */
  readonly rss: number
  readonly peakRss: number
  /** Of `rss`, what is mapped of files: pages that the page cache has anyway. */
  readonly fileRss: number
}

/** USER_HZ, which is 100 wherever Linux runs. */
const TICKS = 100

export function usageOf(pid: number): Usage {
  // The name may have spaces, and ends with the last parenthesis.
  const stat = readFileSync(`/proc/${pid}/stat`, 'latin1')
  const fields = stat.slice(stat.lastIndexOf(')') + 2).split(' ')
  const status = readFileSync(`/proc/${pid}/status`, 'latin1')
  const kilobytes = (field: string): number =>
    Number(new RegExp(`^${field}:\\s+(\\d+) kB$`, 'm').exec(status)?.[1] ?? 0)
  return {
    cpu: (Number(fields[11]) + Number(fields[12])) / TICKS,
    system: Number(fields[12]) / TICKS,
    rss: kilobytes('VmRSS') * 1024,
    peakRss: kilobytes('VmHWM') * 1024,
    fileRss: kilobytes('RssFile') * 1024,
  }
}

/** Milliseconds of a processor that the first thread of a process, in Node.js that of JavaScript, has had. */
export const mainThreadMs = (pid: number): number =>
  Number(readFileSync(`/proc/${pid}/schedstat`, 'latin1').split(' ', 1)[0]) / 1e6

/** Processes of that name in the network namespace of another. */
export function neighbours(pid: number, name: string): number[] {
  const namespace = namespaceOf(pid)
  return readdirSync('/proc')
    .map(Number)
    .filter(other => Number.isInteger(other) && commandOf(other) === name && namespaceOf(other) === namespace)
}

const commandOf = (pid: number): string => attempt(() => readFileSync(`/proc/${pid}/comm`, 'utf8').trim())

const namespaceOf = (pid: number): string => attempt(() => readlinkSync(`/proc/${pid}/ns/net`))

function attempt(read: () => string): string {
  try {
    return read()
  } catch {
    // It has ended.
    return ''
  }
}
