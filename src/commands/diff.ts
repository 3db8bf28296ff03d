import type { Command } from 'commander'
import { jsonOption, print, printJson, stateDirOption } from './common.ts'

/** `podveil diff`: what the agent would do to this node's kernel now. */
export function registerDiff(program: Command): void {
  program
    .command('diff')
    .description(
      'what the agent would change in the kernel of this node now, without a single write; exit status 1 when there is something',
    )
    .addOption(jsonOption())
    .addOption(stateDirOption())
    .action(async ({ json, stateDir }: { json?: true; stateDir: string }) => {
      const { lookAtNode } = await import('#src/status/sources/node.ts')
      const { lookAtTable } = await import('#src/status/sources/table.ts')
      const { kernelDiff } = await import('#src/status/kernel-diff.ts')
      const { tableDiff } = await import('#src/status/table-diff.ts')
      const { duration, paintFor } = await import('#src/status/format.ts')
      const { snapshot, kernel, notes } = await lookAtNode(stateDir)
      if (!snapshot || !kernel) throw new Error(notes.join('; '))
      const table = await lookAtTable(stateDir)
      const changes = [
        ...kernelDiff(snapshot, kernel),
        ...(table.missing === undefined ? tableDiff(table.wanted, table.present) : []),
      ]
      const unseen = table.missing === undefined ? [] : [table.missing]
      const paint = paintFor(process.stdout)
      const signs = { add: ['good', '+'], change: ['warn', '~'], remove: ['bad', '-'] } as const
      if (json) printJson({ time: snapshot.time, changes, notes: unseen })
      else if (changes.length === 0)
        print('nothing: the kernel holds all that the agent wants, and nothing else of ours')
      else {
        for (const { op, family, what } of changes) {
          const about = family === null ? what : `IPv${family} ${what}`
          print(paint(signs[op][0], `${signs[op][1]} ${about}`))
        }
        print(paint('faint', `as the agent knew it ${duration(Date.now() - Date.parse(snapshot.time))} ago`))
      }
      if (!json) for (const note of unseen) print(paint('warn', note))
      process.exitCode = changes.length === 0 ? 0 : 1
    })
}
