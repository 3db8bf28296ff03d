// Programs of the machine that the test tools call.
import { spawnSync } from 'node:child_process'
import { accessSync, constants } from 'node:fs'
import { join } from 'node:path'
import { Skip } from './skip.ts'

const SEARCH = (process.env.PATH ?? '').split(':').concat('/usr/local/sbin', '/usr/sbin', '/sbin')

/** The path of the first of `names` (names on PATH, or absolute paths) that can be executed. */
export function findProgram(...names: string[]): string | undefined {
  return names
    .flatMap(name => (name.startsWith('/') ? [name] : SEARCH.filter(Boolean).map(dir => join(dir, name))))
    .find(isExecutable)
}

/** @throws Skip that names the Debian package to install */
export function needProgram(debianPackage: string, ...names: string[]): string {
  const path = findProgram(...names)
  if (path === undefined) throw new Skip(`${names[0]} is not on this machine: apt-get install ${debianPackage}`)
  return path
}

/** Runs to the end and returns standard output. Throws with the last lines of standard error when the status is not 0. */
export function output(program: string, args: string[], options: { cwd?: string; input?: Buffer } = {}): Buffer {
  const result = spawnSync(program, args, { ...options, maxBuffer: 1 << 30 })
  if (result.error !== undefined) throw result.error
  if (result.status !== 0) {
    const tail = result.stderr.toString().trim().split('\n').slice(-5).join('\n')
    throw new Error(`${program} ${args.slice(0, 8).join(' ')}: status ${result.status ?? result.signal}: ${tail}`)
  }
  return result.stdout
}

function isExecutable(path: string): boolean {
  try {
    accessSync(path, constants.X_OK)
    return true
  } catch {
    return false
  }
}
