// What a tier cannot do on this machine is skipped with its reason, and the caller can tell that from a failure: the status is 77, as
// automake has it.

export const SKIPPED = 77

export class Skip extends Error {
  override readonly name = 'Skip'
}

/** Runs a tool's main function; what it throws becomes one line and a status: 77 for a Skip, 1 for anything else. */
export async function runTool(name: string, main: (args: string[]) => Promise<number>): Promise<void> {
  try {
    process.exitCode = await main(process.argv.slice(2))
  } catch (error) {
    const skipped = error instanceof Skip
    const message = error instanceof Error ? error.message : String(error)
    console.error(`${name}: ${skipped ? 'SKIPPED: ' : ''}${message}`)
    process.exitCode = skipped ? SKIPPED : 1
  }
}
