# The project's commands. `make help` lists them; each installs the tools it needs first (tests/support/install.sh).
SHELL := /bin/bash
.SHELLFLAGS := -euo pipefail -c
.DEFAULT_GOAL := help
.PHONY: help run build release test bench bench-full bench-instructions bench-gateway bench-load bench-invoices bench-ledger bench-usage bench-market check sim tools-build tools-test tools-bench tools-bench-full tools-instructions tools-release soak

# What is fetched or compiled once per machine, outside the clone.
XDG_CACHE_HOME ?= $(HOME)/.cache
APICLAY_CACHE_DIR ?= $(XDG_CACHE_HOME)/apiclay
CARGO_TARGET_DIR ?= target
INSTALL := tests/support/install.sh

# The faster linkers are used only when the compiler here can: asked anew per recipe, because the install step may have
# just brought one. A user's own RUSTFLAGS win.
links_with = $(shell echo 'int main(void){return 0;}' | cc -fuse-ld=$(1) -x c - -o /dev/null 2>/dev/null && echo yes)
RUSTFLAGS ?= $(if $(call links_with,mold),-Clink-arg=-fuse-ld=mold,$(if $(call links_with,lld),-Clink-arg=-fuse-ld=lld))

# Read by `make bench-full`: peers that it fetches.
ENVOY ?= $(APICLAY_CACHE_DIR)/peers/envoy
TRAEFIK ?= $(APICLAY_CACHE_DIR)/peers/traefik
PINGAP ?= $(APICLAY_CACHE_DIR)/peers/pingap

# Read by the tests: a mongod, the libraries it alone needs, a folder of real OpenAPI documents.
MONGOD ?= $(or $(shell command -v mongod),$(APICLAY_CACHE_DIR)/mongodb/bin/mongod)
MONGOD_LIBRARY_PATH ?= $(APICLAY_CACHE_DIR)/mongodb/lib
APICLAY_OPENAPI_SAMPLES ?= $(APICLAY_CACHE_DIR)/openapi

# `dist` is what is released; it links for minutes, so that a benchmark takes it only when told to (BENCH_PROFILE=dist).
BENCH_PROFILE ?= release
# A gateway that is built already is measured as it is, `target/released/apiclay-gateway` of `make release` for one.
build_bench := bench-load $(if $(BENCH_GATEWAY),,bench-gateway)
# The budget of instructions is of profile `release`: other profiles inline the parts that it counts.
hold_bench := $(if $(BENCH_GATEWAY)$(filter-out release,$(BENCH_PROFILE)),,bench-instructions)
BENCH_GATEWAY ?= $(CARGO_TARGET_DIR)/$(BENCH_PROFILE)/apiclay-gateway
run_bench = "$(CARGO_TARGET_DIR)/debug/proxies"

# Tests return their errors, which carry what was done; a backtrace under each would bury that.
RUST_LIB_BACKTRACE ?= 0

# Histories of `make sim`, and the seed of the first.
SIM_HISTORIES ?= 10000000
SIM_SEED ?= 0

# Calls of `make soak`.
SOAK_CALLS ?= 5000000
# Processes that it kills; SEED says which and when (docs/reliability.md).
KILLS ?= 300
SEED ?= 20261128

export ENVOY TRAEFIK PINGAP RUST_LIB_BACKTRACE APICLAY_CACHE_DIR CARGO_TARGET_DIR RUSTFLAGS MONGOD MONGOD_LIBRARY_PATH APICLAY_OPENAPI_SAMPLES
export PATH := $(APICLAY_CACHE_DIR)/bin:$(PATH)

help: ## list the commands
	@sed -n 's/^\([a-z-]*\):.*## \(.*\)/make \1\t\2/p' Makefile | expand -t 16

run: build ## build a release binary and serve with demo data
	exec "$(CARGO_TARGET_DIR)/release/apiclay" serve --demo

build: tools-build ## build the release binary
	cargo build --locked --release --bin apiclay

release: tools-release ## build what is released, optimised by a training run; builds all twice, into target/released
	sh benches/train/release.sh

test: tools-test ## build every binary and run every test, against real servers; those of the gateway in each of its lanes
	cargo build --locked --workspace --bins
	APICLAY_FAST_LANE=off cargo nextest run --locked --workspace --test gateway_cases -E 'not test(/^lanes::/)'
	cargo nextest run --locked --workspace

# A folder is for one gateway and one setting; `bench-full` goes on with what it finds there, `bench` begins anew.
bench: $(hold_bench) tools-bench $(build_bench) ## CPU a call beside nginx and HAProxy, in about 12 minutes; settings: docs/performance.md
	$(run_bench) --folder "$(or $(APICLAY_BENCH_FOLDER),$(CARGO_TARGET_DIR)/bench)" "$(BENCH_GATEWAY)"

bench-full: tools-bench-full $(build_bench) ## the same with more rows and peers, for most of an hour; goes on where it was stopped
	$(run_bench) --full --folder "$(or $(APICLAY_BENCH_FOLDER),$(CARGO_TARGET_DIR)/bench-full)" "$(BENCH_GATEWAY)"

bench-instructions: tools-instructions bench-load bench-gateway ## instructions of a call and of its parts, held against a budget, in half a minute
	$(run_bench) --instructions --folder "$(CARGO_TARGET_DIR)/bench" "$(CARGO_TARGET_DIR)/$(BENCH_PROFILE)/apiclay-gateway"

# With the features of `make release`, so that the two can be compared.
bench-gateway: tools-build
	cargo build --locked --profile "$(BENCH_PROFILE)" --package apiclay --package apiclay-gateway --bin apiclay-gateway

# With the features of the whole workspace, as `make test` builds it: what that compiled is not compiled again.
bench-load: tools-build
	cargo build --locked --workspace --bin proxies --bin pace

bench-ledger: tools-test ## entries a second that the journal takes, beside the store's raw inserts, on both stores
	cargo run --locked --profile "$(BENCH_PROFILE)" --package apiclay-benches --bin ledger

bench-invoices: tools-test ## ten million calls into ten thousand invoices, on both stores
	cargo run --locked --profile "$(BENCH_PROFILE)" --package apiclay-benches --bin invoices

bench-usage: tools-test ## calls a second that usage takes in and folds, and memory as months pass, on both stores
	cargo run --locked --profile "$(BENCH_PROFILE)" --package apiclay-benches --bin usage

bench-market: tools-build ## a market of a million keys and routes: memory, how long it compiles, how long a change takes
	cargo run --locked --profile "$(BENCH_PROFILE)" --package apiclay-benches --bin market

soak: tools-test ## the main job with five million calls, on both backends, KILLS=300 kills of SEED, and the large models of leases, in release
	cargo build --locked --release --workspace --bins --test main_job --test kills
	APICLAY_TEST_CALLS=$(SOAK_CALLS) cargo nextest run --locked --release --profile soak --workspace --test main_job
	APICLAY_TEST_KILLS=$(KILLS) APICLAY_TEST_SEED=$(SEED) cargo nextest run --locked --release --profile soak --workspace --test kills
	APICLAY_TEST_MODEL=large cargo nextest run --locked --release --profile soak --package apiclay-gateway --lib -E 'test(larger_worlds)'

sim: tools-test ## ten million histories of money by seed, and the faults that they find: SIM_HISTORIES, SIM_SEED
	APICLAY_SIM_HISTORIES=$(SIM_HISTORIES) APICLAY_SIM_SEED=$(SIM_SEED) cargo nextest run --locked --release --profile soak \
		--package apiclay-control-plane --lib --no-capture simulation

check: tools-test ## formatting, lints, licences and sources, documentation
	cargo fmt --all --check
	cargo clippy --locked --workspace --all-targets -- -D warnings
	cargo deny --locked --log-level error check bans licenses sources
	RUSTDOCFLAGS="-D warnings" cargo doc --locked --no-deps --workspace --document-private-items

tools-build:
	@sh $(INSTALL) build

tools-release:
	@sh $(INSTALL) release

tools-bench tools-bench-full tools-instructions: tools-%:
	@sh $(INSTALL) $*

tools-test:
	@sh $(INSTALL) test
