# make demo                 train two small models: LLaVA on the answers only, T5 on span corruption; about three minutes after set-up
# make test                 Rust and Python tests, against the built wheel
# make test-thorough        the same with 100,000 examples for each property; takes hours
# make test-engines         Ray and Spark on local clusters; installs both (500 MB), Spark needs Java
# make lint                 rustfmt, clippy, ruff, mypy, stubtest
# make docs                 the documentation, into site/
# make bench                spanmask and other programs, timed: tables and pictures; about five minutes, on an otherwise idle machine
# make bench-loader         tokens per second out of a DataLoader, core-hours; about a minute, on an otherwise idle machine
# make bench-data           whole data sets: mask and audit, against TRL's preparation; about fifteen minutes, on an otherwise idle machine
# make bench-instructions   instructions per token, the same in every run; needs valgrind
# make clean                remove everything that was built
#
# All targets share one .venv. Make sets it up, and repeats only the steps whose inputs changed.

SHELL := bash
.SHELLFLAGS := -euo pipefail -c
.DELETE_ON_ERROR:
.DEFAULT_GOAL := test

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
RUST := Cargo.toml $(shell find rust -name '*.rs' -o -name Cargo.toml | grep -v '/benches/')
KERNELS := $(filter-out instructions,$(basename $(notdir $(wildcard rust/core/benches/*.rs))))
SOURCES := $(RUST) pyproject.toml README.md LICENSE $(shell find python -name '*.py' -o -name '*.pyi')
SAY = @printf '\033[1m==> %s\033[0m\n'

export PIP_DISABLE_PIP_VERSION_CHECK := 1
# No test needs a model hub: without this, libraries would try to reach one and wait.
export HF_HUB_OFFLINE := 1
export TOKENIZERS_PARALLELISM := false

.PHONY: demo test test-engines test-thorough bench bench-data bench-instructions bench-loader lint docs clean

demo: $(VENV)/.installed
	$(SAY) "Demo 1 of 2: train a small vision-language model on the answers only"
	$(BIN)/python examples/vision_chat.py
	$(SAY) "Demo 2 of 2: train a small T5 on span corruption"
	$(BIN)/python examples/t5_denoising.py

test: $(VENV)/.installed
	$(SAY) "Rust tests"
	cargo test --quiet --workspace --exclude spanmask-py
	$(SAY) "Python tests, against the installed wheel; each benchmark runs once, untimed"
	$(BIN)/python -m pytest --benchmark-disable

test-engines: $(VENV)/.engines
	$(SAY) "Ray and Spark, on local clusters"
	$(BIN)/python -m pytest tests/engines -m engines

test-thorough: $(VENV)/.installed
	$(SAY) "100,000 examples for each property; this takes hours"
	PROPTEST_CASES=100000 cargo test --release --quiet --workspace --exclude spanmask-py
	HYPOTHESIS_PROFILE=thorough $(BIN)/python -m pytest tests --timeout 0

bench: $(VENV)/.installed
	$(SAY) "The kernels alone, compared with memory copies"
	mkdir -p target
	cargo bench --quiet --package spanmask-core $(KERNELS:%=--bench %) | tee target/kernels.txt
	$(SAY) "spanmask and other programs, in one run"
	$(BIN)/python -m pytest benches --benchmark-only --benchmark-json=target/bench.json --timeout 0
	$(BIN)/python benches/report.py target/bench.json target/kernels.txt

bench-instructions:
	$(SAY) "Instructions per token, counted by callgrind"
	$(PYTHON) benches/instructions.py

bench-loader: $(VENV)/.installed
	$(SAY) "DataLoaders: tokens per second, core-hours, cores; about a minute"
	$(BIN)/python benches/loader.py

bench-data: $(VENV)/.installed
	$(SAY) "Whole data sets: rows and tokens per second, memory"
	$(BIN)/python benches/data_sets.py

lint: $(VENV)/.installed
	$(SAY) "Rust: rustfmt, clippy"
	cargo fmt --all --check
	cargo clippy --quiet --workspace --all-targets -- -D warnings
	$(SAY) "Python: ruff, mypy, stubtest"
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	cd $(VENV) && bin/python -m mypy.stubtest spanmask._core --ignore-missing-stub

docs: $(VENV)/.installed
	$(SAY) "Documentation, into site/"
	$(BIN)/mkdocs build --strict --quiet

$(VENV)/.engines: $(VENV)/.installed
	$(SAY) "Installing Ray and Spark"
	$(BIN)/python -m pip install --quiet "$$(ls dist/*.whl)[engines]"
	$(BIN)/python -m pip install --quiet --force-reinstall --no-deps dist/*.whl
	touch $@

clean:
	rm -rf target dist site $(VENV)

# Set-up in four steps: create the environment, build the wheel, install its dependencies, install the wheel.

$(VENV)/.created:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 10))' 2>/dev/null || \
		{ echo "spanmask requires Python 3.10 or newer, and '$(PYTHON)' is older or not installed; choose another: make PYTHON=/path/to/python3" >&2; exit 1; }
	@command -v cargo >/dev/null || \
		{ echo "spanmask requires Rust 1.88 or newer, and cargo is not on the PATH; install it from https://rustup.rs" >&2; exit 1; }
	$(SAY) "Creating the environment $(VENV)"
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --upgrade pip 'maturin>=1.9,<2'
	touch $@

$(VENV)/.built: $(SOURCES) | $(VENV)/.created
	$(SAY) "Building the wheel (about a minute)"
	rm -rf dist
	$(BIN)/maturin build --release --quiet --out dist
	touch $@

$(VENV)/.dependencies: pyproject.toml | $(VENV)/.built
	$(SAY) "Installing dependencies (4.7 GB, mostly torch; takes some minutes the first time)"
	$(BIN)/python -m pip install --quiet "$$(ls dist/*.whl)[dev]"
	touch $@

$(VENV)/.installed: $(VENV)/.built $(VENV)/.dependencies
	$(BIN)/python -m pip install --quiet --force-reinstall --no-deps dist/*.whl
	touch $@
