import { constants } from 'node:os'
import { expect, test, vi } from 'vitest'
import { AttributeWriter } from '#wg/netlink/attributes.ts'
import { Connection, type ConnectionOptions } from '#wg/netlink/connection.ts'
import { NetlinkError } from '#wg/netlink/errors.ts'
import {
  type NetlinkMessage,
  type NetlinkRequest,
  NLM_F_ACK,
  NLM_F_DUMP,
  NLM_F_DUMP_INTR,
  NLM_F_REQUEST,
  NLMSG_OVERRUN,
} from '#wg/netlink/message.ts'
import { acknowledgement, done, KernelDouble, part, refusal } from './kernel-double.ts'

const { EINVAL, ENODEV, EPERM, ENOBUFS, EBUSY } = constants.errno
const REPLY = 16

const aRequest = (...bytes: number[]): NetlinkRequest => ({ type: 18, flags: 0, payload: Uint8Array.from(bytes) })

function connect(options?: ConnectionOptions): { kernel: KernelDouble; connection: Connection } {
  const kernel = new KernelDouble()
  return { kernel, connection: new Connection(kernel, options) }
}

const answerEach = (kernel: KernelDouble, answer: (message: NetlinkMessage) => Uint8Array[]): void => {
  kernel.onSend = messages => {
    for (const message of messages) kernel.receive(answer(message))
  }
}

const payloads = (messages: readonly NetlinkMessage[]): number[][] => messages.map(({ payload }) => [...payload])

test('a request is done when the kernel has acknowledged it', async () => {
  const { kernel, connection } = connect()
  answerEach(kernel, message => [acknowledgement(message)])
  await connection.request(aRequest(1), 'set something')
  expect(kernel.sent[0]?.flags).toBe(NLM_F_REQUEST | NLM_F_ACK)
})

test('a refusal says what was tried, the error by name and what to do about it', async () => {
  const { kernel, connection } = connect()
  answerEach(kernel, message => [refusal(message, { errno: EPERM })])
  const error = await connection.request(aRequest(1), 'delete link wg0').catch(error => error)
  expect(error).toBeInstanceOf(NetlinkError)
  expect(error).toMatchObject({ code: 'ERR_NETLINK', errno: EPERM, errnoName: 'EPERM', operation: 'delete link wg0' })
  expect(error.message).toBe('delete link wg0: EPERM: needs CAP_NET_ADMIN in this network namespace')
})

test("the kernel's own words and the attribute that it refused come with the error", async () => {
  const { kernel, connection } = connect()
  const payload = new AttributeWriter()
    .raw(Uint8Array.of(2, 0, 0, 0))
    .u32(7, 1)
    .u32(9, 2)
    .bytes()
  answerEach(kernel, message => [refusal(message, { errno: EINVAL, text: 'bad thing', offset: 16 + 4 + 8 })])
  await expect(connection.request({ type: 24, flags: 0, payload }, 'add')).rejects.toMatchObject({
    message: 'add: EINVAL: bad thing; attribute 9',
    extack: { message: 'bad thing', attribute: 9 },
  })
})

test("the kernel's words are found behind a request that it sends back in full", async () => {
  const { kernel, connection } = connect()
  answerEach(kernel, message => [refusal(message, { errno: EINVAL, text: 'bad thing', echo: message })])
  await expect(connection.request(aRequest(1, 2, 3, 4), 'add')).rejects.toThrow('add: EINVAL: bad thing')
})

test('replies that come in another order find their requests', async () => {
  const { kernel, connection } = connect()
  const waiting: NetlinkMessage[] = []
  kernel.onSend = messages => {
    waiting.push(...messages)
    if (waiting.length < 3) return
    for (const message of waiting.toReversed())
      kernel.receive([part(message, REPLY, message.payload), acknowledgement(message)])
  }
  const replies = await Promise.all([1, 2, 3].map(n => connection.get(aRequest(n), `get ${n}`)))
  expect(payloads(replies)).toEqual([[1], [2], [3]])
})

test('what another process sends is not an answer', async () => {
  const { kernel, connection } = connect()
  kernel.onSend = ([message]) => {
    if (message === undefined) return
    kernel.receive([refusal(message, { errno: ENODEV })], 4711)
    kernel.receive([acknowledgement(message)])
  }
  await expect(connection.request(aRequest(1), 'set')).resolves.toBeUndefined()
})

test('an answer with a sequence number that nobody waits for is passed over', async () => {
  const { kernel, connection } = connect()
  answerEach(kernel, message => [
    refusal({ ...message, sequence: message.sequence + 1000 }, { errno: ENODEV }),
    acknowledgement(message),
  ])
  await expect(connection.request(aRequest(1), 'set')).resolves.toBeUndefined()
})

test('a get that is acknowledged without an object fails', async () => {
  const { kernel, connection } = connect()
  answerEach(kernel, message => [acknowledgement(message)])
  await expect(connection.get(aRequest(1), 'read it')).rejects.toMatchObject({ errnoName: 'ENODATA' })
})

test('a dump gathers every message up to the end', async () => {
  const { kernel, connection } = connect()
  kernel.onSend = ([message]) => {
    if (message === undefined) return
    kernel.receive([part(message, REPLY, Uint8Array.of(1)), part(message, REPLY, Uint8Array.of(2))])
    kernel.receive([part(message, REPLY, Uint8Array.of(3)), done(message)])
  }
  expect(payloads(await connection.dump(aRequest(), 'list'))).toEqual([[1], [2], [3]])
  expect(kernel.sent[0]?.flags).toBe(NLM_F_REQUEST | NLM_F_DUMP)
})

test('what a dump returned does not change when the receive buffer is used again', async () => {
  const { kernel, connection } = connect()
  kernel.onSend = ([message]) => {
    if (message === undefined) return
    const slab = Buffer.concat([part(message, REPLY, Uint8Array.of(7)), done(message)])
    kernel.receive([slab])
    slab.fill(0xff)
  }
  const [message] = await connection.dump(aRequest(), 'list')
  expect([...(message?.payload ?? [])]).toEqual([7])
})

test.each(['the first message', 'the end'])('a dump that is marked as interrupted on %s is made again', async where => {
  const { kernel, connection } = connect()
  answerEach(kernel, message => {
    const isFirst = kernel.sends.length === 1
    const flags = isFirst && where === 'the first message' ? NLM_F_DUMP_INTR : 0
    const end = done(message)
    if (isFirst && where === 'the end') new DataView(end.buffer).setUint16(6, NLM_F_DUMP_INTR, true)
    return [part(message, REPLY, Uint8Array.of(kernel.sends.length), flags), end]
  })
  expect(payloads(await connection.dump(aRequest(), 'list'))).toEqual([[2]])
})

test('a dump that is always interrupted fails with an error that says so', async () => {
  const { kernel, connection } = connect({ dumpAttempts: 3 })
  answerEach(kernel, message => [part(message, REPLY, Uint8Array.of(1), NLM_F_DUMP_INTR), done(message)])
  await expect(connection.dump(aRequest(), 'list')).rejects.toMatchObject({ errnoName: 'EINTR', retriable: true })
  expect(kernel.sends).toHaveLength(3)
})

test('an error at the end of a dump is an error', async () => {
  const { kernel, connection } = connect()
  answerEach(kernel, message => [done(message, { errno: EINVAL, text: 'Invalid header' })])
  await expect(connection.dump(aRequest(), 'list')).rejects.toThrow('list: EINVAL: Invalid header')
})

test('a dump that the kernel refuses at once is an error', async () => {
  const { kernel, connection } = connect()
  answerEach(kernel, message => [refusal(message, { errno: EBUSY })])
  await expect(connection.dump(aRequest(), 'list')).rejects.toMatchObject({ errnoName: 'EBUSY' })
})

test('dumps wait for each other, because the kernel makes one at a time', async () => {
  const { kernel, connection } = connect()
  let running = 0
  let most = 0
  kernel.onSend = ([message]) => {
    if (message === undefined) return
    most = Math.max(most, ++running)
    setImmediate(() => {
      running--
      kernel.receive([part(message, REPLY, message.payload), done(message)])
    })
  }
  const dumps = await Promise.all([1, 2, 3].map(n => connection.dump(aRequest(n), `list ${n}`)))
  expect(dumps.map(payloads)).toEqual([[[1]], [[2]], [[3]]])
  expect(most).toBe(1)
})

test('after a dump that was given up the next one waits for its end', async () => {
  const { kernel, connection } = connect()
  const abort = new AbortController()
  const first = connection.dump(aRequest(1), 'list 1', abort.signal)
  await vi.waitFor(() => expect(kernel.sends).toHaveLength(1))
  abort.abort(new Error('enough'))
  await expect(first).rejects.toThrow('enough')

  const second = connection.dump(aRequest(2), 'list 2')
  await new Promise(setImmediate)
  expect(kernel.sends).toHaveLength(1)
  answerEach(kernel, message => [part(message, REPLY, message.payload), done(message)])
  kernel.onSend(kernel.sent)
  expect(payloads(await second)).toEqual([[2]])
})

test('a batch goes out some 200 to a send, and each has a result of its own', async () => {
  const { kernel, connection } = connect()
  answerEach(kernel, message => [
    message.payload[0] === 7 ? refusal(message, { errno: ENODEV }) : acknowledgement(message),
  ])
  const requests = Array.from({ length: 450 }, (_, n) => aRequest(n === 321 ? 7 : 0))
  const results = await connection.batch(requests, index => `add ${index}`)
  expect(kernel.sends.map(send => send.length)).toEqual([200, 200, 50])
  expect(results).toHaveLength(450)
  expect(results.flatMap((error, index) => (error ? [[index, error.operation]] : []))).toEqual([[321, 'add 321']])
})

test('a batch lets the event loop in between its sends', async () => {
  const { kernel, connection } = connect()
  answerEach(kernel, message => [acknowledgement(message)])
  const sendsSeen: number[] = []
  const watch = setInterval(() => sendsSeen.push(kernel.sends.length), 0)
  const batch = connection.batch(
    Array.from({ length: 2000 }, () => aRequest(0)),
    'add',
  )
  await batch
  clearInterval(watch)
  expect(kernel.sends).toHaveLength(10)
  expect(sendsSeen.some(sends => sends > 0 && sends < 10)).toBe(true)
})

test('long messages make smaller batches', async () => {
  const { kernel, connection } = connect()
  answerEach(kernel, message => [acknowledgement(message)])
  const long = { type: 30, flags: 0, payload: new Uint8Array(60_000) }
  await connection.batch([long, long, long], 'add')
  expect(kernel.sends.map(send => send.length)).toEqual([2, 1])
})

test('an overrun fails what is outstanding, retriably', async () => {
  const { kernel, connection } = connect()
  kernel.onSend = ([first]) => {
    if (first !== undefined) kernel.receive([acknowledgement(first)])
    kernel.overrun()
  }
  const results = await connection.batch([aRequest(1), aRequest(2)], 'add')
  expect(results[0]).toBeUndefined()
  expect(results[1]).toMatchObject({ errno: ENOBUFS, retriable: true })
})

test('a dump is made again after an overrun', async () => {
  const { kernel, connection } = connect()
  answerEach(kernel, message => {
    if (kernel.sends.length === 1) kernel.overrun()
    return [part(message, REPLY, Uint8Array.of(kernel.sends.length)), done(message)]
  })
  expect(payloads(await connection.dump(aRequest(), 'list'))).toEqual([[2]])
})

test('an overrun message counts as an overrun', async () => {
  const { kernel, connection } = connect()
  answerEach(kernel, message => [part(message, NLMSG_OVERRUN, new Uint8Array(0))])
  await expect(connection.request(aRequest(1), 'set')).rejects.toMatchObject({ errnoName: 'ENOBUFS' })
})

test('a kernel that does not answer does not hold anybody up forever', async () => {
  const { connection } = connect({ timeout: 20 })
  await expect(connection.request(aRequest(1), 'set')).rejects.toMatchObject({
    errnoName: 'ETIMEDOUT',
    retriable: true,
  })
})

test('a request that cannot be sent fails with the reason', async () => {
  const { kernel, connection } = connect()
  kernel.refuse = -ENOBUFS
  await expect(connection.request(aRequest(1), 'set')).rejects.toMatchObject({ errnoName: 'ENOBUFS' })
})

test('a malformed answer fails what is outstanding instead of crashing', async () => {
  const { kernel, connection } = connect()
  kernel.onSend = () => kernel.receive([Uint8Array.of(1, 2, 3)])
  await expect(connection.request(aRequest(1), 'set')).rejects.toMatchObject({ errnoName: 'EBADMSG' })
})

test('a signal that has fired already keeps the request from being sent', async () => {
  const { kernel, connection } = connect()
  await expect(connection.request(aRequest(1), 'set', AbortSignal.abort(new Error('no')))).rejects.toThrow('no')
  expect(kernel.sends).toHaveLength(0)
})

test('a signal ends the waiting', async () => {
  const { connection } = connect()
  const abort = new AbortController()
  const request = connection.request(aRequest(1), 'set', abort.signal)
  abort.abort(new Error('enough'))
  await expect(request).rejects.toThrow('enough')
})

test('closing fails what is outstanding and what comes after', async () => {
  const { kernel, connection } = connect()
  const request = connection.request(aRequest(1), 'set')
  connection.close()
  expect(kernel.closed).toBe(true)
  await expect(request).rejects.toMatchObject({ errnoName: 'ECANCELED' })
  await expect(connection.request(aRequest(1), 'set')).rejects.toMatchObject({ errnoName: 'ECANCELED' })
})
