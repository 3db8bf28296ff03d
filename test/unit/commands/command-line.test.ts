import { execFileSync } from 'node:child_process'
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { delimiter, join } from 'node:path'
import { fileURLToPath } from 'node:url'
import type { Command } from 'commander'
import { describe, expect, test } from 'vitest'
import { address } from '#src/commands/common.ts'
import { completionScript } from '#src/commands/completion-script.ts'
import { MANUALS } from '#src/commands/manual.ts'
import { podveil } from '#src/commands/program.ts'

const BIN = fileURLToPath(new URL('../../../bin', import.meta.url))

const program = podveil()
const commands = program
  .createHelp()
  .visibleCommands(program)
  .filter(command => command.name() !== 'help')

/** What `--help` prints, as a terminal shows it. */
function helpOf(command: Command): string {
  let text = ''
  command
    .configureOutput({
      writeOut: part => {
        text += part
      },
    })
    .outputHelp()
  return text
}

describe('the help of', () => {
  test.each(commands.map(command => [command.name(), command] as const))(
    '%s has details, examples and exit statuses',
    (_, command) => {
      const help = helpOf(command)
      for (const section of ['Usage:', 'Details:', 'Examples:', 'Exit status:']) expect(help).toContain(section)
      expect(help).toMatch(/\n {2}0 +\S/)
    },
  )

  test('no command that is gone is left', () => {
    expect(Object.keys(MANUALS).toSorted()).toEqual(commands.map(command => command.name()).toSorted())
  })

  test('every example names only commands and options that there are', () => {
    const lines = Object.values(MANUALS).flatMap(({ examples }) => examples.map(([line]) => line))
    for (const line of lines.filter(text => text.startsWith('podveil '))) {
      const [, name = '', ...words] = line.split(/[ =]/)
      const command = commands.find(one => one.name() === name)
      expect(command, line).toBeDefined()
      const known = [command, ...(command?.commands ?? [])].flatMap(one => one?.options.map(({ long }) => long))
      for (const word of words.filter(text => /^--[a-z]/.test(text))) expect(known, line).toContain(word)
    }
  })
})

/** What bash offers after these words. */
function bashOffers(...words: string[]): string[] {
  const script = `${completionScript(program, 'bash')}
COMP_WORDS=(podveil ${words.map(word => `'${word}'`).join(' ')}); COMP_CWORD=${words.length}; _podveil; printf '%s\\n' "\${COMPREPLY[@]}"`
  return execFileSync('bash', ['-c', script], { encoding: 'utf8' }).split('\n').filter(Boolean)
}

describe('completion', () => {
  test.each([
    [['st'], ['status', ':4']],
    [
      ['verify', '--f'],
      ['--family', ':4'],
    ],
    [
      ['graph', '--format', ''],
      ['dot', 'mermaid', 'svg', ':4'],
    ],
    [['status', '--kubeconfig', ''], [':0']],
    [
      ['completion', '--'],
      ['--help', ':4'],
    ],
    [
      ['lab', 'up', '--no'],
      ['--nodes', '--no-agents', ':4'],
    ],
  ])('of kubectl’s plugin: %j', (words, offered) => {
    const answer = execFileSync(join(BIN, 'kubectl_complete-podveil'), words, { encoding: 'utf8' })
    expect(answer.trimEnd().split('\n')).toEqual(offered)
  })

  test('in bash offers commands, then their options, then the choices of an option', () => {
    expect(bashOffers('')).toEqual(expect.arrayContaining(commands.map(command => command.name())))
    expect(bashOffers('ver')).toEqual(['verify'])
    expect(bashOffers('status', '--w')).toEqual(['--watch'])
    expect(bashOffers('graph', '--format', '')).toEqual(['dot', 'mermaid', 'svg'])
    expect(bashOffers('lab', 'up', '--dat')).toEqual(['--dataplane'])
    expect(bashOffers('completion', 'z')).toEqual(['zsh'])
    expect(bashOffers('verify-e')).toEqual([])
  })

  test.each(['zsh', 'fish'] as const)(
    'in %s names every command and option, and is read by it where it is installed',
    shell => {
      const script = completionScript(program, shell)
      for (const command of commands) {
        expect(script).toContain(command.name())
        for (const { long } of command.options)
          if (long) expect(script).toContain(shell === 'fish' ? `-l ${long.slice(2)}` : long)
      }
      const directory = mkdtempSync(join(tmpdir(), 'podveil-test-'))
      try {
        const file = join(directory, 'script')
        writeFileSync(file, script)
        execFileSync(shell, ['-n', file], { stdio: 'pipe' })
      } catch (error) {
        // Not installed here: what it would say is not known.
        if ((error as NodeJS.ErrnoException).code !== 'ENOENT') throw error
      } finally {
        rmSync(directory, { recursive: true })
      }
    },
  )
})

describe('as a plugin of kubectl', () => {
  test('it is found by its name, and is the same program', () => {
    const env = { ...process.env, PATH: `${BIN}${delimiter}${process.env.PATH}` }
    expect(execFileSync('kubectl-podveil', ['--version'], { env, encoding: 'utf8' })).toBe(`${program.version()}\n`)
  })
})

describe('an option that takes an address', () => {
  test.each(['10.0.0.1', 'fd00::1', '::'])('takes %s', text => {
    expect(address(text)).toBe(text)
  })

  test.each(['10.0.0.1:9180', '10.0.0.0/24', 'localhost', ''])('refuses %j in words', text => {
    expect(() => address(text)).toThrow(/an address is IPv4 or IPv6/)
  })
})
