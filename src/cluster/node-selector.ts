/** Whether a set of labels is meant. */
export type NodeSelector = (labels: Readonly<Record<string, string>>) => boolean

/** Calico's API allows as many characters. */
const LONGEST = 1024

/** Deeper ones are no selector that somebody wrote. */
const DEEPEST = 32

const TOKEN =
  /\s*(?:(&&|\|\||==|!=|!|\(|\)|\{|\}|,)|(not\s+in|starts\s+with|ends\s+with)(?![\w./-])|("[^"]*"|'[^']*')|([A-Za-z0-9_][A-Za-z0-9_./-]*))/y

/**
 * Parses a selector of Calico's: `all()`, `has(label)`, `label == 'value'`, `!=`, `in { 'a', 'b' }`, `not in`, `contains`,
 * `starts with`, `ends with`, joined by `&&`, `||`, `!` and parentheses. An empty one means everything.
 * @throws RangeError, in words that end a sentence which begins with the selector
 */
export function parseNodeSelector(text: string): NodeSelector {
  if (text.length > LONGEST) throw new RangeError(`is longer than ${LONGEST} characters`)
  if (text.trim() === '') return () => true
  const parser = new Parser(tokensOf(text))
  const selector = parser.any(0)
  parser.end()
  return selector
}

function tokensOf(text: string): readonly string[] {
  const tokens: string[] = []
  const pattern = new RegExp(TOKEN)
  for (let at = 0; text.slice(at).trim() !== ''; at = pattern.lastIndex) {
    pattern.lastIndex = at
    const match = pattern.exec(text)
    if (!match)
      throw new RangeError(`is not a selector: ${JSON.stringify(text.slice(at).trim().slice(0, 16))} is not understood`)
    const [, operator, words, quoted, word] = match
    tokens.push(operator ?? words?.replace(/\s+/, ' ') ?? quoted ?? word ?? '')
  }
  return tokens
}

class Parser {
  readonly #tokens: readonly string[]
  #at = 0

  constructor(tokens: readonly string[]) {
    this.#tokens = tokens
  }

  any(depth: number): NodeSelector {
    if (depth > DEEPEST) throw new RangeError(`is nested deeper than ${DEEPEST} levels`)
    const parts = [this.#every(depth)]
    while (this.#takes('||')) parts.push(this.#every(depth))
    return labels => parts.some(part => part(labels))
  }

  end(): void {
    const rest = this.#tokens[this.#at]
    if (rest !== undefined) throw new RangeError(`is not a selector: ${rest} has no place there`)
  }

  #every(depth: number): NodeSelector {
    const parts = [this.#one(depth)]
    while (this.#takes('&&')) parts.push(this.#one(depth))
    return labels => parts.every(part => part(labels))
  }

  #one(depth: number): NodeSelector {
    if (this.#takes('!')) {
      if (depth > DEEPEST) throw new RangeError(`is nested deeper than ${DEEPEST} levels`)
      const negated = this.#one(depth + 1)
      return labels => !negated(labels)
    }
    if (this.#takes('(')) {
      const inner = this.any(depth + 1)
      this.#expect(')')
      return inner
    }
    return this.#test(this.#word())
  }

  #test(word: string): NodeSelector {
    if (word === 'all' || word === 'global' || word === 'has') {
      if (this.#takes('(')) {
        const label = word === 'has' ? this.#word() : undefined
        this.#expect(')')
        return label === undefined ? () => true : labels => Object.hasOwn(labels, label)
      }
    }
    const operator = this.#next()
    if (operator === 'in' || operator === 'not in') {
      const values = this.#set()
      return labels => (Object.hasOwn(labels, word) && values.has(labels[word] ?? '')) === (operator === 'in')
    }
    const compare = COMPARISONS[operator]
    if (!compare) throw new RangeError(`is not a selector: ${operator || 'its end'} is no operator`)
    const value = this.#quoted()
    // A label that is absent is unequal to everything.
    return labels => (Object.hasOwn(labels, word) ? compare(labels[word] ?? '', value) : operator === '!=')
  }

  #set(): ReadonlySet<string> {
    this.#expect('{')
    const values = new Set<string>()
    if (this.#takes('}')) return values
    do values.add(this.#quoted())
    while (this.#takes(','))
    this.#expect('}')
    return values
  }

  #word(): string {
    const token = this.#next()
    if (!/^[A-Za-z0-9_]/.test(token)) throw new RangeError(`is not a selector: ${token || 'its end'} is no label`)
    return token
  }

  #quoted(): string {
    const token = this.#next()
    if (!/^["']/.test(token)) throw new RangeError(`is not a selector: ${token || 'its end'} is no quoted text`)
    return token.slice(1, -1)
  }

  #takes(token: string): boolean {
    if (this.#tokens[this.#at] !== token) return false
    this.#at++
    return true
  }

  #expect(token: string): void {
    if (!this.#takes(token)) throw new RangeError(`is not a selector: there is no ${token} where one should be`)
  }

  #next(): string {
    return this.#tokens[this.#at++] ?? ''
  }
}

const COMPARISONS: Readonly<Record<string, (label: string, value: string) => boolean>> = {
  '==': (label, value) => label === value,
  '!=': (label, value) => label !== value,
  contains: (label, value) => label.includes(value),
  'starts with': (label, value) => label.startsWith(value),
  'ends with': (label, value) => label.endsWith(value),
}
