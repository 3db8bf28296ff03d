import { existsSync } from 'node:fs'
import { fileURLToPath } from 'node:url'

/** The version that runs TypeScript as it is. */
const OLDEST = 24

const BROUGHT = fileURLToPath(new URL('../../node_modules/.bin/node', import.meta.url))

/** The Node.js for processes of the lab: this one, or, under a test runner on an older one, that of the lock file. */
export const nodeProgram = (): string =>
  Number.parseInt(process.versions.node, 10) < OLDEST && existsSync(BROUGHT) ? BROUGHT : process.execPath
