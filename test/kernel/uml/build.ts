// build [--refresh] [6.12] [newest]: makes Linux as a program of this machine (user-mode Linux) of a source that Debian has, 6.12 unless
// told otherwise, with what the lab needs built in and nothing else, and puts it into the cache. Status: 0 when it is there, 77 where it
// cannot be made, with the reason.
import {
  existsSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  renameSync,
  rmSync,
  writeFileSync,
} from 'node:fs'
import { availableParallelism } from 'node:os'
import { dirname, join } from 'node:path'
import { parseArgs } from 'node:util'
import { needProgram, output } from '../../tools/programs.ts'
import { runTool, Skip } from '../../tools/skip.ts'
import { candidate, otherSuite, refresh, unpack } from '../debian.ts'
import { isUmlKernel, program, UML_KERNELS, type UmlKernel, umlSource } from './place.ts'

await runTool('uml build', async args => {
  const { values, positionals } = parseArgs({
    args,
    allowPositionals: true,
    options: { refresh: { type: 'boolean', default: false } },
  })
  for (const kernel of positionals.length > 0 ? positionals : ['6.12']) {
    if (!isUmlKernel(kernel)) throw new Error(`no kernel ${kernel}: there is ${UML_KERNELS.join(', ')}`)
    if (existsSync(program(kernel)) && !values.refresh)
      console.log(`user-mode Linux: ${program(kernel)} (in the cache)`)
    else build(kernel)
  }
  return 0
})

function build(kernel: UmlKernel): void {
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

  const home = dirname(program(kernel))
  mkdirSync(home, { recursive: true })
  const work = mkdtempSync(join(home, 'new.'))
  try {
    const tree = source(umlSource(kernel).suite, work)
    const run = (...targets: string[]) => output(make, ['-C', tree, 'ARCH=um', ...targets])
    const wanted = configuration(kernel)
    writeFileSync(join(work, 'config'), wanted.join('\n'))
    run('allnoconfig', `KCONFIG_ALLCONFIG=${join(work, 'config')}`)
    const missing = wanted.filter(line => !readFileSync(join(tree, '.config'), 'utf8').includes(`${line}\n`))
    if (missing.length > 0) throw new Error(`this source does not know ${missing.join(', ')}`)
    console.log('user-mode Linux: building, seven minutes of one processor')
    run(`-j${availableParallelism()}`, 'linux')
    renameSync(join(tree, 'linux'), program(kernel))
  } finally {
    rmSync(work, { recursive: true, force: true })
  }
  console.log(`user-mode Linux: ${program(kernel)}`)
}

/** @returns the directory of the source */
function source(suite: string, work: string): string {
  const archive = otherSuite(suite, join(work, 'apt'))
  refresh(archive)
  const meta = candidate(archive, 'linux-source')
  const name = meta?.depends.find(each => /^linux-source-\d/.test(each))
  if (name === undefined) throw new Skip(`Debian ${suite} has no linux-source`)
  console.log(`user-mode Linux: ${name} ${meta?.version ?? ''}`)
  unpack(archive, [name], join(work, 'packages'), join(work, 'tree'))
  output(needProgram('tar', 'tar'), ['-xf', join(work, 'tree', 'usr', 'src', `${name}.tar.xz`), '-C', work])
  const directory = readdirSync(work).find(each => each.startsWith('linux-source-'))
  if (directory === undefined) throw new Error(`${name} holds no source`)
  return join(work, directory)
}

/** Lines of a kernel's configuration: what all have, and what this one has besides. */
function configuration(kernel: UmlKernel): readonly string[] {
  const files = ['config', `config.${kernel}`].map(name => join(import.meta.dirname, name))
  return files
    .filter(file => existsSync(file))
    .flatMap(file => readFileSync(file, 'utf8').split('\n'))
    .filter(line => line.startsWith('CONFIG_'))
}
