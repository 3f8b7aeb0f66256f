# The front door. Every target works on a fresh clone; `make` alone says what there is.
.PHONY: help run cluster chaos test lint fuzz mutants doc picture bench bench-quick bench-check bench-soak bench-report bench-instructions release

help:
	@sed -n 's/^## //p' $(MAKEFILE_LIST)

## make run      a development server on 127.0.0.1:4433
run:
	cargo run --release -- serve --dev

## make cluster  three servers that are one hub, each with a NATS server, a crowd, and the dashboard of one; loopback only
cluster:
	tests/tools
	cargo build --release --locked --bin fanfare
	tests/cluster/three

## make test     everything that CI checks by running it; installs what it needs on Debian
test:
	tests/tools
	tests/repeat 1
	cargo test -p fanfare-hub --features model --lib --locked
	tests/last-release/run
	FANFARE_CYCLES=4 FANFARE_SEED=7 tests/cluster/run
	tests/python/run
	web/run-tests
	$(MAKE) bench-check

## make chaos    breaks a cluster of real processes, FANFARE_CYCLES times (4), and looks at what must hold; needs root
chaos:
	tests/tools
	tests/cluster/run

## make lint     formatting, clippy, and what is in the dependency graph
lint:
	cargo fmt --all --check
	cargo clippy --workspace --all-targets --locked -- -D warnings
	cargo clippy -p fanfare-server --features bench --benches --examples --locked -- -D warnings
	command -v cargo-deny > /dev/null || cargo install --locked cargo-deny@0.20.2
	cargo deny check

# How long each fuzz target runs, in seconds.
SECONDS_EACH = 600

## make fuzz     each fuzz target for ten minutes, or SECONDS_EACH=N
fuzz:
	command -v cargo-fuzz > /dev/null || cargo install --locked cargo-fuzz@0.13.2
	fuzz/seed
	for target in frame session token keyfile pem operator_request signalr_json signalr_msgpack signalr_session \
	    proxied; do \
	    cargo fuzz run -s none $$target -- \
	        -max_total_time=$(SECONDS_EACH) -max_len=4096 -rss_limit_mb=1024 -timeout=5 || exit 1; \
	done

## make mutants  breaks hub and token in every small way that cargo-mutants knows; fails where no test notices; two hours
# A part of them: make mutants MUTANTS='--jobs 2 --file hub/src/registry.rs'
MUTANTS = --jobs 2
mutants:
	command -v cargo-mutants > /dev/null || cargo install --locked cargo-mutants@27.1.0
	mkdir -p target
	# First with few cases of the property tests, and then with all of them what has lived through that, or has gone round
	# for ever: that one is noticed, too, and ends it with 3, even where others live, which by themselves end it with 2.
	export CARGO_PROFILE_DEV_DEBUG=0 CARGO_PROFILE_DEV_OPT_LEVEL=0; \
	for pass in "PROPTEST_CASES=32 cargo mutants" "cargo mutants --iterate"; do \
	    env $$pass -p fanfare-hub -p fanfare-token --output target $(MUTANTS); \
	    case $$? in 0 | 2 | 3) ;; *) exit 1 ;; esac; \
	done
	test ! -s target/mutants.out/missed.txt

## make release  target/profiled/fanfare: the server, built by a profile of itself under load; a quarter of an hour
release:
	cargo build --release --locked -p fanfare-bench
	bench/release

## make doc      the API documentation, in target/doc
doc:
	RUSTDOCFLAGS="-D warnings" cargo doc --workspace --no-deps --locked

## make picture  draws the README's pictures anew, from the real thing
picture:
	tests/tools
	cargo build --release --locked
	docs/picture
	cd web && npm ci --no-fund --no-audit --ignore-scripts --loglevel=error && npm run --silent check
	FANFARE_BINARY=$(CURDIR)/target/release/fanfare node web/build/test/picture.js docs/page.png

# What the peers need, and the release builds.
BENCH = $${CARGO_TARGET_DIR:-target}/release/fanfare-bench
bench-tools:
	bench/tools
	cargo build --release --locked -p fanfare-cli -p fanfare-bench
.PHONY: bench-tools

## make bench          Fanfare beside NATS, Redis, mosquitto, ws and Socket.IO, in ten minutes; the figures go to docs/benchmarks
bench: bench-tools
	$(BENCH) run --mode full --json docs/benchmarks/results.json

## make bench-quick    what the budgets need, against NATS alone, in a minute
bench-quick: bench-tools
	$(BENCH) run --mode quick

## make bench-soak     10,000 connections, twenty minutes of mixed traffic; the figures go to docs/benchmarks
bench-soak: bench-tools
	$(BENCH) soak --json docs/benchmarks/soak.json

## make bench-report   docs/benchmarks/README.md and its plots, from the figures there
bench-report:
	cargo run --release --locked -p fanfare-bench -- report

## make bench-instructions  instructions of encode, decode and route, counted by callgrind; the figures go to docs/benchmarks
bench-instructions:
	bench/instructions docs/benchmarks/instructions.json

# Every workload on every peer, very small: whether everything arrives. Part of `make test`.
bench-check:
	bench/tools
	cargo build --workspace --locked --bin fanfare --bin fanfare-bench --example everything
	target/debug/fanfare-bench run --mode check
	target/debug/fanfare-bench one --rounds 1 --seconds 1 paced --members 50 --size 256 --rate 10
	target/debug/fanfare-bench soak --connections 100 --seconds 6
	target/debug/fanfare-bench api --seconds 1
	target/debug/fanfare-bench webhooks --connections 20 --seconds 6
	FANFARE_NATS_SERVER=$$(tests/nats-server) target/debug/fanfare-bench nodes --members 50 --rounds 1 --seconds 1
	FANFARE_NATS_SERVER=$$(tests/nats-server) target/debug/fanfare-bench nodes --members 50 --rounds 1 --seconds 1 --rate 50
