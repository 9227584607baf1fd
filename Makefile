# `make` lists the targets. Each is short for a command that also works without
# make. .ci/run must pass before a change is merged.

SHELL := bash
.SHELLFLAGS := -euo pipefail -c
.DEFAULT_GOAL := help

# The servers of docker-compose.yml.
BROKERS ?= localhost:9092
DATABASE_URL ?= postgres://shop:shop@localhost:5432/shop
COMPOSE ?= docker compose
PKG ?= ./... ./examples/orderflow/... ./gateway/redis/... ./codec/registry/... ./jobs/... ./otel/...

# `make sim` runs this many histories, starting with this seed.
HISTORIES ?= 2000
SEED ?= 1

# How long `make fuzz` runs each target.
FUZZTIME ?= 10s

# How long `make torture` causes faults.
DURATION ?= 60s
# How many requests `make gateway-torture` sends.
REQUESTS ?= 100000
# What keeps the keys (hybrid, postgres, redis), how handlers write (tx, store), and a violation
# to plant, which the run must report; see gateway/redis/internal/torture/main.go.
BACKEND ?= hybrid
HANDLER ?= tx
PLANT ?=
# `make mutants` plants only the mutations whose file or reason matches.
RUN ?=
# `make bench` runs all workloads with all their data unless WORKLOAD or QUICK is
# set. WORKLOAD is a list, with commas, of: new-orders, bank-log, hot-key, payments,
# hot-account, replay, latency, latency-lone, outbox, latency-outbox, timers, do, gateway, growth, memory. Only a full run updates the chart in docs.
WORKLOAD ?=
QUICK ?=
BENCH_SVG ?= $(if $(WORKLOAD)$(QUICK),out/bench.svg,../docs/bench.svg)
BENCH_FLAGS ?= -svg $(BENCH_SVG) $(if $(WORKLOAD),-workload $(WORKLOAD)) $(if $(filter-out 0,$(QUICK)),-quick)

# tools/go.mod pins the versions of the tools. go.work does not list that module.
TOOL = GOWORK=off go tool -modfile=tools/go.mod

.PHONY: help
help: ## List the targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "%-16s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

.PHONY: build
build: ## Compile everything
	go build $(PKG)

.PHONY: test
test: ## Run the tests on the available servers, or on embedded ones
	go test $(PKG)

.PHONY: race
race: ## Run the tests with the race detector on the embedded servers
	PAWL_TEST_ENV=embedded go test -race $(PKG)

.PHONY: fuzz
fuzz: ## Run each fuzz target for FUZZTIME
	FUZZTIME=$(FUZZTIME) .ci/run fuzz

.PHONY: sim
sim: ## Simulate HISTORIES of workers under faults, starting with SEED; the last line is JSON
	go test -tags synctests -c -o sim.test ./internal/sim
	./sim.test -test.run '^TestHistories$$' -test.timeout 0 -histories $(HISTORIES) -seed $(SEED)

.PHONY: failover
failover: ## Test workers that lose their PostgreSQL server
	go test -tags failover -count=1 ./internal/failover

.PHONY: torture
torture: ## Run workers on real servers under faults for DURATION; the last line is JSON
	go build -C internal/torture -o "$(CURDIR)/torture.bin" .
	./torture.bin -duration $(DURATION)

.PHONY: gateways
gateways: ## Measure how often proxies send a request, as in docs/gateways.md
	go run ./internal/gateways

.PHONY: gateway-torture
gateway-torture: ## Send REQUESTS with retries through HAProxy while servers fail; the last line is JSON
	go build -C gateway/redis/internal/torture -o "$(CURDIR)/gateway-torture.bin" .
	./gateway-torture.bin -requests $(REQUESTS) -backend $(BACKEND) -handler $(HANDLER) $(if $(PLANT),-plant $(PLANT))

.PHONY: mutants
mutants: ## Plant mistakes in the code (RUN=marks for some) and check that a test catches each
	go run ./internal/mutants -run '$(RUN)'

.PHONY: test-servers
test-servers: ## Run the tests on the servers of `make up`
	PAWL_TEST_ENV=servers KAFKA_BROKERS=$(BROKERS) DATABASE_URL='$(DATABASE_URL)' go test -count=1 $(PKG)

.PHONY: cover
cover: ## Run the tests and show the coverage in a browser
	go test -coverpkg=./... -coverprofile=cover.out $(PKG)
	go tool cover -html=cover.out

.PHONY: bench
bench: ## Compare a worker with alternatives (WORKLOAD=new-orders,payments for some workloads, QUICK=1 for little data)
	bench/run $(BENCH_FLAGS)

.PHONY: microbench
microbench: ## Run the Go benchmarks six times and show them with benchstat
	go test -run '^$$' -bench . -count 6 $(PKG) | tee bench.out
	$(TOOL) benchstat bench.out

.PHONY: lint
lint: ## Run the linters
	for module in . codec/registry examples/orderflow gateway/redis jobs otel; do (cd $$module && GOWORK=off go tool -modfile="$(CURDIR)/tools/go.mod" golangci-lint run ./...); done

.PHONY: fmt
fmt: ## Format the code
	$(TOOL) golangci-lint fmt ./...

.PHONY: tidy
tidy: ## Tidy go.mod and go.sum
	for module in . bench codec/registry examples/orderflow gateway/redis internal/promtest internal/torture jobs otel; do go -C $$module mod tidy; done

.PHONY: ci
ci: ## Run everything that must pass before a merge (LEGS="lint test" for some legs)
	.ci/run $(LEGS)

.PHONY: up
up: ## Start Kafka and PostgreSQL in containers
	$(COMPOSE) up -d --wait

.PHONY: down
down: ## Stop them (keeps their data)
	$(COMPOSE) down

.PHONY: demo
demo: ## Run the example on the servers of `make up`
	go run ./examples/orderflow demo --brokers $(BROKERS) --database-url '$(DATABASE_URL)'
