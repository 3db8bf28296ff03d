import { type Stats, statSync } from 'node:fs'
import { constants } from 'node:os'
import { join } from 'node:path'
import { setTimeout as delay } from 'node:timers/promises'
import type { PublicKey } from '#keys/public-key.ts'
import { type DeviceChange, DeviceError, type DeviceStatus, type SomePeers } from '../device/device.ts'
import { NO_PEERS, PeerReader, type Peers } from '../device/peer-reader.ts'
import { UapiConnection } from './connection.ts'
import { isUapiError, UapiError } from './errors.ts'
import { formatSet, UAPI_GET } from './format.ts'
import { DeviceReading, type Reading, SomePeersReading } from './parse.ts'

/** Where implementations put their sockets; one directory for all network namespaces. */
export const UAPI_DIRECTORY = '/var/run/wireguard'

export interface UapiClientOptions {
  readonly directory?: string
  /** Milliseconds for an operation in all. */
  readonly timeout?: number
  /** Bytes of an answer. */
  readonly maxAnswer?: number
}

/** 5,000 peers are read in 0.1 s. */
const TIMEOUT = 10_000
const ATTEMPTS = 5
/** Milliseconds. */
const RETRY_AFTER = 20
/** 65,536 peers, the most that wireguard-go has, with a dozen prefixes each. */
const MAX_ANSWER = 64 << 20

const { ENODEV, EACCES } = constants.errno

/** A connection, and the socket that was there when it was made. */
interface Held {
  readonly connection: UapiConnection
  readonly dev: number | undefined
  readonly ino: number | undefined
}

/** One operation on one device. */
interface Question<R extends Reading> {
  readonly name: string
  readonly text: string
  readonly operation: string
  /** Makes what takes the answer in: another one for each time that it is asked for. */
  readonly begin: () => R
}

interface Answer<R extends Reading> {
  /** 0 for success. */
  readonly errno: number
  readonly reading: R
}

/** The cross-platform userspace protocol (https://www.wireguard.com/xplatform/), by one connection for as long as a device's process keeps it. */
export class UapiClient {
  readonly #directory: string
  readonly #timeout: number
  readonly #maxAnswer: number
  readonly #readers = new Map<string, PeerReader>()
  /** Connections that nothing is asked by, at the moment. */
  readonly #idle = new Map<string, Held>()

  constructor({ directory = UAPI_DIRECTORY, timeout = TIMEOUT, maxAnswer = MAX_ANSWER }: UapiClientOptions = {}) {
    this.#directory = directory
    this.#timeout = timeout
    this.#maxAnswer = maxAnswer
  }

  socketPath(name: string): string {
    return join(this.#directory, `${name}.sock`)
  }

  /**
   * @param known peers as they are known: one that is as it was stays the same object
   * @returns undefined when no process serves the device
   * @throws UapiError, UapiFormatError; DeviceError where others could have put the socket there
   */
  async get(name: string, known: Peers = NO_PEERS): Promise<DeviceStatus | undefined> {
    const reader = this.#readers.get(name) ?? new PeerReader()
    const reading = await this.#read(name, () => new DeviceReading(name, reader, known))
    if (reading) this.#readers.set(name, reader)
    else this.#readers.delete(name)
    return reading?.device
  }

  /**
   * Some of the peers.
   * @returns undefined when no process serves the device
   * @throws UapiError, UapiFormatError; DeviceError where others could have put the socket there
   */
  async getSome(name: string, keys: ReadonlySet<PublicKey>): Promise<SomePeers | undefined> {
    return (await this.#read(name, () => new SomePeersReading(keys)))?.some
  }

  /** @throws UapiError, ENODEV when no process serves the device; UapiFormatError, DeviceError */
  async set(name: string, change: DeviceChange): Promise<void> {
    const operation = `configure ${name}`
    for (const text of formatSet(change)) {
      const done = await this.#transact({ name, text, operation, begin: () => NOTHING })
      if (!done) throw new UapiError(operation, ENODEV, 'no process serves this device')
    }
  }

  #read<R extends Reading>(name: string, begin: () => R): Promise<R | undefined> {
    return this.#transact({ name, text: UAPI_GET, operation: `read ${name}`, begin })
  }

  /**
   * @returns what has taken the answer in; undefined when no process serves the device
   * @throws UapiError also for what the device refuses
   */
  async #transact<R extends Reading>(question: Question<R>): Promise<R | undefined> {
    const answer = await this.#persist(question)
    if (answer && answer.errno !== 0) throw new UapiError(question.operation, answer.errno)
    return answer?.reading
  }

  async #persist<R extends Reading>(question: Question<R>): Promise<Answer<R> | undefined> {
    this.#checkDirectory(question.name, question.operation)
    for (let attempt = 1; ; attempt++) {
      try {
        return await this.#exchange(question)
      } catch (error) {
        // A process that is ending accepts and hangs up; a moment later there is nobody, or the next one.
        if (attempt === ATTEMPTS || !isUapiError(error, 'ECONNRESET', 'EPIPE')) throw error
        await delay(RETRY_AFTER)
      }
    }
  }

  /** Private keys go through these sockets: whoever can put one there can have them. */
  #checkDirectory(name: string, operation: string): void {
    const stats = this.#stat(this.#directory, operation)
    if (!stats) return
    if ((stats.uid === 0 || stats.uid === process.geteuid?.()) && (stats.mode & 0o022) === 0) return
    // Not the kernel's EACCES, whose remedy is another.
    throw new DeviceError(
      'not-permitted',
      name,
      `others can write to ${this.#directory}, where its private key goes through: run "chmod go-w ${this.#directory}" and "chown root ${this.#directory}"`,
    )
  }

  /** At once: the way by a thread takes ten times as long, before each operation. @returns undefined where there is nothing */
  #stat(path: string, operation: string): Stats | undefined {
    try {
      return statSync(path, { throwIfNoEntry: false })
    } catch (error) {
      const { errno = EACCES } = error as NodeJS.ErrnoException
      throw new UapiError(operation, Math.abs(errno), `cannot look at ${path}`)
    }
  }

  /** By the connection that there is, or by a new one: the process may have ended since. */
  async #exchange<R extends Reading>(question: Question<R>): Promise<Answer<R> | undefined> {
    const { name, operation } = question
    const path = this.socketPath(name)
    const found = this.#stat(path, operation)
    const idle = this.#idle.get(name)
    this.#idle.delete(name)
    // A process that has taken its socket away is ending, and another may be there in its place.
    if (idle && (idle.dev !== found?.dev || idle.ino !== found?.ino)) idle.connection.close()
    if (idle && !idle.connection.closed) {
      try {
        return await this.#ask(idle, question)
      } catch (error) {
        if (!isUapiError(error, 'ECONNRESET', 'EPIPE')) throw error
      }
    }
    const connection = new UapiConnection({ path, maxAnswer: this.#maxAnswer })
    return await this.#ask({ connection, dev: found?.dev, ino: found?.ino }, question)
  }

  async #ask<R extends Reading>(held: Held, question: Question<R>): Promise<Answer<R> | undefined> {
    const { name, text, operation, begin } = question
    const { connection } = held
    const reading = begin()
    const take = (section: string) => reading.take(section)
    const errno = await connection.exchange(text, operation, this.#timeout, take)
    // Two operations at a time have two connections, of which one is kept. Of one that was refused the process may not have
    // read all, and take the rest for the next.
    if (errno !== 0 || connection.closed || this.#idle.has(name)) connection.close()
    else this.#idle.set(name, held)
    return errno === undefined ? undefined : { errno, reading }
  }
}

/** What an operation says beside its number is nobody's business. */
const NOTHING: Reading = { take: () => {} }
