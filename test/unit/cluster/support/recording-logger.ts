import type { Logger } from '#src/cluster/logger.ts'

export interface RecordingLogger extends Logger {
  /** `level message`, in order. */
  readonly lines: string[]
}

export function recordingLogger(): RecordingLogger {
  const lines: string[] = []
  const record = (level: string) => (_facts: object, message: string) => {
    lines.push(`${level} ${message}`)
  }
  return { lines, debug: record('debug'), info: record('info'), warn: record('warn'), error: record('error') }
}
