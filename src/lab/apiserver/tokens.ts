import type { User } from './exchange.ts'

/** A line of a token file that cannot be used. */
export class TokenFileError extends Error {
  override readonly name = 'TokenFileError'
  readonly code = 'ERR_TOKEN_FILE'
  constructor(line: number, fault: string) {
    super(`token file, line ${line}: ${fault}; a line is token,user,uid or token,user,uid,"group1,group2"`)
  }
}

/** Reads what kube-apiserver's --token-auth-file reads: lines of token,user,uid[,"group1,group2"]. */
export function parseTokens(text: string): ReadonlyMap<string, User> {
  const users = new Map<string, User>()
  for (const [index, raw] of text.split('\n').entries()) {
    const line = raw.trim()
    if (line === '' || line.startsWith('#')) continue
    const match = /^([^,"]+),([^,"]+),([^,"]*)(?:,(?:"([^"]*)"|([^,"]*)))?$/.exec(line)
    if (match === null) throw new TokenFileError(index + 1, 'is not of that form')
    const [, token = '', name = '', uid = '', quoted, bare] = match
    if (users.has(token)) throw new TokenFileError(index + 1, 'repeats a token')
    const groups = (quoted ?? bare ?? '').split(',').map(group => group.trim())
    users.set(token, { name, uid, groups: [...groups.filter(group => group !== ''), 'system:authenticated'] })
  }
  return users
}

/** The user of an Authorization header, or undefined where it names none. */
export function userOf(users: ReadonlyMap<string, User>, authorization: string): User | undefined {
  const token = /^Bearer\s+(\S+)$/i.exec(authorization)?.[1]
  return token === undefined ? undefined : users.get(token)
}
