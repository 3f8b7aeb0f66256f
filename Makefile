# The front door. Every target works on a fresh clone.
.PHONY: run test lint doc

run:
	cargo run --release -- serve --dev

test:
	cargo test --workspace --locked
	cargo test -p fanfare-server --features model --lib --locked

lint:
	cargo fmt --all --check
	cargo clippy --workspace --all-targets --locked -- -D warnings

doc:
	RUSTDOCFLAGS="-D warnings" cargo doc --workspace --no-deps --locked
