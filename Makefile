# Everything a person or CI runs. `make help` lists the targets; each line there comes from the comment behind the target.
SHELL := /bin/bash
.SHELLFLAGS := -eu -o pipefail -c
.DEFAULT_GOAL := help
.DELETE_ON_ERROR:
export CGO_ENABLED := 0

# Packages tested at a time: every package with an API server of its own costs 300 MB and a core while it starts.
JOBS ?= 2
# More flags for what is run, for example: make up ARGS="--nodes 2 --simulated 100"
ARGS ?=

KUBE_VERSION := v1.36.3
KUBE_LDFLAGS := -s -w \
	-X k8s.io/component-base/version.gitVersion=$(KUBE_VERSION) \
	-X k8s.io/component-base/version.gitMajor=1 \
	-X k8s.io/component-base/version.gitMinor=36
KUBE_SOURCES := kube/go.mod kube/go.sum $(shell find kube -path kube/coredns -prune -o -type f ! -name '*_test.go' ! -name '*.md' -print)

##@ Run

demo: images ## Start a real Kubernetes with Holdfast and update a running CloneSet in place
	go run ./e2e/demo $(ARGS)

up: images ## Start a real Kubernetes on this machine, in the foreground (ARGS="--nodes 1 --simulated 100")
	bin/holdfast-kube up $(ARGS)

down: kube ## Stop it and clean up; its data stays in .holdfast
	bin/holdfast-kube down $(ARGS)

##@ Check

test: images ## Run all tests: of Holdfast against a real API server, and of the embedded Kubernetes
	go test -p $(JOBS) -timeout 30m ./...
	cd kube && go test -p $(JOBS) -timeout 30m ./...

e2e: images ## Run the demo and the scenarios on real nodes: they fail where they do not see what they should (ARGS="--only guards")
	$(if $(findstring --only,$(ARGS)),,go run ./e2e/demo --data-dir .holdfast-e2e --down)
	go run ./e2e/scenario $(ARGS)

bench: kube build ## Measure CloneSet beside Deployment on simulated nodes
	go run ./e2e/bench $(ARGS)

verify: bin/tools/golangci-lint bin/tools/controller-gen ## Check that generated files, go.mod files, lint and floors are in order
	hack/verify.sh

fmt: bin/tools/golangci-lint ## Format the Go code as lint wants it
	bin/tools/golangci-lint fmt

lint: bin/tools/golangci-lint ## Lint both modules
	hack/lint.sh

##@ Build

build: ## Build bin/holdfast and bin/kubectl-holdfast
	go build -tags grpcnotrace -ldflags '-s -w' -o bin/ ./cmd/holdfast ./cmd/kubectl-holdfast

kube: bin/holdfast-kube ## Build bin/holdfast-kube, the embedded Kubernetes (minutes at first, then only when kube/ changes)

images: packages kube build ## Make the container images for real nodes, without a registry
	bin/holdfast-kube image build

generate: bin/tools/controller-gen ## Make deep copies, CRDs and RBAC from the types and markers
	hack/generate.sh

clean: ## Remove everything that was built (not .holdfast: that is make down, then rm)
	rm -rf bin

help: ## List the targets
	@awk 'BEGIN {FS = ":.*## "} \
		/^##@ / {printf "\n%s\n", substr($$0, 5)} \
		/^[a-z][a-z0-9-]*:.*## / {printf "  make %-9s %s\n", $$1, $$2}' $(firstword $(MAKEFILE_LIST))

.PHONY: demo up down test e2e bench verify fmt lint build kube images generate clean help packages

packages:
	@hack/install-packages.sh

bin/holdfast-kube: $(KUBE_SOURCES)
	@if [ ! -e $@ ]; then echo "building Kubernetes $(KUBE_VERSION): some minutes the first time"; fi
	cd kube && go build -buildvcs=false -ldflags '$(KUBE_LDFLAGS)' -o ../$@ ./cmd/holdfast-kube

# The tools' versions are pinned in tools/go.mod.
bin/tools/golangci-lint: PACKAGE := github.com/golangci/golangci-lint/v2/cmd/golangci-lint
bin/tools/controller-gen: PACKAGE := sigs.k8s.io/controller-tools/cmd/controller-gen
bin/tools/benchstat: PACKAGE := golang.org/x/perf/cmd/benchstat
bin/tools/%: tools/go.sum
	@mkdir -p $(@D)
	cd tools && go build -buildvcs=false -ldflags '-s -w' -o ../$@ $(PACKAGE)
	@touch $@
