import { fileURLToPath } from 'node:url'
import { nodeProgram } from '#src/lab/node-program.ts'
import { must } from '#src/lab/run.ts'

const SCRIPT = fileURLToPath(new URL('../../../scripts/bundle.mjs', import.meta.url))
const DIRECTORY = fileURLToPath(new URL('../../../.cache/bench', import.meta.url))

let made: Promise<string> | undefined

/** The program as the image has it, made once of what is here now. @returns the path of what starts it, by PODVEIL_NODE */
export function bundledProgram(): Promise<string> {
  made ??= must([nodeProgram(), SCRIPT, '--out', DIRECTORY]).then(() => `${DIRECTORY}/podveil`)
  return made
}
