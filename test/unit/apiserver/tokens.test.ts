import { describe, expect, it } from 'vitest'
import { parseTokens, TokenFileError, userOf } from '#src/lab/apiserver/tokens.ts'

describe('a token file', () => {
  const users = parseTokens('t1,alice,1,"system:masters, devs"\n\n# nobody\nt2,system:node:a,2\nt3,bob,3,devs\n')

  it('names users and their groups', () => {
    expect(userOf(users, 'Bearer t1')).toEqual({
      name: 'alice',
      uid: '1',
      groups: ['system:masters', 'devs', 'system:authenticated'],
    })
    expect(userOf(users, 'Bearer t2')).toMatchObject({ name: 'system:node:a', groups: ['system:authenticated'] })
    expect(userOf(users, 'bearer t3')).toMatchObject({ groups: ['devs', 'system:authenticated'] })
  })

  it.each(['Bearer nobody', 'Bearer', '', 'Basic t1', 't1', 'Bearer t1 t2'])('lets nobody in with %j', header => {
    expect(userOf(users, header)).toBeUndefined()
  })

  it.each([
    ['a line without a user', 'token'],
    ['a token twice', 't,a,1\nt,b,2'],
    ['a quote that does not end', 't,a,1,"x'],
  ])('is refused with %s', (_, text) => {
    expect(() => parseTokens(text)).toThrow(TokenFileError)
  })
})
