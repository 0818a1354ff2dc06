# Two commands: `make demo` and `make test`. Both do all their own set-up, inside this checkout.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
# One profile for the wheel and the Rust tests, so that every dependency is built once.
CARGO_TESTS := --release --workspace --exclude thyme-python

.PHONY: help setup build demo test test-rust test-python crash sim bench bench-peers lint fmt clean

help:
	@echo "make demo     build, replay a year of flights through a server, prove online = training set (KEEP=1 keeps it running)"
	@echo "make test     build and run every test"
	@echo "make crash    kill servers under load, ROUNDS=100 times a test"
	@echo "make sim      run SEEDS=n histories of a simulated engine on failing disks (FROM=seed)"
	@echo "make bench    measure, as JSON on stdout (QUICK=1 for small sizes)"
	@echo "make bench-peers  a training set beside NumPy, Polars and DuckDB, with the ratios (QUICK=1 too)"
	@echo "make lint     formatters, linters and type checkers, without changing anything"
	@echo "make fmt      format everything"

$(VENV)/.ready: pyproject.toml
	@command -v cargo >/dev/null || { echo "cargo is missing: install Rust 1.90 or later, see https://rustup.rs"; exit 1; }
	@echo "== virtual environment in $(VENV)"
	@$(PYTHON) -m venv $(VENV) || { echo "$(PYTHON) -m venv failed: install Python 3.11 or later with its venv module"; exit 1; }
	@$(BIN)/python -m pip install --quiet --upgrade pip "maturin>=1.9,<2"
	@touch $@

setup: $(VENV)/.ready

# Compiles the native module and installs the package with its tools, editable.
build: setup
	@echo "== building thyme (the first time takes several minutes)"
	@$(BIN)/maturin develop --release --extras dev,demo

demo: build
	@$(BIN)/python examples/flights/demo.py $(if $(KEEP),--keep)

test: test-rust test-python
	@echo "== all tests passed"

# After the build, so that the two do not compile the same dependencies side by side.
test-rust: build
	@echo "== Rust tests"
	@cargo test $(CARGO_TESTS) --quiet

test-python: build
	@echo "== Python tests"
	@$(BIN)/python -m pytest -q

crash: build
	@THYME_CRASH_ROUNDS=$(or $(ROUNDS),100) $(BIN)/python -m pytest -q tests/python/crash/test_kill.py

# No build of the package: the simulator is Rust alone.
sim:
	@cargo run --release --quiet -p thyme-testing --bin sim -- $(or $(SEEDS),1000) $(or $(FROM),0)

bench: build
	@$(BIN)/python bench/run.py $(if $(QUICK),--quick)

bench-peers: build
	@$(BIN)/python -m pip install --quiet "duckdb>=1.1"
	@$(BIN)/python bench/compare.py $(if $(QUICK),--quick)

lint: setup
	@echo "== lint"
	@cargo fmt --all --check
	@cargo clippy --release --workspace --all-targets --quiet -- -D warnings
	@$(BIN)/python -m pip install --quiet "ruff>=0.6" "mypy>=1.11" types-PyYAML click httpx numpy "polars>=1.20" pyarrow rich
	@$(BIN)/ruff format --check --quiet .
	@$(BIN)/ruff check --quiet .
	@$(BIN)/mypy
	@echo "== lint is clean"

fmt: setup
	@cargo fmt --all
	@$(BIN)/python -m pip install --quiet "ruff>=0.6"
	@$(BIN)/ruff format --quiet .
	@$(BIN)/ruff check --quiet --fix .

clean:
	@cargo clean
	@rm -rf $(VENV) .demo
