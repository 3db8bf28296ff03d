import { LabError } from './errors.ts'

export interface HttpAnswer {
  readonly status: number
  readonly body: string
}

/**
 * A GET on this machine's loopback address, by bash alone: every Debian and Ubuntu has it, a fresh one has no curl, and
 * readiness is asked for so often that a process of Node.js for each would be most of what a lab costs.
 * @param port of 127.0.0.1
 * @returns arguments of a program that prints the whole answer; HTTP/1.0, as that has neither chunks nor a next request
 */
export const httpGet = (port: number, path: string): string[] => ['bash', '-c', GET, 'bash', `${port}`, path]

const GET = [
  'exec 3<>"/dev/tcp/127.0.0.1/$1" || exit',
  String.raw`printf "GET %s HTTP/1.0\r\nHost: 127.0.0.1:%s\r\n\r\n" "$2" "$1" >&3`,
  // In bash's place, so that whoever has waited long enough ends it by the one process that there is.
  'exec cat <&3',
].join('\n')

/** @throws LabError for what is no answer of a web server */
export function parseHttpAnswer(text: string): HttpAnswer {
  const head = /^HTTP\/1\.[01] (\d{3}).*?\r\n\r\n/s.exec(text)
  if (!head)
    throw new LabError('ERR_LAB_PROCESS', `not an answer of a web server: ${JSON.stringify(text.slice(0, 80))}`)
  return { status: Number(head[1]), body: text.slice(head[0].length) }
}
