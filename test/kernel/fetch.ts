// fetch [--refresh] [KERNEL...]: puts the kernels that the suite runs on into the cache (all of them when none is named).
// Status: 0 when every one is there that must be, 77 where this machine cannot have them, with the reason; 1 when something broke.
import {
  cpSync,
  existsSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  renameSync,
  rmSync,
  symlinkSync,
  writeFileSync,
} from 'node:fs'
import { basename, dirname, join } from 'node:path'
import { needProgram, output } from '../tools/programs.ts'
import { runTool, Skip } from '../tools/skip.ts'
import { type Archive, candidate, otherSuite, ownArchive, type Package, refresh, unpack } from './debian.ts'
import { type FetchedKernel, fetchedKernel, KERNELS, type KernelChoice, kernelCache } from './kernels.ts'
import { unpackKernel } from './vmlinux.ts'

// An image brings its modules in the same package or in further ones, by these names.
const KERNEL_PARTS = /^linux-(image|base|binary|modules)-\d/
const XZ_BATCH = 200

await runTool('kernel fetch', async args => {
  const again = args.includes('--refresh')
  const names = args.filter(arg => !arg.startsWith('-'))
  const unknown = names.filter(name => !KERNELS.some(kernel => kernel.name === name))
  if (unknown.length > 0)
    throw new Error(`no such kernel: ${unknown.join(' ')}; there are ${KERNELS.map(k => k.name).join(' ')}`)

  const missing: string[] = []
  for (const kernel of KERNELS.filter(({ name }) => names.length === 0 || names.includes(name))) {
    try {
      const began = Date.now()
      const had = again ? undefined : fetchedKernel(kernel.name)
      const { release } = had ?? fetch(kernel)
      const how = had === undefined ? `fetched in ${((Date.now() - began) / 1000).toFixed(1)} s` : 'in the cache'
      console.log(`kernel ${kernel.name}: ${release} (${how})`)
    } catch (error) {
      const reason = error instanceof Error ? error.message : String(error)
      if (!(error instanceof Skip || kernel.optional)) throw error
      console.log(`kernel ${kernel.name}: SKIPPED: ${reason}`)
      if (!kernel.optional || names.includes(kernel.name)) missing.push(`${kernel.name}: ${reason}`)
    }
  }
  if (missing.length > 0) throw new Skip(missing.join('; '))
  return 0
})

function fetch(kernel: KernelChoice): FetchedKernel {
  if (process.arch !== 'x64') throw new Skip(`the kernels are for amd64, and this machine is ${process.arch}`)
  needProgram('kmod', 'depmod')
  const found = search(kernel)
  const home = join(kernelCache(), kernel.name)
  mkdirSync(home, { recursive: true })
  const work = mkdtempSync(join(home, 'new.'))
  try {
    const tree = join(work, 'tree')
    unpack(found.archive, found.packages, join(work, 'packages'), tree)
    const release = arrange(tree, join(work, 'kernel'))
    const place = join(home, release)
    rmSync(place, { recursive: true, force: true })
    renameSync(join(work, 'kernel'), place)
    publish(home, release)
  } finally {
    rmSync(work, { recursive: true, force: true })
    rmSync(join(kernelCache(), 'apt'), { recursive: true, force: true })
  }
  const fetched = fetchedKernel(kernel.name)
  if (fetched === undefined) throw new Error(`${home} does not hold the kernel that was just put there`)
  return fetched
}

/** @throws Skip where no archive in reach has such a kernel */
function search(kernel: KernelChoice): { archive: Archive; packages: string[] } {
  const own = ownArchive()
  const tried: string[] = []
  const archives = [
    () => own,
    () => {
      refresh(own)
      return own
    },
    ...kernel.otherSuites.map(suite => () => {
      const archive = otherSuite(suite, join(kernelCache(), 'apt', suite))
      refresh(archive)
      return archive
    }),
  ]
  for (const open of archives) {
    try {
      const archive = open()
      const packages = choose(archive, kernel)
      if (packages !== undefined) return { archive, packages }
      tried.push(`${archive.label}: none`)
    } catch (error) {
      tried.push(error instanceof Error ? (error.message.split('\n').at(-1) ?? '') : String(error))
    }
  }
  throw new Skip(`no such kernel in reach (${[...new Set(tried)].join('; ')})`)
}

function choose(archive: Archive, kernel: KernelChoice): string[] | undefined {
  for (const name of kernel.packages) {
    const meta = candidate(archive, name)
    if (meta === undefined || !kernel.series.test(meta.version)) continue
    const parts = new Map<string, Package>()
    const add = (names: readonly string[]): void => {
      for (const part of names.filter(each => KERNEL_PARTS.test(each) && !parts.has(each))) {
        const found = candidate(archive, part)
        if (found === undefined) continue
        parts.set(part, found)
        add(found.depends)
      }
    }
    add([meta.name, ...meta.depends])
    if (parts.size > 0) return [...parts.keys()]
  }
  return undefined
}

/** From the tree of the packages, makes what a boot needs: `vmlinux` and `modules/RELEASE`. Returns the release. */
function arrange(tree: string, into: string): string {
  const files = readdirSync(tree, { recursive: true, encoding: 'utf8' })
  const modules = files.find(file => /(^|\/)lib\/modules\/[^/]+\/kernel$/.test(file))
  const image = files.find(file => /(^|\/)vmlinuz[^/]*$/.test(file))
  if (modules === undefined || image === undefined) throw new Error('the packages hold no kernel with modules')
  const release = basename(dirname(modules))

  mkdirSync(into)
  writeFileSync(join(into, 'vmlinux'), unpackKernel(readFileSync(join(tree, image))))
  const config = files.find(file => /(^|\/)config(-[^/]*)?$/.test(file))
  if (config !== undefined) cpSync(join(tree, config), join(into, 'config'))

  // depmod wants lib/modules/RELEASE below its base.
  const base = join(into, 'base')
  const place = join(base, 'lib', 'modules', release)
  mkdirSync(dirname(place), { recursive: true })
  renameSync(join(tree, dirname(modules)), place)
  inflateModules(place)
  output(needProgram('kmod', 'depmod'), ['-b', base, release])
  renameSync(dirname(place), join(into, 'modules'))
  rmSync(base, { recursive: true })
  return release
}

/** Modules are stored plain: the guest would unpack them at each load. */
function inflateModules(place: string): void {
  const files = readdirSync(place, { recursive: true, encoding: 'utf8' }).map(file => join(place, file))
  for (const [suffix, debianPackage, program] of [
    ['.ko.xz', 'xz-utils', 'xz'],
    ['.ko.zst', 'zstd', 'zstd'],
  ] as const) {
    const packed = files.filter(file => file.endsWith(suffix))
    for (let at = 0; at < packed.length; at += XZ_BATCH) {
      const quiet = program === 'zstd' ? ['--rm', '-q'] : []
      output(needProgram(debianPackage, program), ['-d', ...quiet, ...packed.slice(at, at + XZ_BATCH)])
    }
  }
}

/** Makes `release` the kernel of that name, and removes the one before it. */
function publish(home: string, release: string): void {
  const link = join(home, 'current')
  const next = `${link}.next`
  rmSync(next, { force: true })
  symlinkSync(release, next)
  renameSync(next, link)
  for (const other of readdirSync(home)) {
    const isKernel = existsSync(join(home, other, 'vmlinux')) && other !== 'current'
    if (isKernel && other !== release) rmSync(join(home, other), { recursive: true, force: true })
  }
}
