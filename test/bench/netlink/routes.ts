import { parseCidr } from '#wg/ip.ts'
import { makeRoute, type Route } from '#wg/rtnetlink/route.ts'
import { RouteNetlink, type RouteOperation } from '#wg/rtnetlink/route-netlink.ts'
import { Namespace } from '../../host/netlink/namespace.ts'
import type { Step, Steps } from './step.ts'

/** Two tables, so that neither side finds what the other has made. */
const [OURS, THEIRS] = [4_000, 4_001]
const PROTOCOL = 80

/** Host routes of a table of their own: added, read, one of them changed, deleted. */
export async function routeSteps(count: number): Promise<Steps> {
  using stack = new DisposableStack()
  const namespace = stack.use(new Namespace())
  for (const name of ['t0', 't1']) namespace.addDevice(name)
  const connection = stack.use(RouteNetlink.openIn(namespace.path))
  const [first = 0, second = 0] = [(await connection.link('t0'))?.index, (await connection.link('t1'))?.index]
  const numbers = [...Array(count).keys()]
  const middle = count >> 1
  const apply = async (operations: readonly RouteOperation[]): Promise<void> => {
    for (const error of await connection.applyRoutes(operations)) if (error !== undefined) throw error
  }
  const adding = numbers.map((n): RouteOperation => ({ op: 'replace', route: route(n, first) }))
  const deleting = numbers.map(
    (n): RouteOperation => ({ op: 'delete', route: route(n, n === middle ? second : first) }),
  )
  const batch = (lines: readonly string[]) => {
    const input = lines.map(line => `${line}\n`).join('')
    return (prefix: readonly string[] = []) => namespace.run([...prefix, 'ip', '-batch', '-'], input)
  }
  const line = (verb: string, n: number, device: string): string =>
    `route ${verb} ${address(n)}/32 dev ${device} table ${THEIRS} proto ${PROTOCOL}`
  const changed = batch([line('replace', middle, 't1')])
  const steps: Step[] = [
    {
      what: 'routes added',
      tool: 'ip -batch',
      podveil: () => apply(adding),
      tools: batch(numbers.map(n => line('replace', n, 't0'))),
      requests: count,
    },
    {
      what: 'routes read',
      tool: 'ip route show',
      podveil: () => connection.routes({ family: 4, table: OURS }),
      tools: (prefix = []) => namespace.run([...prefix, 'ip', 'route', 'show', 'table', String(THEIRS)]),
      requests: 1,
    },
    {
      what: 'routes, one of them changed',
      tool: 'ip -batch',
      podveil: () => apply([{ op: 'replace', route: route(middle, second) }]),
      tools: changed,
      requests: 1,
    },
    {
      what: 'routes deleted',
      tool: 'ip -batch',
      podveil: () => apply(deleting),
      tools: batch(numbers.map(n => line('del', n, n === middle ? 't1' : 't0'))),
      requests: count,
    },
  ]
  const owned = stack.move()
  return {
    steps,
    startTool: () => namespace.run(['ip', '-V']),
    [Symbol.asyncDispose]: async () => owned.dispose(),
  }
}

const address = (n: number): string => `10.${n >>> 16}.${(n >>> 8) & 255}.${n & 255}`

const route = (n: number, device: number): Route =>
  makeRoute({ table: OURS, destination: parseCidr(address(n)), type: 'unicast', device, protocol: PROTOCOL })
