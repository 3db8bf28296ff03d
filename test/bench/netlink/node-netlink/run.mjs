// The same work through node-netlink: run.mjs DEVICE COUNT, inside of the network namespace. It sends one message
// at a time and has no batches.

import netlink from 'node-netlink'

const [device, count] = process.argv.slice(2).map(Number)
const RTM_NEWROUTE = 24n
const RTM_DELROUTE = 25n
const RTM_GETROUTE = 26n
const NLM_F_REPLACE = 0x100n

/** struct rtmsg: unicast, scope link, protocol 80; RTA_DST, RTA_TABLE, RTA_OIF. */
function route(n) {
  const payload = Buffer.alloc(12 + 3 * 8)
  payload.set([2, 32, 0, 0, 0, 80, 253, 1])
  for (const [index, type] of [1, 15, 4].entries()) payload.set([8, 0, type, 0], 12 + index * 8)
  payload.set([10, (n >>> 16) & 255, (n >>> 8) & 255, n & 255], 16)
  payload.writeUInt32LE(4000, 24)
  payload.writeUInt32LE(device, 32)
  return payload
}

const connection = await netlink.open({ family: 0 })
const talk = (type, flags, payload) =>
  connection.talk({
    header: { nlmsg_type: type, nlmsg_flags: netlink.NLM_F_REQUEST | netlink.NLM_F_ACK | flags },
    payload,
  })

async function timed(step) {
  const start = performance.now()
  await step()
  return performance.now() - start
}

async function each(type, flags) {
  for (let n = 0; n < count; n++) await talk(type, flags, route(n))
}

const add = await timed(() => each(RTM_NEWROUTE, netlink.NLM_F_CREATE | NLM_F_REPLACE))
const list = await timed(() =>
  talk(RTM_GETROUTE, netlink.NLM_F_DUMP, Buffer.from([2, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0])),
)
console.log(JSON.stringify({ add, list, delete: await timed(() => each(RTM_DELROUTE, 0n)) }))
process.exit(0)
