import { expect, test } from 'vitest'
import type { Lab, LabNode } from '#src/lab/lab.ts'
import { inNamespace } from '#src/lab/namespaces.ts'
import { must } from '#src/lab/run.ts'
import type { Family } from '#wg/ip.ts'
import { patchPodveil } from '../guard/support/cluster.ts'
import { describeLab } from '../harness/requirements.ts'
import { waitFor } from '../harness/wait-for.ts'
import { caseLimit, limit, meshNeeds } from './support/profile.ts'
import { nodeOf, onNode, withEncryptedMesh } from './support/with-mesh.ts'

/** Milliseconds: a lab has no time to wait for what a cluster waits for. */
const HASTE = { PODVEIL_PATH_MTU_PERIOD: '3000', PODVEIL_PATH_MTU_RECHECK: '8000' }

/** The largest packet that the underlay carries between the two nodes, and what fits in: less WireGuard's 60 or 80, a multiple of 16. */
const CARRIED: Readonly<Record<Family, number>> = { 4: 1296, 6: 1400 }
const FITS: Readonly<Record<Family, number>> = { 4: 1232, 6: 1312 }

/** Of every agent; the device of each family has the lesser of its tables. */
const DEVICES: Readonly<Record<Family, string>> = { 4: 'wireguard.cali', 6: 'wg-v6.cali' }

describeLab('a path that drops large packets without a word', meshNeeds, () => {
  test(
    'is found by both of its nodes: what it carries gets through, senders are told, and no other path is touched',
    async () => {
      await withEncryptedMesh({ nodes: 3, agentEnv: HASTE }, async lab => {
        const [one, two, three] = [nodeOf(lab, 1), nodeOf(lab, 2), nodeOf(lab, 3)]
        await lab.traffic.start({ rate: 5 })
        await patchPodveil(lab, { pathMtuProbing: false })
        await dropLarge(lab, one, two)

        // While nobody probes: this is what the users of such a path see.
        for (const family of lab.plan.families) {
          expect(await ping(one, two, family, 1_000)).toMatchObject({ answered: true })
          expect(await ping(one, two, family, FITS[family] + 16)).toMatchObject({ answered: false })
        }
        expect(await sendMuch(one, two, 7071, 4)).toBe(false)

        await patchPodveil(lab, { pathMtuProbing: true })
        for (const family of lab.plan.families)
          for (const [from, to] of [
            [one, two],
            [two, one],
          ] as const)
            await waitFor(
              async () => {
                expect(await routeMtu(from, to, family)).toBe(FITS[family])
                return true
              },
              limit(100_000),
              `${from.name} to find the path to ${to.name} in IPv${family}`,
            )
        await waitFor(async () => (await metric(one, 'node-2', 4)) === FITS[4], limit(20_000), 'the metric to say it')
        expect(one.agent.logs()).toMatch(
          /"event":"path-mtu-smaller","peer":"node-2","family":4,"mtu":1232,"tunnel":1440/,
        )

        for (const family of lab.plan.families) {
          expect((await ping(one, two, family, FITS[family] + 16)).told).toBe(FITS[family])
          expect(await ping(one, two, family, FITS[family])).toMatchObject({ answered: true })
          for (const [from, to] of [
            [one, three],
            [three, one],
            [three, two],
          ] as const)
            expect(await routeMtu(from, to, family)).toBeUndefined()
        }
        expect(await sendMuch(one, two, 7072, 50)).toBe(true)

        // What was found is in the kernel's routes, and an agent that is started again takes it from there.
        await one.agent.restart('SIGKILL')
        await one.agent.ready(limit(60_000))
        for (const family of lab.plan.families) expect(await routeMtu(one, two, family)).toBe(FITS[family])

        await onSwitch(lab, 'delete table bridge test_path')
        for (const family of lab.plan.families)
          await waitFor(
            async () => {
              expect(await routeMtu(one, two, family)).toBeUndefined()
              return true
            },
            limit(60_000),
            `the path to carry all again in IPv${family}`,
          )
        await lab.traffic.stop()
      })
    },
    caseLimit(300),
  )
})

/** Drops, in the midst of the underlay, what is too large between two nodes: both ways, and without ICMP. */
function dropLarge(lab: Lab, a: LabNode, b: LabNode): Promise<void> {
  const rules = lab.plan.families.map(family => {
    const ip = family === 4 ? 'ip' : 'ip6'
    // IPv6 counts what follows its header.
    const length = CARRIED[family] - (family === 4 ? 0 : 40)
    const ends = `{ ${[a, b].map(node => addressOf(node.addresses, family)).join(', ')} }`
    return `${ip} saddr ${ends} ${ip} daddr ${ends} ${ip} length > ${length} drop`
  })
  const chain = `chain forward { type filter hook forward priority 0; policy accept; ${rules.join('; ')}; }`
  return onSwitch(lab, `add table bridge test_path; table bridge test_path { ${chain}; }`)
}

async function onSwitch(lab: Lab, commands: string): Promise<void> {
  await must(inNamespace(lab.plan.switchNamespace, ['nft', commands]))
}

/** One packet of this size that nobody may fragment, from pod to pod. @returns whether it was answered, and the MTU that the sender was told */
async function ping(from: LabNode, to: LabNode, family: Family, size: number) {
  const payload = size - (family === 4 ? 28 : 48)
  const address = addressOf(to.pod.addresses, family)
  const flags = ['-n', '-c', '3', '-i', '0.2', '-W', '1', '-M', 'do', '-s', String(payload)]
  const { stdout, stderr } = await from.pod.exec(['ping', ...flags, address])
  const told = /mtu ?= ?(\d+)/.exec(stdout + stderr)?.[1]
  return { answered: /[1-9]\d* received/.test(stdout), told: told === undefined ? undefined : Number(told) }
}

const MUCH = 300_000

/**
 * Segments as large as TCP likes to make them, from pod to pod.
 * @param port another one each time, as what is stuck stays until the lab goes
 * @returns whether all of it arrived in time
 */
async function sendMuch(from: LabNode, to: LabNode, port: number, seconds: number): Promise<boolean> {
  const server = `require('net').createServer({allowHalfOpen:true},s=>{let n=0;s.on('error',()=>{});s.on('data',d=>n+=d.length);s.on('end',()=>s.end(String(n)));s.on('close',()=>process.exit())}).listen(${port})`
  const client = `const s=require('net').connect(${port},'${addressOf(to.pod.addresses, 4)}');s.on('error',()=>process.exit(2));s.end(Buffer.alloc(${MUCH}));s.on('data',d=>{console.log(String(d));process.exit()})`
  void to.pod.exec(['timeout', '120', process.execPath, '-e', server], { timeoutMs: 120_000 })
  const connect = async () => {
    const { stdout, status } = await from.pod.exec(['timeout', String(seconds), process.execPath, '-e', client])
    // Nobody listens yet.
    return status !== 2 && { arrived: stdout.trim() === String(MUCH) }
  }
  const { arrived } = await waitFor(connect, limit(30_000) + seconds * 1_000, 'a connection')
  return arrived
}

/** Of the route that a pod's packets take. */
async function routeMtu(from: LabNode, to: LabNode, family: Family): Promise<number | undefined> {
  const routes = await onNode(from, `ip -${family} route show table all dev ${DEVICES[family]}`)
  const [cidr = ''] = to.podCidrs.filter(one => isOf(family, one))
  const route = routes.split('\n').find(line => line.startsWith(`${cidr} `))
  if (route === undefined) throw new Error(`no route to ${cidr} in ${routes}`)
  const mtu = / mtu (\d+)/.exec(route)?.[1]
  return mtu === undefined ? undefined : Number(mtu)
}

/** @returns undefined where the agent does not know it */
async function metric(node: LabNode, peer: string, family: Family): Promise<number | undefined> {
  const start = `podveil_path_mtu_bytes{peer="${peer}",family="${family}"}`
  const line = (await node.agent.metrics()).split('\n').find(one => one.startsWith(start))
  return line === undefined ? undefined : Number(line.split(' ').at(-1))
}

function addressOf(addresses: readonly string[], family: Family): string {
  const address = addresses.find(one => isOf(family, one))
  if (address === undefined) throw new Error(`no IPv${family} address among ${addresses.join(' ')}`)
  return address
}

const isOf = (family: Family, address: string): boolean => address.includes(':') === (family === 6)
