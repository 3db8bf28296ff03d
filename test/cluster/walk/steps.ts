/** One command of the walk, as somebody types it who has read the README. */
export interface Step {
  readonly run: string
  /** What it must end with. Default 0. */
  readonly status?: number
  /** What it must print in the end. It is run again until it does, as people do, for a minute at most. */
  readonly shows?: RegExp
  /** Not to be run again, whatever it prints. */
  readonly once?: true
  /** The README has it, word for word. */
  readonly readme?: true
}

export interface Chapter {
  readonly title: string
  readonly text: string
  readonly steps: readonly Step[]
}

const NODE_1 = '10.200.0.11'
const NODE_2 = '10.200.0.12'

const AGENT_1 = 'kubectl -n podveil-system exec podveil-agent-node-1 --'

export const CHAPTERS: readonly Chapter[] = [
  {
    title: 'Install',
    text: 'A cluster of three nodes without Calico and without Podveil; pods talk to each other all the time.',
    steps: [
      { run: 'kubectl apply -k manifests/crds/calico', readme: true },
      { run: 'kubectl apply -k manifests/base', readme: true },
      {
        run: 'kubectl -n podveil-system rollout status daemonset/podveil-agent',
        shows: /successfully rolled out/,
        readme: true,
      },
      { run: 'podveil status', shows: /^off/m, readme: true },
    ],
  },
  {
    title: 'Switch on',
    text: 'The switch is a field of Calico’s FelixConfiguration.',
    steps: [
      {
        run: [
          "kubectl apply -f - <<'YAML'",
          'apiVersion: crd.projectcalico.org/v1',
          'kind: FelixConfiguration',
          'metadata: {name: default}',
          'spec: {wireguardEnabled: true}',
          'YAML',
        ].join('\n'),
        readme: true,
      },
      {
        run: 'kubectl wait --for=condition=EncryptionReady --timeout=60s node --all',
        shows: /node-3 condition met/,
        readme: true,
      },
      { run: 'podveil status', shows: /^encrypted/m },
    ],
  },
  {
    title: 'Verify',
    text: 'Which way a packet takes and what decides it; and marked datagrams, captured on the wire at both ends.',
    steps: [
      { run: 'podveil explain default/pod-1 default/pod-2', shows: /encrypted/, readme: true },
      { run: `${AGENT_1} podveil show`, shows: /latest handshake/, readme: true },
      { run: 'podveil verify', shows: /^encrypted/m, readme: true },
    ],
  },
  {
    title: 'Break one pair',
    text: 'Somebody’s firewall drops UDP between two of the nodes.',
    steps: [
      {
        run: [
          'ip netns exec "podveil-$LAB-switch" nft -f - <<\'NFT\'',
          'table bridge firewall {',
          '  chain forward {',
          '    type filter hook forward priority 0',
          `    ip saddr ${NODE_1} ip daddr ${NODE_2} udp dport 51820 drop`,
          `    ip saddr ${NODE_2} ip daddr ${NODE_1} udp dport 51820 drop`,
          '  }',
          '}',
          'NFT',
        ].join('\n'),
      },
    ],
  },
  {
    title: 'Find it',
    text: 'It stays encrypted: silence never turns a pair back to clear text. Which pair it is, and what to do:',
    steps: [
      { run: 'podveil status', status: 1, shows: /not answering[\s\S]*UDP/ },
      { run: `${AGENT_1} podveil status --node`, status: 1, shows: /node-2.*not answering|not answering.*node-2/ },
      { run: 'podveil explain default/pod-1 default/pod-2', shows: /node-2/ },
      { run: `${AGENT_1} podveil diagnose`, status: 1, shows: /UDP/ },
    ],
  },
  {
    title: 'Mend it',
    text: 'The firewall lets it pass again.',
    steps: [
      { run: 'ip netns exec "podveil-$LAB-switch" nft delete table bridge firewall' },
      { run: 'podveil status', shows: /^encrypted/m },
    ],
  },
  {
    title: 'Uninstall',
    text: 'First off, which loses nothing; then every agent is replaced by the clean-up; then the rest.',
    steps: [
      {
        run: `kubectl patch felixconfiguration default --type=merge -p '{"spec":{"wireguardEnabled":false}}'`,
        readme: true,
      },
      { run: 'podveil status', shows: /^off/m },
      { run: 'kubectl apply -k manifests/overlays/cleanup', readme: true },
      {
        run: 'kubectl -n podveil-system rollout status daemonset/podveil-agent',
        shows: /successfully rolled out/,
      },
      { run: 'kubectl delete --ignore-not-found -k manifests/base', readme: true, once: true },
      {
        run: 'kubectl get nodes -o yaml | grep -cE "podveil.io|projectcalico.org|EncryptionReady"',
        status: 1,
        shows: /^0$/m,
      },
    ],
  },
]
