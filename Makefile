# `make` lists the targets. Each is a shorthand for a command that works by
# itself; what has to pass before a change lands is .ci/run.

SHELL := bash
.SHELLFLAGS := -euo pipefail -c
.DEFAULT_GOAL := help

# Where docker-compose.yml puts its servers.
BROKERS ?= localhost:9092
DATABASE_URL ?= postgres://shop:shop@localhost:5432/shop
COMPOSE ?= docker compose
PKG ?= ./...

# What `make sim` plays: so many histories, from this seed on.
HISTORIES ?= 2000
SEED ?= 1

# For how long `make torture` lets things go wrong.
DURATION ?= 60s
# What `make bench` measures: all workloads with all their data unless these say
# otherwise. Such a run draws the chart that the docs show.
WORKLOAD ?=
QUICK ?=
BENCH_SVG ?= $(if $(WORKLOAD)$(QUICK),out/bench.svg,../docs/bench.svg)
BENCH_FLAGS ?= -svg $(BENCH_SVG) $(if $(WORKLOAD),-workload $(WORKLOAD)) $(if $(filter-out 0,$(QUICK)),-quick)

# The tools' versions are pinned in tools/go.mod.
TOOL = go tool -modfile=tools/go.mod

.PHONY: help
help: ## List the targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "%-13s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

.PHONY: build
build: ## Compile everything
	go build ./...

.PHONY: test
test: ## Run the tests on whatever servers there are, embedded ones otherwise
	go test $(PKG)

.PHONY: race
race: ## Run the tests with the race detector on the embedded servers
	PAWL_TEST_ENV=embedded go test -race $(PKG)

.PHONY: sim
sim: ## Play HISTORIES of workers under faults, from SEED on; the last line is JSON
	go test -tags synctests -c -o sim.test ./internal/sim
	./sim.test -test.run '^TestHistories$$' -test.timeout 0 -histories $(HISTORIES) -seed $(SEED)

.PHONY: failover
failover: ## Run the tests of workers whose PostgreSQL server is lost
	go test -tags failover -count=1 ./internal/failover

.PHONY: torture
torture: ## Run workers on real servers under faults for DURATION; the last line is JSON
	go build -C internal/torture -o "$(CURDIR)/torture.bin" .
	./torture.bin -duration $(DURATION)

.PHONY: test-servers
test-servers: ## Run the tests on the servers of `make up`
	PAWL_TEST_ENV=servers KAFKA_BROKERS=$(BROKERS) DATABASE_URL='$(DATABASE_URL)' go test -count=1 $(PKG)

.PHONY: cover
cover: ## Run the tests and show what they cover in a browser
	go test -coverpkg=./... -coverprofile=cover.out $(PKG)
	go tool cover -html=cover.out

.PHONY: bench
bench: ## Measure a worker beside its rivals (WORKLOAD=new-orders for one, QUICK=1 for little data)
	bench/run $(BENCH_FLAGS)

.PHONY: microbench
microbench: ## Run the benchmarks beside the code six times, for benchstat
	go test -run '^$$' -bench . -count 6 $(PKG) | tee bench.out
	$(TOOL) benchstat bench.out

.PHONY: lint
lint: ## Run the linters
	$(TOOL) golangci-lint run ./...

.PHONY: fmt
fmt: ## Format the code
	$(TOOL) golangci-lint fmt ./...

.PHONY: tidy
tidy: ## Tidy go.mod and go.sum
	go mod tidy

.PHONY: ci
ci: ## Run what has to pass before a change lands (LEGS="lint test" for some)
	.ci/run $(LEGS)

.PHONY: up
up: ## Start Kafka and PostgreSQL in containers
	$(COMPOSE) up -d --wait

.PHONY: down
down: ## Stop them (their data stays)
	$(COMPOSE) down

.PHONY: demo
demo: ## Run the example on the servers of `make up`
	go run ./examples/orderflow demo --brokers $(BROKERS) --database-url '$(DATABASE_URL)'
