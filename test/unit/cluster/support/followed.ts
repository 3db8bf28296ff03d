import { ApiClient } from '#src/cluster/api-client.ts'
import type { Clock } from '#src/cluster/clock.ts'
import { member, objectOf } from '#src/cluster/hostile.ts'
import { Reflector, type ReflectorOptions } from '#src/cluster/reflector.ts'
import type { FakeApi } from './fake-api.ts'
import { type RecordingLogger, recordingLogger } from './recording-logger.ts'

/** What the tests keep of an object: its `color`. */
export const color = (raw: unknown): string => String(member(objectOf(raw), 'color'))

/** A reflector on a fake API server, with what its handler was told. */
export interface Followed extends AsyncDisposable {
  readonly reflector: Reflector<string>
  readonly client: ApiClient
  readonly logger: RecordingLogger
  /** `replaced 2`, `upserted a red`, `deleted a`. */
  readonly told: string[]
}

export function follow(api: FakeApi, clock: Clock, options: Partial<ReflectorOptions<string>> = {}): Followed {
  const logger = recordingLogger()
  const client = new ApiClient({ credentials: api.credentials, clock, connectMs: 10_000, silenceMs: 30_000 })
  const told: string[] = []
  const reflector = new Reflector<string>({
    client,
    path: api.path,
    project: color,
    logger,
    clock,
    random: Math.random,
    handler: {
      replaced: items => told.push(`replaced ${items.size}`),
      upserted: (item, key) => told.push(`upserted ${key} ${item}`),
      deleted: key => told.push(`deleted ${key}`),
    },
    ...options,
  })
  return {
    reflector,
    client,
    logger,
    told,
    async [Symbol.asyncDispose]() {
      await reflector.stop()
      client.close()
    },
  }
}
