import type { Command } from 'commander'

/** What `--help` says of a command beside its options. */
interface Manual {
  /** What it does and how it is to be read, in paragraphs. */
  readonly details: readonly string[]
  /** Command lines, and what each is for. */
  readonly examples: readonly (readonly [line: string, what: string])[]
  /** Exit statuses other than 0 for done and 1 for failed. */
  readonly status: readonly (readonly [status: string, when: string])[]
  readonly seeAlso: readonly string[]
}

const DONE = [
  ['0', 'done'],
  ['1', 'it could not be done; one line on stderr says why, and what to do'],
] as const

/** By the name of the command. */
export const MANUALS: Readonly<Record<string, Manual>> = {
  agent: {
    details: [
      'One agent runs on every node, as root of the host’s network with CAP_NET_ADMIN. What is encrypted follows FelixConfiguration and PodveilConfiguration, live. Stopping it changes nothing in the kernel.',
    ],
    examples: [
      ['podveil agent --node-name node-1 --kubeconfig /etc/podveil/kubeconfig', 'by hand, outside of a pod'],
      ['kubectl apply -k manifests/base', 'on every node, as a DaemonSet'],
    ],
    status: [
      ['0', 'ended by SIGTERM or SIGINT'],
      ['1', 'no credentials, or a port is in use'],
    ],
    seeAlso: ['docs/install.md', 'docs/configuration.md', 'docs/metrics.md'],
  },
  rotate: {
    details: [
      'Writes to PodveilConfiguration that keys from before now are to be replaced: to `default` with --all, else to `node.<name>`. Each node makes a new key, moves its traffic to a spare device with that key, gives it to the device of its own name when every peer has followed, and moves back. No packet is lost between Podveil nodes; towards a node that runs Felix’s WireGuard some are, until it has read the new key.',
      'A peer that does not follow within rotation.patience (10 minutes; 30 s with --compromised) is waited for no longer: it loses packets until it does, and sends none in clear.',
      'By schedule: rotation.interval in PodveilConfiguration.',
    ],
    examples: [
      ['podveil rotate --all', 'new keys on every node'],
      ['podveil rotate node-1 --compromised', 'somebody may know its key'],
    ],
    status: DONE,
    seeAlso: ['docs/peer-states.md', 'docs/configuration.md'],
  },
  status: {
    details: [
      'The verdict is on the first line, the worst node on top. It is read from what the nodes publish: their annotations, the condition EncryptionReady and their Leases. A node whose agent has not renewed its Lease for five minutes is unknown, whatever it said last.',
      'With --node it is this node’s kernel that is believed, and the agent’s snapshot that explains it: no API server is asked, and the agent may be dead.',
      'States: encrypted; turning (pairs still prove themselves); not answering (encrypted, and nothing comes back); unknown; no agent; in clear; calico (a key of Calico’s, which tells no more); off.',
    ],
    examples: [
      ['podveil status', 'the mesh in one table'],
      ['podveil status --watch 5', 'again every five seconds'],
      ['podveil status --json', 'for a program: {verdict, nodes}'],
      ['podveil status --node', 'on a node, without the API server'],
    ],
    status: [
      ['0', 'all that should be encrypted is, or encryption is off'],
      ['1', 'something is not, or is not known to be'],
    ],
    seeAlso: ['podveil explain', 'podveil verify', 'docs/troubleshooting.md'],
  },
  explain: {
    details: [
      'On the node that FROM is on, the kernel is asked for the way of such a packet, with the device that it comes in by, and rule, route, peer and the agent’s reason are told. From elsewhere it is told by what the nodes publish.',
    ],
    examples: [
      ['podveil explain default/web-0 default/db-0', 'pod to pod'],
      ['podveil explain 10.244.1.10 node-2', 'an address to a node'],
      ['podveil explain default/web-0 default/db-0 --family 6', 'by their IPv6 addresses'],
    ],
    status: [
      ['0', 'encrypted, or on one node'],
      ['1', 'in clear, unreachable or unknown'],
    ],
    seeAlso: ['podveil verify', 'docs/kernel-shape.md'],
  },
  verify: {
    details: [
      'Sends UDP datagrams with a token in them from the address of one end to the other and back, and captures the underlay of both nodes meanwhile. A direction is encrypted only if every datagram was seen as a WireGuard message of its size at both ends and the token could be read nowhere. Capturing loses frames on a busy node; that makes a direction unproven, never encrypted.',
      'A node stands for its pods: datagrams go from and to the first address of its pod prefix. Pods receive UDP to port 9 and need not listen. What is sent goes by the node’s own output, not by its forwarding: a CNI’s forward rules are not tried.',
      'It takes root in both nodes’ network with NET_ADMIN and NET_RAW. By default kubectl adds a container with these to the agent’s pod (`kubectl debug --profile netadmin`, kubectl 1.27 or newer), which stays listed in the pod as ended. --via runs it any other way.',
    ],
    examples: [
      ['podveil verify', 'each node with the next one'],
      ['podveil verify default/web-0 default/db-0', 'two pods, both ways'],
      ['podveil verify node-1 node-2 --via "ssh root@{node} podveil"', 'without pods'],
      ['podveil verify --via "bin/podveil lab exec {node} -- $PWD/bin/podveil"', 'in the lab'],
    ],
    status: [
      ['0', 'every direction is encrypted'],
      ['1', 'something was read in clear, or is unproven'],
    ],
    seeAlso: ['podveil explain', 'docs/verifying.md'],
  },
  graph: {
    details: [
      'Lines are solid where a pair is encrypted and broken where it is not, so that they can be told apart without colour.',
    ],
    examples: [
      ['podveil graph --format svg >mesh.svg', 'a picture, light or dark as the desktop is'],
      ['podveil graph | circo -Tpng >mesh.png', 'by Graphviz'],
      ['podveil graph --format mermaid', 'for Markdown'],
    ],
    status: DONE,
    seeAlso: ['podveil status'],
  },
  export: {
    details: [
      'Public keys, endpoints and allowed IPs are those that the Nodes announce. The private key is not in it: it never leaves its node.',
    ],
    examples: [
      ['podveil export node-1', 'the device of IPv4'],
      ['podveil export node-1 --family 6', 'that of IPv6'],
    ],
    status: DONE,
    seeAlso: ['wg-quick(8)', 'podveil show'],
  },
  show: {
    details: [
      'The kernel’s own state, or wireguard-go’s. Names are those that the agent knows; a peer without one is shown by its key.',
    ],
    examples: [['podveil show', 'every device of Podveil on this node']],
    status: DONE,
    seeAlso: ['wg(8)', 'podveil status --node'],
  },
  diff: {
    details: [
      'Compares what the agent wanted when it last wrote its snapshot with what the kernel holds. While an agent runs there is nothing to see but for moments; when it is dead, this is what it would do first. Devices with their addresses and peers, routes, rules and the nftables table are compared; nothing is written.',
    ],
    examples: [['podveil diff', 'one line a change: + add, ~ change, - remove']],
    status: [
      ['0', 'there is nothing to change'],
      ['1', 'there is, or it could not be read'],
    ],
    seeAlso: ['podveil diagnose'],
  },
  diagnose: {
    details: [
      'Runs the checks of docs/troubleshooting.md and names the remedy of each that fails. Changes nothing.',
      '--bundle packs what a supporter asks for into an archive: checks, status, devices, addresses, rules, routes, the nftables table, metrics, and from the API the own Node, its Events and the configurations. Private keys are never read for it; whatever looks like a key that is not known to be public, a token or a password is taken out.',
    ],
    examples: [
      ['podveil diagnose', 'on the node'],
      ['podveil diagnose --bundle', 'and an archive for a supporter'],
      ['kubectl -n podveil-system exec POD -- podveil diagnose', 'in the node’s agent'],
    ],
    status: [
      ['0', 'no check failed'],
      ['1', 'one did'],
    ],
    seeAlso: ['docs/troubleshooting.md'],
  },
  'break-glass': {
    details: [
      'For the night when the guard is in the way: removes the nftables table at once, whether an agent runs or not, and keeps the agent from closing it again until --mend.',
    ],
    examples: [
      ['podveil break-glass --reason "INC-42"', 'open'],
      ['podveil break-glass --mend', 'close'],
    ],
    status: DONE,
    seeAlso: ['docs/security.md'],
  },
  cleanup: {
    details: ['Turn encryption off, or stop the agent, first: one that runs puts back what is removed.'],
    examples: [
      ['podveil cleanup --node-name node-1 --forget', 'everything, the annotations and the private keys as well'],
      ['podveil cleanup', 'the kernel alone'],
    ],
    status: DONE,
    seeAlso: ['docs/install.md'],
  },
  lab: {
    details: [
      'Nodes are network namespaces joined by a bridge in one of its own; the machine’s network is not touched. Needs root, and /dev/net/tun or WireGuard in the kernel.',
    ],
    examples: [
      ['podveil lab up', 'three nodes, an API server, agents'],
      ['podveil lab exec node-1 -- wg show', 'a command on a node'],
      ['podveil lab demo', 'turn encryption on and off under traffic, and count'],
      ['podveil lab down', 'remove it'],
    ],
    status: DONE,
    seeAlso: ['docs/testing.md'],
  },
  completion: {
    details: ['Commands, options and their choices are completed.'],
    examples: [
      ['podveil completion bash >/etc/bash_completion.d/podveil', 'bash, for all users'],
      ['podveil completion zsh >/usr/local/share/zsh/site-functions/_podveil', 'zsh'],
      ['podveil completion fish >~/.config/fish/completions/podveil.fish', 'fish'],
    ],
    status: DONE,
    seeAlso: [],
  },
}

const WIDTH = 80

/** Puts the manuals behind what `--help` prints of the options. */
export function addManuals(program: Command): void {
  for (const command of program.commands) {
    const manual = MANUALS[command.name()]
    if (manual) command.addHelpText('after', `\n${manualText(manual)}`)
  }
  program.addHelpText(
    'after',
    '\nEnvironment:\n  KUBECONFIG        credentials; without, those of a pod, else ~/.kube/config\n  NO_COLOR          no colours\n  PODVEIL_DEBUG     stack traces of errors\n\nAs a plugin of kubectl: put kubectl-podveil and, for its completion, kubectl_complete-podveil,\nwhich are beside podveil, on the PATH, and say `kubectl podveil status`.',
  )
}

function manualText({ details, examples, status, seeAlso }: Manual): string {
  const width = Math.max(...status.map(([code]) => code.length))
  return [
    ['Details:', ...details.flatMap((text, i) => [...(i > 0 ? [''] : []), ...wrap(text, '  ')])],
    ['Examples:', ...examples.flatMap(([line, what]) => [`  # ${what}`, `  ${line}`])],
    ['Exit status:', ...status.map(([code, when]) => `  ${code.padEnd(width)}  ${when}`)],
    ...(seeAlso.length > 0 ? [['See also:', `  ${seeAlso.join(', ')}`]] : []),
  ]
    .map(lines => lines.join('\n'))
    .join('\n\n')
}

function wrap(text: string, indent: string): string[] {
  const lines: string[] = []
  let line = ''
  for (const word of text.split(' ')) {
    if (line !== '' && indent.length + line.length + 1 + word.length > WIDTH) {
      lines.push(`${indent}${line}`)
      line = word
    } else line = line === '' ? word : `${line} ${word}`
  }
  return [...lines, `${indent}${line}`]
}
