import { spawn } from 'node:child_process'

/** What nft(8) said when it refused. */
export class NftError extends Error {
  override readonly name = 'NftError'
  readonly code = 'ERR_NFT'
}

/** Longer answers than this are not of our table. */
const MOST_OUTPUT = 16 * 1024 * 1024
/** Milliseconds: the first ruleset may have to load a dozen modules. */
const LIMIT = 60_000

/** Runs a ruleset as one transaction: all of it, or nothing. @throws NftError */
export async function applyRuleset(ruleset: string): Promise<void> {
  await nft(['-f', '-'], ruleset)
}

/** A table as nft writes it; undefined where there is no such table. @throws NftError */
export async function listTable(name: string, family: 'inet' | 'arp' = 'inet'): Promise<string | undefined> {
  try {
    return await nft(['list', 'table', family, name], '')
  } catch (error) {
    if (error instanceof NftError && error.message.includes('No such file')) return undefined
    throw error
  }
}

/** All rules of the network namespace as libnftables-json(5) has them, without elements of sets. @throws NftError, SyntaxError */
export async function listRules(): Promise<unknown> {
  return JSON.parse(await nft(['-j', '-t', 'list', 'ruleset'], ''))
}

/** Packets of each named counter of a table of family inet. @throws NftError */
export async function readCounters(table: string): Promise<ReadonlyMap<string, number>> {
  const listed: unknown = JSON.parse(await nft(['-j', 'list', 'counters', 'table', 'inet', table], ''))
  const counters = new Map<string, number>()
  const objects = listed !== null && typeof listed === 'object' && 'nftables' in listed ? listed.nftables : []
  for (const object of Array.isArray(objects) ? objects : []) {
    const { name, packets } = (object as { counter?: { name?: unknown; packets?: unknown } }).counter ?? {}
    if (typeof name === 'string' && typeof packets === 'number') counters.set(name, packets)
  }
  return counters
}

function nft(argv: readonly string[], input: string): Promise<string> {
  return new Promise((resolve, reject) => {
    const child = spawn('nft', argv, { stdio: 'pipe', timeout: LIMIT })
    let output = ''
    let faults = ''
    child.stdout.on('data', chunk => {
      if (output.length < MOST_OUTPUT) output += chunk
    })
    child.stderr.on('data', chunk => {
      if (faults.length < 4_096) faults += chunk
    })
    child.on('error', (error: NodeJS.ErrnoException) =>
      reject(
        new NftError(
          error.code === 'ENOENT'
            ? 'nft is not installed: install the package nftables; without it nothing marks what a strict reverse-path filter must let in'
            : `cannot run nft: ${error.message}`,
          { cause: error },
        ),
      ),
    )
    child.on('close', (status, signal) => {
      if (status === 0) resolve(output)
      else if (signal !== null) reject(new NftError(`nft was ended by ${signal}: it has ${LIMIT / 1000} s`))
      else reject(new NftError(`nft refused: ${faults.trim().split('\n')[0] ?? `exit status ${status}`}`))
    })
    // A child that has gone already says why by its exit status.
    child.stdin.on('error', () => {})
    child.stdin.end(input)
  })
}
