# make demo   two rails, a router, clients and backends on this machine, real requests
# make test   everything that is tested
# make lint   formatting and clippy
# make bench  benchmarks; rail beside testpmd; writes benches/README.md
# make instructions  what a packet costs in instructions, against what it cost before
# make release  one binary with DPDK inside, for x86-64-v3 (Haswell and later)

# The lab makes network namespaces. Tests that need root skip themselves without it.
SUDO := $(shell [ "$$(id -u)" = 0 ] || echo sudo)
# Tests of the packet path: run once more as released, for x86-64-v3, where some of it is other code.
PACKET_TESTS := pipeline conn flood rails replay encapsulations worker
# Seconds of fuzzing per target in `make test`.
FUZZ_SECONDS := 5

.PHONY: demo test lint bench instructions release install-deps nextest

# The profile of the tests too, so that both build once: optimised, without link-time optimisation.
demo: install-deps
	cargo build --bin rail
	$(SUDO) target/debug/rail lab demo

test: install-deps nextest
	cargo nextest run --workspace
	if grep -qw avx2 /proc/cpuinfo && grep -qw movbe /proc/cpuinfo; then \
	    RUSTFLAGS="-C target-cpu=x86-64-v3" cargo nextest run --target-dir target/v3 \
	        --lib $(addprefix --test ,$(PACKET_TESTS)); \
	fi
	tests/fuzz/run $(FUZZ_SECONDS)

lint: install-deps
	cargo fmt --all --check
	cargo clippy --workspace --all-targets -- -D warnings

# Tables, control core and store alone, then rail and testpmd in turn, two workers, latency, idleness and swaps,
# then memory; writes benches/README.md and its plot. Wants a quiet machine with two cores, and 512 MB of 2 MB huge
# pages if there are any.
bench: install-deps
	cargo bench --workspace
	RUSTFLAGS="-C target-cpu=x86-64-v3" cargo build --profile bench --features static-dpdk --bin rail
	$(SUDO) benches/side-by-side target/release/rail --report
	$(SUDO) benches/memory target/release/rail

# Under valgrind: no quiet machine, no huge pages, no root. After a change that is to cost more, write the file anew
# with --json instead of --check.
instructions: install-deps
	RUSTFLAGS="-C target-cpu=x86-64-v3" cargo build --profile bench --features static-dpdk --bin rail
	benches/instructions target/release/rail --check benches/instructions.json

release: install-deps
	RUSTFLAGS="-C target-cpu=x86-64-v3" \
	RUSTYRAIL_COMMIT=$$(git describe --always --dirty 2>/dev/null || echo unknown) \
	cargo build --release --features static-dpdk

install-deps:
	@deploy/install-deps

nextest:
	@cargo nextest --version >/dev/null 2>&1 || cargo install --locked cargo-nextest
