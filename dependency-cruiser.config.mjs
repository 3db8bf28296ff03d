// The direction of dependencies: src may use wg and keys, wg may use keys, nothing points back, and the agent never
// pulls in the lab or the Kubernetes client library.
export default {
  forbidden: [
    { name: 'no-cycles', severity: 'error', from: {}, to: { circular: true } },
    { name: 'keys-know-nothing', severity: 'error', from: { path: '^keys/' }, to: { path: '^(src|wg|test)/' } },
    { name: 'wg-knows-no-kubernetes', severity: 'error', from: { path: '^wg/' }, to: { path: '^(src|test)/' } },
    { name: 'src-knows-no-tests', severity: 'error', from: { path: '^src/' }, to: { path: '^test/' } },
    { name: 'mesh-is-pure', severity: 'error', from: { path: '^src/mesh/' }, to: { path: '^(src/(cluster|agent|commands|lab)/|wg/(netlink|rtnetlink|uapi|native|device)/|(node:)?(fs|net|dgram|child_process|http|https|timers)$)' } },
    { name: 'agent-without-lab', severity: 'error', from: { path: '^src/(agent|cluster|mesh|hello)/' }, to: { path: '^src/lab/' } },
    { name: 'client-node-only-for-kubeconfig', severity: 'error', from: { path: '^src/', pathNot: '^src/cluster/kubeconfig' }, to: { path: 'node_modules/@kubernetes/client-node' } },
    { name: 'no-orphan-packages', severity: 'error', from: {}, to: { couldNotResolve: true } },
  ],
  options: {
    doNotFollow: { path: 'node_modules' },
    tsPreCompilationDeps: true,
    tsConfig: { fileName: 'tsconfig.json' },
    enhancedResolveOptions: { extensions: ['.ts', '.mjs', '.js'], conditionNames: ['import', 'node', 'types'] },
  },
}
