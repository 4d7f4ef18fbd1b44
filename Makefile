# `make` alone lists the targets. The work is done by the scripts in tools/, which can be run by themselves.
#
# One set of build flags for everything: Go's build cache holds thousands of packages here, and another flag (CGO,
# -trimpath, a tag) would fill it again, which takes minutes.

SHELL := /bin/bash
.DEFAULT_GOAL := help

export CGO_ENABLED := 0
export GO ?= go
# Another processor than this machine's, for build: arm64 or amd64.
ifdef ARCH
export GOARCH := $(ARCH)
endif

.PHONY: help
help: ## list the targets
	@echo 'make TARGET, of which two are enough to begin with: demo, test'
	@awk -F ':.*## ' '/^[a-z0-9-]+:.*## / { printf "  %-11s %s\n", $$1, $$2 }' Makefile

.PHONY: demo
demo: build ## run the example app: cluster, images, database, migrations, three replicas, URL (root)
	@tools/demo.sh

.PHONY: test
test: deps ## all tests: build, format, lint, unit tests and generated docs; as root end to end and in virtual machines too
	@tools/test.sh

.PHONY: deps
deps: ## what Debian has to have: installed by apt when root, else the command is printed
	@tools/deps.sh

.PHONY: assets
assets: deps ## build the programs carried inside perch: runc, the shim, the CNI plugins, pause
	@internal/node/assets/build.sh

.PHONY: build
build: assets ## build bin/perch (some 8 minutes the first time); ARCH=arm64: bin/perch-linux-arm64
	@tools/build.sh

.PHONY: check
check: assets ## what must pass before a change goes in, without root: all of test but end to end
	@tools/check.sh

.PHONY: e2e
e2e: build tools ## end-to-end tests on the real node (root); RUN=Name for one scenario
	@tools/e2e.sh

.PHONY: cycles
cycles: build ## start and stop a cluster N=1000 times and look for what piles up (root)
	@tools/cycles.sh

.PHONY: vmtest
vmtest: build ## the node on a Debian with systemd, in virtual machines; a power cut (root); RUN=Name for one machine
	@tools/vmtest.sh

.PHONY: conformance
conformance: build ## Kubernetes' own conformance tests on the node (root); QUICK=1 for CI's part, RUN=regexp for some
	@tools/conformance.sh

.PHONY: bench
bench: build ## measure start, up, update, memory and idle CPU (root); ROUNDS=5
	@tools/bench.sh

.PHONY: images
images: deps ## build the demo's base images from Debian packages and this machine's Go, for where no registry is
	@tools/images.sh build

.PHONY: lint
lint: assets ## golangci-lint, with the rules of the layers
	@tools/lint.sh

.PHONY: fmt
fmt: ## format all Go files
	@tools/lint.sh fmt

.PHONY: tools
tools: ## plain kubectl and helm, a registry and an ingress controller, built from their modules into .cache/tools for the end-to-end tests
	@tools/plain-tools.sh

.PHONY: clean
clean: ## remove what was built; clusters, Go's cache and .cache stay
	rm -rf bin dist
	find internal/node/assets/files -type f ! -name README.md -delete
