import { execFileSync } from 'node:child_process'
import { fileURLToPath } from 'node:url'
import { expect, test } from 'vitest'
import { nodeProgram } from '#src/lab/node-program.ts'
import { describeInNamespaces, Namespace } from '../netlink/namespace.ts'

const RECONCILE = fileURLToPath(new URL('./fixtures/reconcile.ts', import.meta.url))

/** The firewall works on the namespace of its process, so it is given one of its own. */
function reconcile(namespace: Namespace): Record<string, unknown> {
  const argv = ['netns', 'exec', namespace.name, nodeProgram(), RECONCILE]
  const text = execFileSync('ip', argv, { encoding: 'utf8', stdio: ['ignore', 'pipe', 'inherit'] })
  const lines = text.trimEnd().split('\n')
  return Object.fromEntries(
    lines.map(line => {
      const { step, outcome } = JSON.parse(line) as { step: string; outcome: unknown }
      return [step, outcome]
    }),
  )
}

describeInNamespaces('our tables', () => {
  test('are brought to what is desired from whatever is there, with as little as that takes', () => {
    using namespace = new Namespace()
    namespace.addDevice('eth0')
    namespace.ip('address add 10.200.0.11/24 dev eth0')
    namespace.ip('route add default dev eth0')
    const repaired = { outcome: 'repaired', asBefore: true }

    expect(reconcile(namespace)).toEqual({
      'at first': 'written',
      again: 'unchanged',
      'looking again': 'unchanged',
      'another prefix': 'written',
      'the first prefix': 'written',
      'listings, told of what was written ourselves': 0,
      'listings, told of what others wrote': 1,
      'listings, for another prefix': [0, true],
      'others empty a set right after a write of another prefix': true,
      'others write what we are about to, and flush a chain with it': true,
      'a prefix that nft spells in its own way': ['unchanged', 'written', true],
      'the table was deleted': repaired,
      'a chain was flushed': repaired,
      'a rule was put first': repaired,
      'a set was emptied': repaired,
      'a chain, a set and a map were added': repaired,
      'a set is of another type': repaired,
      'a chain is at another hook': repaired,
      'others flush a chain right after the first write': repaired,
      'others write a table of theirs meanwhile': 'written',
      'others go on flushing it for a while': true,
      'a write before anybody has been told of a flush': 'repaired',
      'what that leaves': true,
      'a packet was counted': true,
      'it still is after a change of rules and a restart': true,
      off: 'repaired',
      'what off leaves': null,
      'on again': 'written',
      removed: 'written',
      'removed again': 'unchanged',
      'what is left': '',
      'no marks for neighbours': 'unchanged',
      'marks for neighbours': 'written',
      'the same marks': 'unchanged',
      'the same marks, looked at': 'unchanged',
      'what marks them': [
        'chain mark_question {',
        'type filter hook input priority filter; policy accept;',
        'meta mark set meta mark | 0x00200000',
      ],
      'others flush the marks right after the first write': true,
      'somebody flushed the marks': 'repaired',
      'another agent takes the marks away': 'written',
      'what is left of them': '',
    })
  })
})
