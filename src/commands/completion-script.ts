import type { Command, Option } from 'commander'

/** One place in the command line: what may stand there. */
interface Level {
  /** `podveil lab up`. */
  readonly path: readonly string[]
  readonly commands: readonly { readonly name: string; readonly description: string }[]
  readonly options: readonly Option[]
  /** Choices of positional arguments. */
  readonly words: readonly string[]
}

/** The completion script of a shell, by the commands and options that there are. */
export function completionScript(program: Command, shell: 'bash' | 'zsh' | 'fish'): string {
  const levels = levelsOf(program, [program.name()])
  return { bash: bashScript, zsh: zshScript, fish: fishScript }[shell](levels)
}

/** What kubectl takes from a plugin after the words: names of files, or nothing but the words (cobra's ShellCompDirective). */
const FILES = ':0'
const WORDS_ALONE = ':4'

/**
 * What may stand in place of the last word, a line each, as kubectl asks its plugins.
 * @param words after `podveil`; the last one is being typed, and may be empty
 */
export function offersFor(program: Command, words: readonly string[]): string[] {
  const levels = levelsOf(program, [program.name()])
  const typed = words.at(-1) ?? ''
  const before = words.slice(0, -1)
  const at = before.reduce<Level | undefined>(
    (level, word) => levels.find(({ path }) => path.join(' ') === `${level?.path.join(' ')} ${word}`) ?? level,
    levels[0],
  )
  const option = at?.options.find(({ long, short }) => before.length > 0 && [long, short].includes(before.at(-1)))
  if (option && takesFile(option)) return [FILES]
  const offered = option?.argChoices ?? (at ? wordsOf(at) : [])
  return [...offered.filter(word => word.startsWith(typed)), WORDS_ALONE]
}

function levelsOf(command: Command, path: readonly string[]): Level[] {
  const { visibleCommands, visibleOptions } = {
    visibleCommands: command.createHelp().visibleCommands(command),
    visibleOptions: command.createHelp().visibleOptions(command),
  }
  const level: Level = {
    path,
    commands: visibleCommands.map(one => ({ name: one.name(), description: one.description() })),
    options: visibleOptions,
    words: command.registeredArguments.flatMap(argument => argument.argChoices ?? []),
  }
  const below = visibleCommands.filter(one => one.name() !== 'help')
  return [level, ...below.flatMap(one => levelsOf(one, [...path, one.name()]))]
}

const flagsOf = ({ options }: Level): string[] =>
  options.flatMap(({ short, long }) => [short, long].filter(flag => flag !== undefined))

const wordsOf = (level: Level): string[] => [
  ...level.commands.map(({ name }) => name),
  ...level.words,
  ...flagsOf(level),
]

function bashScript(levels: readonly Level[]): string {
  const cases = levels.map(level => `    "${level.path.join(' ')}") words="${wordsOf(level).join(' ')}" ;;`)
  const choices = levels.flatMap(({ path, options }) =>
    options
      .filter(({ argChoices }) => argChoices !== undefined)
      .map(({ long, argChoices }) => `    "${path.join(' ')} ${long}") words="${argChoices?.join(' ')}" ;;`),
  )
  return `# bash completion of podveil
_podveil() {
  local word path=podveil words="" i
  for ((i = 1; i < COMP_CWORD; i++)); do
    word=\${COMP_WORDS[i]}
    case "$path $word" in
${levels
  .filter(({ path }) => path.length > 1)
  .map(({ path }) => `      "${path.join(' ')}") path="$path $word" ;;`)
  .join('\n')}
    esac
  done
  case "$path" in
${cases.join('\n')}
  esac
  case "$path \${COMP_WORDS[COMP_CWORD - 1]}" in
${choices.join('\n')}
${levels.flatMap(({ path, options }) => options.filter(takesFile).map(({ long }) => `    "${path.join(' ')} ${long}") COMPREPLY=($(compgen -f -- "\${COMP_WORDS[COMP_CWORD]}")); return ;;`)).join('\n')}
  esac
  COMPREPLY=($(compgen -W "$words" -- "\${COMP_WORDS[COMP_CWORD]}"))
}
complete -F _podveil podveil kubectl-podveil`
}

/** Its argument is a path. */
const takesFile = ({ flags }: Option): boolean => /<(file|dir)>|\[file\]/.test(flags)

function zshScript(levels: readonly Level[]): string {
  const quoted = (text: string) => text.replaceAll(/[\\'[\]:]/g, ' ').replaceAll('`', ' ')
  const describe = (level: Level) =>
    [
      ...level.commands.map(({ name, description }) => `'${name}:${quoted(description)}'`),
      ...level.words.map(word => `'${word}'`),
      ...level.options.flatMap(({ long, description }) => (long ? [`'${long}:${quoted(description)}'`] : [])),
    ].join(' ')
  return `#compdef podveil kubectl-podveil
_podveil() {
  local at=podveil word
  local -a words_here
  for word in "\${(@)words[2,CURRENT-1]}"; do
    case "$at $word" in
${levels
  .filter(({ path }) => path.length > 1)
  .map(({ path }) => `      '${path.join(' ')}') at="$at $word" ;;`)
  .join('\n')}
    esac
  done
  case "$at \${words[CURRENT-1]}" in
${levels.flatMap(({ path, options }) => options.filter(({ argChoices }) => argChoices).map(({ long, argChoices }) => `    '${path.join(' ')} ${long}') compadd ${argChoices?.join(' ')}; return ;;`)).join('\n')}
${levels.flatMap(({ path, options }) => options.filter(takesFile).map(({ long }) => `    '${path.join(' ')} ${long}') _files; return ;;`)).join('\n')}
  esac
  case "$at" in
${levels.map(level => `    '${level.path.join(' ')}') words_here=(${describe(level)}) ;;`).join('\n')}
  esac
  _describe 'podveil' words_here
}
if [ "$funcstack[1]" = _podveil ]; then _podveil "$@"; else compdef _podveil podveil kubectl-podveil; fi`
}

function fishScript(levels: readonly Level[]): string {
  const quoted = (text: string) => `'${text.replaceAll('\\', '\\\\').replaceAll("'", "\\'")}'`
  const lines = levels.flatMap(level => {
    const [, ...below] = level.path
    const names = level.commands.map(({ name }) => name).join(' ')
    const seen = below.map(name => `__fish_seen_subcommand_from ${name}`)
    const none = names === '' ? [] : [`not __fish_seen_subcommand_from ${names}`]
    const condition = [...seen, ...none].join('; and ')
    const when = condition === '' ? '' : ` -n ${quoted(condition)}`
    return [
      ...level.commands.map(
        ({ name, description }) => `complete -c podveil -f${when} -a ${name} -d ${quoted(description)}`,
      ),
      ...(level.words.length > 0 ? [`complete -c podveil -f${when} -a ${quoted(level.words.join(' '))}`] : []),
      ...level.options.flatMap(option => {
        const { long, short, description, argChoices } = option
        if (!long) return []
        const takes = argChoices
          ? ` -x -a ${quoted(argChoices.join(' '))}`
          : takesFile(option)
            ? ' -r -F'
            : option.required
              ? ' -x'
              : ''
        return [
          `complete -c podveil${when} -l ${long.slice(2)}${short ? ` -s ${short.slice(1)}` : ''}${takes} -d ${quoted(description)}`,
        ]
      }),
    ]
  })
  return ['# fish completion of podveil', ...lines].join('\n')
}
