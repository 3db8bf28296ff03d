#!/usr/bin/env node
// Builds the socket addon from source with the machine's own compiler, offline: one C file against Node's own headers.
//
//   node wg/native/build.mjs          for this machine, into wg/native/build/
//   node wg/native/build.mjs --all    for every platform that a compiler is here for, into wg/native/prebuilds/

import { execFileSync } from 'node:child_process'
import { accessSync, constants, existsSync, mkdirSync, realpathSync } from 'node:fs'
import { delimiter, dirname, join, relative, resolve } from 'node:path'

const here = import.meta.dirname
const root = resolve(here, '../..')
const ADDON = 'podveil-socket.node'

const FLAGS = ['-std=c11', '-O2', '-fPIC', '-shared', '-fvisibility=hidden', '-Wall', '-Wextra', '-Werror']
// A stripped binary that resolves everything at load, not at the first packet.
const LINK_FLAGS = ['-s', '-Wl,-z,relro,-z,now']

/** @type {readonly { platform: string, compilers: readonly string[], flags?: readonly string[] }[]} */
const TARGETS = [
  { platform: 'linux-x64-glibc', compilers: ['x86_64-linux-gnu-gcc'] },
  { platform: 'linux-arm64-glibc', compilers: ['aarch64-linux-gnu-gcc'] },
  { platform: 'linux-x64-musl', compilers: ['x86_64-linux-musl-gcc', ...(process.arch === 'x64' ? ['musl-gcc'] : [])] },
  {
    platform: 'linux-arm64-musl',
    compilers: ['aarch64-linux-musl-gcc', ...(process.arch === 'arm64' ? ['musl-gcc'] : [])],
  },
]

/** The headers of the Node that runs this, or of one whose ABI is the same: Node-API and libuv's poll are stable. */
function includeDirectory() {
  const candidates = [
    resolve(dirname(realpathSync(process.execPath)), '../include/node'),
    join(root, `node_modules/node-linux-${process.arch}/include/node`),
    '/usr/include/node',
    '/usr/local/include/node',
  ]
  const found = candidates.find(
    directory => existsSync(join(directory, 'node_api.h')) && existsSync(join(directory, 'uv.h')),
  )
  if (!found)
    fail(
      `no Node.js headers (node_api.h, uv.h): run npm ci, or install libnode-dev. Looked in ${candidates.join(', ')}`,
    )
  return found
}

/** @param {string} program */
function isInstalled(program) {
  const directories = program.includes('/') ? [''] : (process.env.PATH ?? '').split(delimiter)
  return directories.some(directory => {
    try {
      accessSync(join(directory, program), constants.X_OK)
      return true
    } catch {
      return false
    }
  })
}

/**
 * @param {string} compiler
 * @param {string} directory
 */
function compile(compiler, directory) {
  mkdirSync(directory, { recursive: true })
  const output = join(directory, ADDON)
  execFileSync(
    compiler,
    [...FLAGS, ...LINK_FLAGS, '-isystem', includeDirectory(), '-o', output, join(here, 'socket.c')],
    {
      stdio: 'inherit',
    },
  )
  console.log(`built ${relative(root, output)} with ${compiler}`)
}

/** @param {string} message */
function fail(message) {
  console.error(message)
  process.exit(1)
}

if (process.argv.includes('--all')) {
  for (const { platform, compilers } of TARGETS) {
    const compiler = compilers.find(isInstalled)
    if (compiler) compile(compiler, join(here, 'prebuilds', platform))
    else console.log(`skipped ${platform}: none of ${compilers.join(', ')} is installed`)
  }
} else {
  const compiler = process.env.CC ?? ['cc', 'gcc', 'clang'].find(isInstalled)
  if (!compiler) fail('no C compiler: install gcc (apt-get install gcc libc6-dev), or set CC')
  else compile(compiler, join(here, 'build'))
}
