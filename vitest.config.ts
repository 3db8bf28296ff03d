import { defineConfig } from 'vitest/config'

// unit: no root, no kernel state. lab: network namespaces and wireguard-go. kernel: inside the VM of `make test-kernel`.
// cluster: a real kube-apiserver.
// On a shared machine a case may be starved of its processor: there it has two more tries, which the report shows. People see
// every failure.
const retry = process.env.CI ? 2 : 0

/** Takes all that two processors have, so that what runs beside it would run out of time. */
const ALONE = 'test/lab/mesh/ten-nodes.test.ts'

const lab = { retry, testTimeout: 120_000, hookTimeout: 120_000, isolate: false }

export default defineConfig({
  test: {
    pool: 'forks',
    projects: [
      // Seconds on a quiet machine; a busy one must not make a property fail. Without a process for each file, which took a
      // third of the tier's time: nothing here keeps anything from one case to the next.
      {
        extends: true,
        test: {
          name: 'unit',
          include: ['test/unit/**/*.test.ts'],
          testTimeout: 120_000,
          maxWorkers: 2,
          isolate: false,
        },
      },
      {
        extends: true,
        test: {
          name: 'lab',
          ...lab,
          include: ['test/lab/**/*.test.ts', 'test/host/**/*.test.ts'],
          exclude: [ALONE],
          // Half of what a case takes is waiting.
          maxWorkers: 4,
        },
      },
      {
        extends: true,
        test: { name: 'lab-alone', ...lab, include: [ALONE], maxWorkers: 1, sequence: { groupOrder: 1 } },
      },
      {
        extends: true,
        test: {
          name: 'kernel',
          retry,
          // What only the kernel's WireGuard can show. The cases of the host and the lab tiers, written once, are slow on an
          // emulated processor: the long profile has them all.
          include: [
            'test/kernel/cases/**/*.test.ts',
            'test/host/device/kernel.test.ts',
            'test/host/netlink/route-netlink.test.ts',
            ...(process.env.PODVEIL_LONG === '1'
              ? ['test/host/**/*.test.ts', 'test/lab/{mesh,guard,change}/**/*.test.ts']
              : []),
          ],
          // Whole agents, a minute or two each there; what they rely on is in faults.test.ts.
          exclude: process.env.PODVEIL_LONG === '1' ? [] : ['test/kernel/cases/agent-faults.test.ts'],
          testTimeout: 600_000,
          hookTimeout: 300_000,
          maxWorkers: 1,
        },
      },
      {
        extends: true,
        test: {
          name: 'cluster',
          retry,
          include: ['test/cluster/**/*.test.ts'],
          testTimeout: 120_000,
          hookTimeout: 300_000,
          maxWorkers: 1,
        },
      },
    ],
  },
})
