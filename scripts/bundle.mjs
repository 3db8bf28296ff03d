#!/usr/bin/env node
// Makes dist/ of src/: what goes into the image, which has neither the sources nor node_modules.
//
//   node scripts/bundle.mjs          the program and the socket addon that is built here
//   node scripts/bundle.mjs --out DIR [--version VERSION]
//
// dist/podveil.mjs is the program, which dist/podveil starts; what it loads only when asked for is in chunks beside it. The lab
// stays out: it needs the sources. The script fails when the agent would load more at its start than it needs.

import { chmodSync, copyFileSync, existsSync, mkdirSync, readFileSync, rmSync, statSync, writeFileSync } from 'node:fs'
import { join, relative, resolve } from 'node:path'
import { parseArgs } from 'node:util'
import { build } from 'esbuild'
import { sbom } from './sbom.mjs'

const root = resolve(import.meta.dirname, '..')
const ADDON = 'podveil-socket.node'
const ENTRY = 'podveil.mjs'
const START = 'podveil'

/** What must not be loaded before somebody asks for it: tens of megabytes, or not there at all. */
const LAZY = [/@kubernetes\/client-node/, /src\/lab\//, /src\/cluster\/kubeconfig\.ts/]

/** Commands of the lab stay in the command line, and say where they run. */
const withoutLab = {
  name: 'without-lab',
  /** @param {import('esbuild').PluginBuild} bundler */
  setup(bundler) {
    bundler.onResolve({ filter: /^#src\/lab\// }, ({ path }) => ({ path, namespace: 'without-lab' }))
    bundler.onLoad({ filter: /.*/, namespace: 'without-lab' }, () => ({
      contents: "throw new Error('the lab is not part of this bundle: run `bin/podveil lab` in a checkout of Podveil')",
      loader: 'js',
    }))
  },
}

/**
 * The version that the program says it is of.
 * @param {string | undefined} version that of package.json without
 */
const versionOf = version => ({
  name: 'version',
  /** @param {import('esbuild').PluginBuild} bundler */
  setup(bundler) {
    if (version === undefined) return
    bundler.onLoad({ filter: /\/package\.json$/ }, ({ path }) =>
      path === join(root, 'package.json') ? { contents: JSON.stringify({ version }), loader: 'json' } : undefined,
    )
  },
})

/**
 * @param {string} directory
 * @param {string | undefined} version
 */
async function bundle(directory, version) {
  rmSync(directory, { recursive: true, force: true })
  const { metafile } = await build({
    absWorkingDir: root,
    entryPoints: { podveil: 'src/cli.ts' },
    outdir: directory,
    outExtension: { '.js': '.mjs' },
    // In one directory: the socket addon is looked for beside the code that loads it.
    chunkNames: 'chunk-[hash]',
    bundle: true,
    splitting: true,
    format: 'esm',
    platform: 'node',
    target: 'node24',
    // Names of errors are part of what is logged.
    keepNames: true,
    minifySyntax: true,
    minifyWhitespace: true,
    sourcemap: 'linked',
    sourcesContent: false,
    legalComments: 'external',
    metafile: true,
    logLevel: 'warning',
    plugins: [withoutLab, versionOf(version)],
    // Packages in CommonJS call require() for Node's own modules.
    banner: {
      js: "import { createRequire as createRequireOfBundle } from 'node:module'; const require = createRequireOfBundle(import.meta.url);",
    },
  })
  return metafile
}

/**
 * Outputs that are loaded with the entry: by import statements, not by import() calls.
 * @param {import('esbuild').Metafile} metafile
 * @param {string} output
 * @param {Set<string>} [seen]
 */
function loadedWith(metafile, output, seen = new Set()) {
  if (seen.has(output)) return seen
  seen.add(output)
  for (const { path, kind } of metafile.outputs[output]?.imports ?? [])
    if (kind === 'import-statement' && path in metafile.outputs) loadedWith(metafile, path, seen)
  return seen
}

/**
 * The output that has this module as its entry: esbuild gives every target of import() one.
 * @param {import('esbuild').Metafile} metafile
 * @param {string} source
 */
function outputOf(metafile, source) {
  const found = Object.entries(metafile.outputs).find(([, { entryPoint }]) => entryPoint === source)
  if (!found) throw new Error(`the bundle has no ${source}`)
  return found[0]
}

/** @param {import('esbuild').Metafile} metafile */
function checkStart(metafile) {
  const agent = loadedWith(metafile, outputOf(metafile, 'src/agent/agent.ts'))
  const atStart = loadedWith(metafile, outputOf(metafile, 'src/cli.ts'), agent)
  for (const output of atStart)
    for (const source of Object.keys(metafile.outputs[output]?.inputs ?? {}))
      if (LAZY.some(pattern => pattern.test(source))) throw new Error(`the agent would load ${source} at its start`)
  return atStart
}

const { values } = parseArgs({
  options: { out: { type: 'string', default: join(root, 'dist') }, version: { type: 'string' } },
})
const out = resolve(values.out)
const metafile = await bundle(out, values.version)
const atStart = checkStart(metafile)

const addon = join(root, 'wg/native/build', ADDON)
if (!existsSync(addon)) throw new Error(`there is no ${relative(root, addon)}: run npm run build:native`)
mkdirSync(join(out, 'build'), { recursive: true })
copyFileSync(addon, join(out, 'build', ADDON))
copyFileSync(join(root, 'scripts', START), join(out, START))
chmodSync(join(out, START), 0o755)
writeFileSync(join(out, 'metafile.json'), `${JSON.stringify(metafile)}\n`)
const version = values.version ?? JSON.parse(readFileSync(join(root, 'package.json'), 'utf8')).version
const bill = sbom(root, version, Object.keys(metafile.inputs), process.arch)
writeFileSync(join(out, 'sbom.cdx.json'), `${JSON.stringify(bill, undefined, 2)}\n`)

/** @param {Iterable<string>} outputs */
const kilobytes = outputs =>
  Math.round([...outputs].reduce((sum, output) => sum + statSync(join(root, output)).size, 0) / 1000)
const programs = Object.keys(metafile.outputs).filter(output => output.endsWith('.mjs'))
process.stdout.write(
  `${relative(process.cwd(), join(out, ENTRY))}: ${kilobytes(atStart)} kB for the agent's start, ${kilobytes(programs)} kB in all\n`,
)
