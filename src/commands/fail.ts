/** One line on stderr with what to do about it, and exit status 1. The stack only for those who ask with PODVEIL_DEBUG. */
export function fail(error: unknown): void {
  const message = error instanceof Error ? error.message : String(error)
  process.stderr.write(`podveil: ${message}\n`)
  if (process.env.PODVEIL_DEBUG && error instanceof Error) process.stderr.write(`${error.stack ?? ''}\n`)
  process.exitCode = 1
}
