/** One line for the record of a run: what was measured, beside the verdict. */
export function tell(what: string, measured: Readonly<Record<string, unknown>>): void {
  console.info(`measured: ${what}: ${JSON.stringify(measured)}`)
}
