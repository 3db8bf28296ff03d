import { CHAPTERS } from './steps.ts'
import type { Took } from './walker.ts'

/** Beyond it a command's end is of no more interest than its time. */
const SLOW_SECONDS = 2

/** docs/walk-through.md, of a walk that was taken. */
export function walkDocument(taken: readonly (readonly Took[])[]): string {
  const chapters = CHAPTERS.map(({ title, text }, at) => {
    const shown = (taken[at] ?? []).map(stepText).join('\n')
    return `## ${title}\n\n${text}\n\n\`\`\`console\n${shown}\n\`\`\`\n`
  })
  const lines = [
    '# A walk through Podveil',
    '',
    'What somebody sees who has read the [README](../README.md) and tries it: every command and what it printed, in one run of the test suite',
    '(`test/cluster/walk.test.ts`, which makes this page with `PODVEIL_WRITE_WALK=1`). The API server is a real one, the nodes are network namespaces, and',
    '`$LAB` is the name of the lab; the firewall is in the network between the nodes. The kubelets, scheduler and controllers are stand-ins of the test: they run what the',
    `DaemonSet says, and what \`kubectl exec\` and \`podveil verify\` ask for. What took more than ${SLOW_SECONDS} seconds says how long.`,
    '',
  ]
  return `${lines.join('\n')}\n${chapters.join('\n')}`
}

function stepText({ step, output, status, seconds }: Took): string {
  const [first = '', ...more] = step.run.split('\n')
  const command = [`$ ${first}`, ...more].join('\n')
  const slow = seconds > SLOW_SECONDS ? `# after ${Math.round(seconds)} s\n` : ''
  const ended = status === 0 ? '' : `\n# exit status ${status}`
  return `${command}\n${slow}${tidy(output)}${ended}\n`
}

const tidy = (output: string): string =>
  output
    .split('\n')
    .map(line => line.trimEnd())
    .filter(line => !/^Warning: resource .* missing the kubectl.kubernetes.io\/last-applied/.test(line))
    .join('\n')
    .trimEnd()

/** The commands that a page shows, in order: one line each, or up to the end of the text that it is given (`<<'YAML'`). */
export const commandsIn = (markdown: string): string[] =>
  [...markdown.matchAll(/^\$ (.*<<'(\w+)'\n[\s\S]*?\n\2$|.*)/gm)].map(([, command = '']) => command)
