# make demo   both stories on real models, in about three minutes after set-up
# make test   all tests, against the built wheel
# make bench   speed, ours and the peers': tables and pictures; about four minutes, on a machine that does nothing else
# make bench-loader   what a loader feeds in a second: core-hours, cores; about a minute
# make bench-instructions   instructions a token, the same on every run; needs valgrind
# make lint · make docs
#
# All targets share one .venv. Set-up happens by itself, and only what changed is done again.

SHELL := bash
.SHELLFLAGS := -euo pipefail -c
.DELETE_ON_ERROR:
.DEFAULT_GOAL := test

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
RUST := Cargo.toml $(shell find rust -name '*.rs' -o -name Cargo.toml | grep -v -e '^rust/fuzz/' -e '/benches/')
KERNELS := $(filter-out instructions,$(basename $(notdir $(wildcard rust/core/benches/*.rs))))
SOURCES := $(RUST) pyproject.toml README.md LICENSE $(shell find python -name '*.py' -o -name '*.pyi')
SAY = @printf '\033[1m==> %s\033[0m\n'

export PIP_DISABLE_PIP_VERSION_CHECK := 1
# The tests never ask a hub; say so, so that nothing waits for one.
export HF_HUB_OFFLINE := 1
export TOKENIZERS_PARALLELISM := false

.PHONY: demo test test-thorough bench bench-instructions bench-loader lint docs clean

demo: $(VENV)/.installed
	$(SAY) "Story 1: a vision-language model that trains on the answers only"
	$(BIN)/python examples/vision_chat.py
	$(SAY) "Story 2: a T5 that learns by filling the gaps"
	$(BIN)/python examples/t5_denoising.py

test: $(VENV)/.installed
	$(SAY) "Rust tests"
	cargo test --quiet --workspace --exclude spanmask-py
	$(SAY) "Python tests, against the installed wheel; each benchmark once, untimed"
	$(BIN)/python -m pytest --benchmark-disable

test-thorough: $(VENV)/.installed
	$(SAY) "100,000 examples a property; this takes hours"
	PROPTEST_CASES=100000 cargo test --release --quiet --workspace --exclude spanmask-py
	HYPOTHESIS_PROFILE=thorough $(BIN)/python -m pytest tests --timeout 0

bench: $(VENV)/.installed
	$(SAY) "The kernels alone, beside memory copies"
	mkdir -p target
	cargo bench --quiet --package spanmask-core $(KERNELS:%=--bench %) | tee target/kernels.txt
	$(SAY) "Ours and the peers' in one run"
	$(BIN)/python -m pytest benches --benchmark-only --benchmark-json=target/bench.json --timeout 0
	$(BIN)/python benches/report.py target/bench.json target/kernels.txt

bench-instructions:
	$(SAY) "Instructions a token, under callgrind"
	$(PYTHON) benches/instructions.py

bench-loader: $(VENV)/.installed
	$(SAY) "Loaders: tokens a second, core-hours, cores; about a minute"
	$(BIN)/python benches/loader.py

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

clean:
	rm -rf target dist site $(VENV)

# One step each: an environment, the wheel, its dependencies, the wheel installed.

$(VENV)/.created:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 10))' 2>/dev/null || \
		{ echo "spanmask needs Python 3.10 or newer as '$(PYTHON)'; name another one: make PYTHON=/path/to/python3" >&2; exit 1; }
	@command -v cargo >/dev/null || \
		{ echo "spanmask needs Rust 1.88 or newer (cargo is not on the PATH); install it from https://rustup.rs" >&2; exit 1; }
	$(SAY) "Environment in $(VENV)"
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --upgrade pip 'maturin>=1.9,<2'
	touch $@

$(VENV)/.built: $(SOURCES) | $(VENV)/.created
	$(SAY) "Wheel (under a minute)"
	rm -rf dist
	$(BIN)/maturin build --release --quiet --out dist
	touch $@

$(VENV)/.dependencies: pyproject.toml | $(VENV)/.built
	$(SAY) "Dependencies (torch among them: 4.7 GB, some minutes the first time)"
	$(BIN)/python -m pip install --quiet "$$(ls dist/*.whl)[dev]"
	touch $@

$(VENV)/.installed: $(VENV)/.built $(VENV)/.dependencies
	$(BIN)/python -m pip install --quiet --force-reinstall --no-deps dist/*.whl
	touch $@
