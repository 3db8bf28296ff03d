import { spawn } from 'node:child_process'

/** What nft(8) said when it refused. */
export class NftError extends Error {
  override readonly name = 'NftError'
  readonly code = 'ERR_NFT'
}

/** Longer answers than this are not of our table. */
const MOST_OUTPUT = 16 * 1024 * 1024
const LIMIT = 10_000

/** Runs a ruleset as one transaction: all of it, or nothing. @throws NftError */
export async function applyRuleset(ruleset: string): Promise<void> {
  await nft(['-f', '-'], ruleset)
}

/** The rules of a table of family inet as nft writes them, without set elements; undefined where there is no such table. @throws NftError */
export async function listTable(name: string): Promise<string | undefined> {
  try {
    return await nft(['--terse', 'list', 'table', 'inet', name], '')
  } catch (error) {
    if (error instanceof NftError && error.message.includes('No such file')) return undefined
    throw error
  }
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
    child.on('close', status => {
      if (status === 0) resolve(output)
      else reject(new NftError(`nft refused: ${faults.trim().split('\n')[0] ?? `exit status ${status}`}`))
    })
    // A child that has gone already says why by its exit status.
    child.stdin.on('error', () => {})
    child.stdin.end(input)
  })
}
