import { existsSync, mkdirSync, writeFileSync } from 'node:fs'
import { dirname, join } from 'node:path'
import { fileURLToPath } from 'node:url'
import type { JsonObject } from '../apiserver/json.ts'
import { textAt } from '../apiserver/json.ts'
import { LabError } from '../errors.ts'
import { inNamespace } from '../namespaces.ts'
import type { NodePlan } from '../plan.ts'
import type { LabFiles } from '../state.ts'
import type { MountedVolume, PodProcess } from './pod.ts'

const CHECKOUT = fileURLToPath(new URL('../../..', import.meta.url)).replace(/\/$/, '')

/** Files of /etc that programs of an image look at. */
const ETC = ['passwd', 'group', 'hosts', 'nsswitch.conf', 'ld.so.cache', 'protocols', 'services', 'alternatives']

/** Directories of the machine that stand for the image's. */
const IMAGE = ['/usr', '/bin', '/sbin', '/lib', '/lib32', '/lib64', '/libx32', '/proc', '/sys', '/dev']

/** What a container can be run with besides its Pod's template. */
export interface ContainerSetting {
  readonly files: LabFiles
  readonly node: NodePlan
  /** ConfigMaps that volumes name. */
  readonly objects: readonly JsonObject[]
  /** Directory of the program `podveil`: the image's /usr/local/bin. */
  readonly image: string
  /** Goes before the command, with all of root's rights: `nice`. */
  readonly ahead: readonly string[]
}

/**
 * Arguments that run a Pod's container on a node of the lab: in the node's network, with a root of its own in which are the
 * image's directories, the volumes, the token and nothing else of the machine, and with the capabilities that the template
 * leaves. The mounts are in the mount namespace that `ip netns exec` makes, and end with the processes in it.
 * @throws LabError where a volume is not there
 */
export function containerCommand(process: PodProcess, setting: ContainerSetting): string[] {
  const { node, files, ahead } = setting
  const root = files.node(node.name, 'rootfs')
  mkdirSync(root, { recursive: true, mode: 0o755 })
  const mounts = [...process.volumes.map(volume => mountOf(volume, setting)), ...token(process, setting)]
  const script = [
    'set -e',
    `mount -t tmpfs -o mode=755,size=8m podveil-pod ${quote(root)}`,
    `cd ${quote(root)}`,
    'mkdir etc run tmp var',
    'ln -s ../run var/run',
    `for file in ${ETC.join(' ')}; do [ ! -e "/etc/$file" ] || cp -a "/etc/$file" etc/; done`,
    `for path in ${IMAGE.join(' ')}; do`,
    '  if [ -L "$path" ]; then cp -P "$path" ".$path"',
    '  elif [ -d "$path" ]; then mkdir ".$path"; mount --rbind "$path" ".$path"; fi',
    'done',
    ...[...new Set([CHECKOUT, setting.image])].flatMap(path => [
      `[ -e ${quote(`.${path}`)} ] || { mkdir -p ${quote(`.${path}`)}; mount --rbind ${quote(path)} ${quote(`.${path}`)}; }`,
    ]),
    ...mounts.flatMap(bind),
    process.readOnlyRoot ? 'mount -o remount,ro .' : ':',
    'exec chroot . "$@"',
  ]
  const rights = ['setpriv', `--bounding-set=${caps(process)}`, `--inh-caps=${caps(process)}`]
  return inNamespace(node.namespace, [
    ...['sh', '-c', script.join('\n'), 'podveil-pod'],
    ...ahead,
    ...rights,
    ...(process.noNewPrivileges ? ['--no-new-privs'] : []),
    '--',
    ...process.argv,
  ])
}

/** The image's own environment, before the template's. */
export const imageEnvironment = (image: string): Readonly<Record<string, string>> => ({
  PATH: `${image}:/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin`,
})

/** Where a path of the node is on this machine. What is the kernel's, and the machine's id, the nodes of a lab share. */
export function hostPath(files: LabFiles, node: NodePlan, path: string): string {
  if (/^\/(proc|sys|dev)\//.test(path) || path === '/etc/machine-id') return path
  const own = path.replace(/^\/var\/run\//, '/run/')
  if (own.startsWith('/run/')) return files.node(node.name, 'run', own.slice('/run/'.length))
  return files.node(node.name, 'host', own)
}

interface Mount {
  readonly source: string
  readonly target: string
  readonly readOnly: boolean
  readonly isDirectory: boolean
}

function mountOf(volume: MountedVolume, setting: ContainerSetting): Mount {
  const { mountPath: target, readOnly } = volume
  if (volume.kind === 'configMap')
    return { source: writeConfigMap(volume.name, volume.mode, setting), target, readOnly: true, isDirectory: true }
  const source = hostPath(setting.files, setting.node, volume.path)
  if (volume.type === 'DirectoryOrCreate') mkdirSync(source, { recursive: true, mode: 0o700 })
  if (existsSync(source)) return { source, target, readOnly, isDirectory: volume.type.startsWith('Directory') }
  if (volume.path !== '/etc/machine-id')
    throw new LabError('ERR_LAB_STATE', `${setting.node.name} has no ${volume.path}, which a Pod mounts`)
  // A machine without one, as containers are: agents take it for empty.
  return { source: '/dev/null', target, readOnly, isDirectory: false }
}

function token({ token: mounted }: PodProcess, { files, node }: ContainerSetting): Mount[] {
  const path = 'secrets/kubernetes.io/serviceaccount'
  const source = files.node(node.name, 'run', path)
  return mounted ? [{ source, target: `/var/run/${path}`, readOnly: true, isDirectory: true }] : []
}

function writeConfigMap(name: string, mode: number, { files, node, objects }: ContainerSetting): string {
  const found = objects.find(object => object.kind === 'ConfigMap' && textAt(object, 'metadata', 'name') === name)
  if (!found) throw new LabError('ERR_LAB_STATE', `there is no ConfigMap ${name}, which a Pod mounts`)
  const directory = files.node(node.name, 'configmaps', name)
  mkdirSync(directory, { recursive: true, mode: 0o755 })
  for (const [file, text] of Object.entries(found.data as Readonly<Record<string, string>>))
    writeFileSync(join(directory, file), text, { mode })
  return directory
}

function bind({ source, target, readOnly, isDirectory }: Mount): string[] {
  const place = quote(`.${target}`)
  const make = isDirectory
    ? `mkdir -p ${place}`
    : `mkdir -p ${quote(`.${dirname(target)}`)}; [ -e ${place} ] || : >${place}`
  return [make, `mount --bind ${quote(source)} ${place}`, ...(readOnly ? [`mount -o remount,bind,ro ${place}`] : [])]
}

const caps = ({ capabilities }: PodProcess): string =>
  ['-all', ...capabilities.map(name => `+${name.toLowerCase()}`)].join(',')

const quote = (text: string): string => `'${text.replaceAll("'", "'\\''")}'`
