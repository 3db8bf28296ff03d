import { defineConfig } from 'vitest/config'

// unit: no root, no kernel state. lab: network namespaces and wireguard-go. kernel: inside the VM of `make test-kernel`.
// cluster: a real kube-apiserver.
export default defineConfig({
  test: {
    pool: 'forks',
    projects: [
      { extends: true, test: { name: 'unit', include: ['test/unit/**/*.test.ts'] } },
      {
        extends: true,
        test: {
          name: 'lab',
          include: ['test/lab/**/*.test.ts', 'test/host/**/*.test.ts'],
          testTimeout: 120_000,
          hookTimeout: 120_000,
          maxWorkers: 1,
        },
      },
      {
        extends: true,
        test: {
          name: 'kernel',
          // Written once: the cases of the host and the lab tiers, and those that only the kernel's WireGuard can show.
          include: [
            'test/kernel/cases/**/*.test.ts',
            'test/host/**/*.test.ts',
            'test/lab/mesh/**/*.test.ts',
            'test/lab/guard/**/*.test.ts',
            'test/lab/change/**/*.test.ts',
          ],
          testTimeout: 600_000,
          hookTimeout: 300_000,
          maxWorkers: 1,
        },
      },
      {
        extends: true,
        test: {
          name: 'cluster',
          include: ['test/cluster/**/*.test.ts'],
          testTimeout: 120_000,
          hookTimeout: 300_000,
          maxWorkers: 1,
        },
      },
    ],
  },
})
