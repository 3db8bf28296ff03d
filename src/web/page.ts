import { createHash } from 'node:crypto'

/** Dark and light as the reader's desktop is; contrasts of 4.5 to 1 and more in both. */
const STYLE = `
:root{color-scheme:light dark;--back:#fff;--text:#1b1b1b;--faint:#595959;--line:#ccc;--good:#1e6b25;--warn:#8a4b00;--bad:#b71c1c;--odd:#6a1b9a}
@media(prefers-color-scheme:dark){:root{--back:#121212;--text:#eee;--faint:#aaa;--line:#444;--good:#7bd389;--warn:#ffb74d;--bad:#ff8a80;--odd:#d7a6ff}}
body{font:15px/1.45 system-ui,sans-serif;margin:1.5rem auto;max-width:75rem;padding:0 1rem;background:var(--back);color:var(--text)}
h1{font-size:1.2rem;margin:0}h3{margin:1.5rem 0 .4rem}.hint,#detail{color:var(--faint);margin:.3rem 0}#detail{min-height:1.5em}
svg{display:block;max-width:44rem;max-height:70vh;width:100%;margin:auto}
.wide{overflow-x:auto}table{border-collapse:collapse}th,td{padding:.25rem .6rem;border-bottom:1px solid var(--line);text-align:left;white-space:nowrap}
td:last-child{white-space:normal}
.matrix td{width:2rem;height:2rem;padding:0;text-align:center;border:1px solid var(--line);font-weight:700;white-space:nowrap}
.matrix th span{writing-mode:vertical-rl;transform:rotate(180deg);display:inline-block}
td:focus{outline:3px solid var(--text);outline-offset:-3px}.self{background:var(--line)}
.s-encrypted,.encrypted{color:var(--good)}.s-turning,.turning,.s-leaving{color:var(--warn)}
.s-in-clear,.s-no-agent,.s-not-answering,.not-encrypted,.not-answering,.trouble,#note{color:var(--bad)}.s-unknown,.s-calico,.unknown{color:var(--odd)}.s-off,.off{color:var(--faint)}
`

/** Looks every two seconds while somebody does; what is under the keyboard stays there. */
const SCRIPT = `
const mesh = document.getElementById('mesh'), note = document.getElementById('note')
let shown = ''
const cells = () => [...mesh.querySelectorAll('.matrix td[tabindex]')]
function take(cell) {
  for (const other of cells()) other.tabIndex = other === cell ? 0 : -1
  const detail = document.getElementById('detail')
  if (detail && cell) detail.textContent = cell.title
}
async function look() {
  try {
    const answer = await fetch('mesh', { cache: 'no-store' })
    const text = await answer.text()
    if (!answer.ok) throw new Error(text)
    if (text !== shown) {
      const active = document.activeElement?.id
      const at = cells().find(cell => cell.tabIndex === 0)?.id
      mesh.innerHTML = shown = text
      const cell = document.getElementById(at ?? '') ?? cells()[0]
      if (cell) take(cell)
      if (active) document.getElementById(active)?.focus()
    }
    note.textContent = ''
  } catch (error) {
    note.textContent = 'The agent does not answer: ' + error.message
  }
}
mesh.addEventListener('focusin', event => { if (event.target.matches('.matrix td')) take(event.target) })
mesh.addEventListener('keydown', event => {
  const step = { ArrowUp: [-1, 0], ArrowDown: [1, 0], ArrowLeft: [0, -1], ArrowRight: [0, 1] }[event.key]
  const place = /^c(\\d+)-(\\d+)$/.exec(event.target.id)
  if (!step || !place) return
  event.preventDefault()
  let [y, x] = [Number(place[1]) + step[0], Number(place[2]) + step[1]]
  // There is no cell of a node with itself: the next one is behind it.
  const next = document.getElementById('c' + y + '-' + x) ?? document.getElementById('c' + (y + step[0]) + '-' + (x + step[1]))
  next?.focus()
})
look()
setInterval(() => { if (!document.hidden) look() }, 2000)
`

const hash = (text: string): string => `'sha256-${createHash('sha256').update(text).digest('base64')}'`

/** Nothing but this page's own script runs, and nothing is asked of anybody but the agent. */
export const CONTENT_SECURITY_POLICY = `default-src 'none'; script-src ${hash(SCRIPT)}; style-src 'unsafe-inline'; connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'`

/** The page, which asks for the mesh itself. */
export const PAGE = `<!doctype html>
<html lang="en"><head><meta charset="utf-8"><meta name="viewport" content="width=device-width,initial-scale=1"><title>Podveil</title><style>${STYLE}</style></head>
<body><h1>Podveil</h1><p id="note" role="status"></p><main id="mesh"></main><script>${SCRIPT}</script></body></html>`
