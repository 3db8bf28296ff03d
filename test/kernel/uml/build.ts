// build [--refresh]: makes Linux as a program of this machine (user-mode Linux) of the newest source that Debian has, with what the
// lab needs built in and nothing else, and puts it into the cache. Status: 0 when it is there, 77 where it cannot be made, with the reason.
import { existsSync, mkdirSync, mkdtempSync, readdirSync, readFileSync, renameSync, rmSync } from 'node:fs'
import { availableParallelism } from 'node:os'
import { dirname, join } from 'node:path'
import { needProgram, output } from '../../tools/programs.ts'
import { runTool, Skip } from '../../tools/skip.ts'
import { candidate, otherSuite, refresh, unpack } from '../debian.ts'
import { program } from './place.ts'

/** The first with seccomp in place of ptrace and with more than one processor is 6.19. */
const SUITE = 'sid'
const CONFIG = join(import.meta.dirname, 'config')

await runTool('uml build', async args => {
  if (existsSync(program()) && !args.includes('--refresh')) {
    console.log(`user-mode Linux: ${program()} (in the cache)`)
    return 0
  }
  if (process.arch !== 'x64') throw new Skip(`user-mode Linux is for amd64, and this machine is ${process.arch}`)
  const make = needProgram('make', 'make')
  for (const [debianPackage, name] of [
    ['gcc', 'gcc'],
    ['flex', 'flex'],
    ['bison', 'bison'],
    ['bc', 'bc'],
    ['xz-utils', 'xz'],
  ] as const)
    needProgram(debianPackage, name)

  const home = dirname(program())
  mkdirSync(home, { recursive: true })
  const work = mkdtempSync(join(home, 'new.'))
  try {
    const tree = source(work)
    const run = (...targets: string[]) => output(make, ['-C', tree, 'ARCH=um', ...targets])
    run('allnoconfig', `KCONFIG_ALLCONFIG=${CONFIG}`)
    const missing = wanted().filter(line => !readFileSync(join(tree, '.config'), 'utf8').includes(`${line}\n`))
    if (missing.length > 0) throw new Error(`this source does not know ${missing.join(', ')}`)
    console.log('user-mode Linux: building, seven minutes of one processor')
    run(`-j${availableParallelism()}`, 'linux')
    renameSync(join(tree, 'linux'), program())
  } finally {
    rmSync(work, { recursive: true, force: true })
  }
  console.log(`user-mode Linux: ${program()}`)
  return 0
})

/** @returns the directory of the source */
function source(work: string): string {
  const archive = otherSuite(SUITE, join(work, 'apt'))
  refresh(archive)
  const meta = candidate(archive, 'linux-source')
  const name = meta?.depends.find(each => /^linux-source-\d/.test(each))
  if (name === undefined) throw new Skip(`Debian ${SUITE} has no linux-source`)
  console.log(`user-mode Linux: ${name} ${meta?.version ?? ''}`)
  unpack(archive, [name], join(work, 'packages'), join(work, 'tree'))
  output(needProgram('tar', 'tar'), ['-xf', join(work, 'tree', 'usr', 'src', `${name}.tar.xz`), '-C', work])
  const directory = readdirSync(work).find(each => each.startsWith('linux-source-'))
  if (directory === undefined) throw new Error(`${name} holds no source`)
  return join(work, directory)
}

function wanted(): string[] {
  return readFileSync(CONFIG, 'utf8')
    .split('\n')
    .filter(line => line.startsWith('CONFIG_'))
}
