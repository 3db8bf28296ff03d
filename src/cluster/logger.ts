/** What this code asks of a logger; pino's is one. The object holds the facts, the message is for a person. */
export interface Logger {
  debug(facts: object, message: string): void
  info(facts: object, message: string): void
  warn(facts: object, message: string): void
  error(facts: object, message: string): void
}
