// What the bundle is made of, as CycloneDX 1.6: https://cyclonedx.org/docs/1.6/json/
// Made of the lock file and of what esbuild took in, so that the same sources make the same bytes: no time, no random number.

import { readFileSync } from 'node:fs'
import { join } from 'node:path'

/** Node.js for one platform, which the lock file brings and the image has as /usr/local/bin/node. */
const RUNTIME = /^node_modules\/node-linux-/

/**
 * @typedef {object} Locked what package-lock.json says of a package
 * @property {string} version
 * @property {string} [integrity]
 * @property {string} [license]
 * @property {string[]} [cpu]
 */

/**
 * @param {string} root of the checkout
 * @param {string} version of Podveil
 * @param {Iterable<string>} inputs paths of what was bundled, from the root
 * @param {string} cpu as Node.js calls it: of which platform the runtime is
 */
export function sbom(root, version, inputs, cpu) {
  /** @type {{ packages: Record<string, Locked> }} */
  const { packages } = JSON.parse(readFileSync(join(root, 'package-lock.json'), 'utf8'))
  const bundled = new Set([...inputs].flatMap(input => packageOf(input) ?? []))
  const runtime = Object.keys(packages).filter(path => RUNTIME.test(path) && packages[path]?.cpu?.includes(cpu))
  const components = [...bundled, ...runtime].sort().map(path => {
    const locked = packages[path]
    if (!locked) throw new Error(`${path} is bundled, and package-lock.json does not know it`)
    return componentOf(path.slice(path.lastIndexOf('node_modules/') + 'node_modules/'.length), locked)
  })
  return {
    bomFormat: 'CycloneDX',
    specVersion: '1.6',
    version: 1,
    metadata: {
      component: {
        'bom-ref': `podveil@${version}`,
        type: 'application',
        name: 'podveil',
        version,
        licenses: [{ license: { id: 'Apache-2.0' } }],
      },
    },
    components,
    dependencies: [{ ref: `podveil@${version}`, dependsOn: components.map(component => component['bom-ref']) }],
  }
}

/**
 * Where the package is that a file is of: a scope is part of the name, and packages are inside of packages.
 * @param {string} input
 */
const packageOf = input => /^(?:.*\/)?node_modules\/(?:@[^/]+\/)?[^/]+(?=\/)/.exec(input)?.[0]

/**
 * @param {string} name
 * @param {Locked} locked
 */
function componentOf(name, { version, integrity, license }) {
  const purl = `pkg:npm/${name.replace('@', '%40')}@${version}`
  return {
    'bom-ref': purl,
    type: 'library',
    name,
    version,
    purl,
    ...(license !== undefined && { licenses: [{ expression: license }] }),
    ...(integrity !== undefined && { hashes: [hashOf(integrity)] }),
  }
}

/**
 * Of the archive in the registry; Subresource Integrity has it in base64.
 * @param {string} integrity
 */
function hashOf(integrity) {
  const [, algorithm, value] = /^sha(\d+)-(.+)$/.exec(integrity) ?? []
  if (algorithm === undefined || value === undefined)
    throw new Error(`package-lock.json has the integrity ${integrity}`)
  return { alg: `SHA-${algorithm}`, content: Buffer.from(value, 'base64').toString('hex') }
}
