# Two commands matter: `make run` (try it) and `make test` (everything that is promised). `make help` lists the rest.
# What they need is installed by scripts/setup into a cache outside this folder.

SHELL := bash
.SHELLFLAGS := -euo pipefail -c
.DEFAULT_GOAL := help

# cargo-nextest and cargo-deny as pinned; one that is already on the PATH is used where the pinned one is not there yet.
TOOLS := $(shell scripts/setup paths | sed -n 's/^TOOLS=//p')
export PATH := $(PATH):$(TOOLS)

.NOTPARALLEL:
.PHONY: help run check test stages stages-accept sdk browser test-vllm bench performance scale sim routers fmt clean setup

help: ## What each target does
	@sed -n 's/^\([a-z-]*\):.*## \(.*\)/\1\t\2/p' $(MAKEFILE_LIST) | expand -t 15

run: ## Two real engines with farebox in front, a first key, and lines to paste; Ctrl-C stops it all
	@scripts/run

check: ## Format, clippy, docs, shell scripts, all Rust tests, licences: the one door
	scripts/setup tools
	cargo fmt --all --check
	cargo clippy --workspace --all-targets --locked -- -D warnings
	RUSTDOCFLAGS='-D warnings' cargo doc --workspace --no-deps --locked
	for script in scripts/{pins.sh,run,setup} .ci/run; do bash -n "$$script"; done
	cargo nextest run --workspace --locked
	cargo test --workspace --doc --locked
	@# Not `advisories`: that one downloads its database (see deny.toml).
	cargo deny --log-level error check bans licenses sources

test: setup check stages browser sdk ## Everything: setup, check, what each stage costs, the dashboard in a browser, the official SDKs against real engines

stages: ## Instructions of each stage of a request, held against benches/stages/baseline.json (docs/adr/0017)
	scripts/setup tools
	cargo run --locked --profile stages -p farebox-stages

stages-accept: ## Writes there what has become more than 5 % dearer or cheaper; commit it, and say why
	scripts/setup tools
	cargo run --locked --profile stages -p farebox-stages -- --accept

sdk: ## The Python and Node SDKs and curl, against farebox in front of a real llama-server
	scripts/setup test
	cargo build --locked --bin farebox
	eval "$$(scripts/setup paths)" && "$$PYTHON" -m pytest tests/sdk

browser: ## The dashboard in Debian's Chromium, in front of two replicas under load; screenshots in target/tmp/dashboard
	scripts/setup browser
	eval "$$(scripts/setup paths)" && NODE="$$NODE" cargo nextest run --locked --test it --run-ignored only -E 'test(/^browser::/)'

test-vllm: ## Three real vLLM engines on this processor: their KV events, cached tokens and shutdown. 5 GB, 9 GB of memory, minutes
	scripts/setup vllm
	cargo build --locked --bin farebox
	eval "$$(scripts/setup paths)" && "$$PYTHON" -m pytest tests/vllm

# Where `make bench` puts its drawing and its tables; `make performance` puts them into docs.
BENCH_SVG ?= target/bench/gateway.svg
BENCH_MARKDOWN ?= target/bench/gateway.md

bench: ## Cost and latency beside a pass-through, nginx, HAProxy, smg, vllm-router and sglang-router, in one go; BENCH="--rounds 9" for more
	scripts/setup bench peers
	@mkdir -p target/bench
	eval "$$(scripts/setup paths)" && PEERS="$$PEERS" cargo bench --locked --bench gateway -- \
	    --svg $(BENCH_SVG) --markdown $(BENCH_MARKDOWN) $(BENCH)

performance: ## The same, into docs/PERFORMANCE.md
	$(MAKE) bench BENCH_SVG=docs/performance.svg BENCH_MARKDOWN=docs/PERFORMANCE.md

# Where `make scale` puts its drawing and its tables.
SCALE_SVG ?= target/bench/scale.svg
SCALE_MARKDOWN ?= target/bench/scale.md

scale: ## What being large costs: keys, models, engines, entries, 10,000 streams, settlements; SCALE="--quick" or "--only keys"
	@mkdir -p target/bench
	cargo bench --locked --bench scale -- --svg $(SCALE_SVG) --markdown $(SCALE_MARKDOWN) $(SCALE)

# The trace to replay: an hour of real traffic where it lies beside this folder, else one that is made up.
TRACE ?= $(wildcard ../shared/traces/mooncake_conversation.jsonl)

sim: ## A trace through the real routing with simulated engines, an hour in seconds; TRACE=file.jsonl for another
	@mkdir -p target
	cargo bench --locked -p farebox-routing --bench sim -- \
	    $(if $(TRACE),--trace "$$(realpath '$(TRACE)')") --svg "$$PWD/target/sim.svg" --json "$$PWD/target/sim.json"

routers: ## Hit rates and times to the first token beside smg and vllm-router, in real time; TRACE= as of sim
	scripts/setup peers
	$(if $(FAREBOX_BIN),,cargo build --release --locked --bin farebox)
	eval "$$(scripts/setup paths)" && PEERS="$$PEERS" cargo bench --locked -p farebox-routing --bench routers -- \
	    $(if $(TRACE),--trace "$$(realpath '$(TRACE)')")

setup: ## Only the installing
	scripts/setup

fmt: ## Format the Rust code
	cargo fmt --all

clean: ## Remove what was built here and what `make run` keeps; the cache stays
	cargo clean
	rm -rf .run tests/sdk/node/node_modules tests/browser/node_modules
	find . -path ./target -prune -o \( -name __pycache__ -o -name .pytest_cache \) -prune -exec rm -rf {} +
