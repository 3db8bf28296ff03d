// Packages from a Debian archive, downloaded and unpacked without installing anything. apt checks the signatures.
import { mkdirSync, readdirSync, readFileSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { needProgram, output } from '../tools/programs.ts'
import { Skip } from '../tools/skip.ts'

const KEYRING = '/usr/share/keyrings/debian-archive-keyring.gpg'

/** Where packages are looked for: options that every apt program takes. */
export interface Archive {
  readonly label: string
  readonly options: readonly string[]
}

/** @throws Skip where the machine is not Debian */
export function ownArchive(): Archive {
  const release = osRelease()
  if (release.ID !== 'debian') {
    throw new Skip(`kernels are taken from Debian's archive, and this is ${release.PRETTY_NAME ?? 'no Debian'}`)
  }
  needProgram('apt', 'apt-get')
  return { label: "this machine's package lists", options: ['-o', 'APT::Sandbox::User=root'] }
}

/** Reads the package lists anew. Throws where the archive cannot be reached. */
export function refresh(archive: Archive): void {
  output('apt-get', [...archive.options, '-qq', '-o', 'APT::Update::Error-Mode=any', 'update'])
}

/**
 * Another suite of the archive that this machine uses, with package lists of its own under `home`, so that the machine's own apt never
 * hears of it.
 */
export function otherSuite(suite: string, home: string): Archive {
  const lists = join(home, 'lists')
  const downloads = join(home, 'archives')
  for (const dir of [lists, downloads]) mkdirSync(join(dir, 'partial'), { recursive: true })
  const sources = join(home, 'sources.list')
  writeFileSync(sources, `deb [arch=amd64 signed-by=${KEYRING}] ${archiveAddress()} ${suite} main\n`)
  const settings = {
    'APT::Sandbox::User': 'root',
    'APT::Architecture': 'amd64',
    'Dir::Etc::SourceList': sources,
    'Dir::Etc::SourceParts': '/dev/null',
    'Dir::State::Lists': lists,
    'Dir::Cache': home,
    'Dir::Cache::Archives': downloads,
    'Acquire::Languages': 'none',
    'Acquire::IndexTargets::deb::Contents-deb::DefaultEnabled': 'false',
  }
  return {
    label: `Debian ${suite}`,
    options: Object.entries(settings).flatMap(([key, value]) => ['-o', `${key}=${value}`]),
  }
}

export interface Package {
  readonly name: string
  readonly version: string
  readonly depends: readonly string[]
}

/** The version that apt would install, if the archive has the package. */
export function candidate(archive: Archive, name: string): Package | undefined {
  const records = output('apt-cache', [...archive.options, '--no-all-versions', 'show', '--', name, 'apt']).toString()
  const fields = records
    .split('\n\n')
    .map(record => Object.fromEntries([...record.matchAll(/^(\w[\w-]*): (.*)$/gm)].map(m => [m[1], m[2]])))
    .find(record => record.Package === name)
  if (fields === undefined) return undefined
  return { name, version: fields.Version ?? '', depends: (fields.Depends ?? '').split(/[,|]/).map(firstWord) }
}

/** Downloads the packages and unpacks them all into one tree under `into`. */
export function unpack(archive: Archive, names: readonly string[], work: string, into: string): void {
  mkdirSync(work, { recursive: true })
  output('apt-get', [...archive.options, '-qq', 'download', '--', ...names], { cwd: work })
  const files = readdirSync(work).filter(file => file.endsWith('.deb'))
  for (const file of files) output(needProgram('dpkg', 'dpkg'), ['--extract', join(work, file), into])
}

/** The address of the archive that holds this release's main suite, as this machine is configured to reach it. */
function archiveAddress(): string {
  const codename = osRelease().VERSION_CODENAME
  const targets = output('apt-get', [
    'indextargets',
    '--format',
    '$(CODENAME) $(COMPONENT) $(SITE)',
    'Created-By: Packages',
  ])
  const line = targets
    .toString()
    .split('\n')
    .find(target => target.startsWith(`${codename} main `))
  if (line === undefined) throw new Skip(`apt has no lists of ${codename} main: apt-get update`)
  return firstWord(line.slice(`${codename} main `.length))
}

function osRelease(): Record<string, string> {
  const text = readFileSync('/etc/os-release', 'utf8')
  return Object.fromEntries([...text.matchAll(/^(\w+)="?([^"\n]*)"?$/gm)].map(([, key, value]) => [key, value]))
}

function firstWord(text: string): string {
  return text.trim().split(' ')[0] ?? ''
}
