# Two commands do everything on a fresh Debian or Ubuntu machine with Node.js: `make lab` and `make test`.

NODE := node_modules/.bin/node
TIERS := $(NODE) test/tools/run-tiers.ts

.PHONY: help
help: ## what there is to make
	@grep -hE '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 20

.PHONY: setup
setup: ## what the agent and the lab need: Node packages, the native addon, programs
	@scripts/setup lab

.PHONY: lab
lab: ## a three-node cluster on this machine: encryption on and off under traffic, loss and clear text counted
	@scripts/setup lab
	@bin/podveil lab demo

.PHONY: test
test: ## every tier that this machine can run, short profile, within 45 minutes
	@scripts/setup lab kernel cluster
	@$(TIERS) unit lab cluster kernel kernel-newest kernel-6.1

.PHONY: test-long
test-long: export PODVEIL_LONG = 1
test-long: test ## the same with the full counts and durations

.PHONY: test-unit
test-unit: ## unit and property tests; no root, under a minute
	@scripts/setup
	@$(TIERS) unit

.PHONY: test-lab
test-lab: ## agents in network namespaces, wireguard-go, the embedded API server
	@scripts/setup lab
	@$(TIERS) lab

.PHONY: test-kernel
test-kernel: ## the same cases on the kernel's own WireGuard, in a small VM
	@scripts/setup lab kernel
	@$(TIERS) kernel kernel-newest kernel-6.1

.PHONY: test-uml
test-uml: export PODVEIL_LONG = 1
test-uml: ## the lab's cases on the kernel's own WireGuard, in 6.12 as a process (user-mode Linux); two hours
	@scripts/setup lab uml
	@test/kernel/uml/build
	@test/kernel/every-case --kernel uml-6.12 --timeout 1800 test/lab

.PHONY: test-cluster
test-cluster: ## the same cases against a real kube-apiserver and etcd
	@scripts/setup lab cluster
	@$(TIERS) cluster

.PHONY: bench
bench: ## every benchmark but the long run, at up to 5,000 nodes and 50 agents, three quarters of an hour; tables and JSON in docs/benchmarks
	@scripts/setup lab bench
	@$(NODE) test/bench/main.ts --write

.PHONY: bench-smoke
bench-smoke: ## that each of the benchmarks runs, in five minutes at most; writes nothing
	@scripts/setup lab bench
	@$(NODE) test/bench/main.ts --smoke

.PHONY: check
check: ## format, lint, types, direction of dependencies
	@scripts/setup
	@npm run --silent check

.PHONY: format
format:
	@npm run --silent format

.PHONY: clean
clean: ## what was built; not what was downloaded
	rm -rf dist wg/native/build prebuilds
