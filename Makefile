# make demo                 train two small models: LLaVA on the answers only, T5 on span corruption; about three minutes after set-up
# make test                 Rust and Python tests, against the built wheel
# make test-thorough        the same with 100,000 examples for each property; takes hours
# make test-processes       interrupts, forks, loaders, leaks: the long versions of tests/processes; half an hour, 8 GiB
# make test-scale           rows and totals beyond 2^31 and 2^32 tokens; some minutes, 10 GiB
# make test-engines         Ray and Spark on local clusters; installs both (500 MB), Spark needs Java
# make lint                 rustfmt, clippy, ruff, mypy, stubtest
# make docs                 the documentation, into site/
# make check-site           every page of it in headless Chromium, as wide as a desktop and as a phone; needs chromium or google-chrome
# make bench                spanmask and other programs, timed: tables and pictures; about five minutes, on an otherwise idle machine
# make bench-loader         tokens per second out of a DataLoader, core-hours; about a minute, on an otherwise idle machine
# make bench-data           whole data sets: mask and audit, against TRL's preparation; about fifteen minutes, on an otherwise idle machine
# make bench-instructions   instructions per token, the same in every run; needs valgrind
# make wheels               what a release uploads, as far as this machine can build it: wheels for Linux (glibc, musl; x86-64, aarch64) and the
#                           source distribution in target/wheels, checked, installed and used; takes long: four builds and one of the sdist
# make release-dry-run      all that must hold before a tag: versions, licenses, workflows, wheels, documentation
# make licenses             THIRD-PARTY.txt, from Cargo.lock
# make deny                 licenses, sources and duplicates of the crates; needs cargo-deny
# make compat               the wheel with the oldest and newest NumPy, torch, transformers, pyarrow, TRL, on each Python that is found
#                           (PYTHONS="python3.10 python3.13" chooses); 33 GB of packages for four Pythons
# make lint-workflows       actionlint and zizmor on .github
# make fuzz                 each kernel and its twin under libFuzzer, a minute each; installs cargo-fuzz
# make asan, tsan, miri     the binding under AddressSanitizer; the core's threads under ThreadSanitizer and in Rust's interpreter (nightly Rust)
# make clean                remove everything that was built
#
# The targets share one .venv, except for those of documentation and releases. Make sets it up, and repeats only the steps whose inputs changed.

SHELL := bash
.SHELLFLAGS := -euo pipefail -c
.DELETE_ON_ERROR:
.DEFAULT_GOAL := test

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
RUST := Cargo.toml $(shell find rust -name '*.rs' -o -name Cargo.toml | grep -v '/benches/\|rust/fuzz/\|rust/oracle/')
KERNELS := $(filter-out instructions,$(basename $(notdir $(wildcard rust/core/benches/*.rs))))
SOURCES := $(RUST) pyproject.toml README.md LICENSE THIRD-PARTY.txt $(shell find python -name '*.py' -o -name '*.pyi')
RELEASE := target/release-env
DOCS := target/docs-env
WORKFLOWS := target/workflows-env
WHEELS := target/wheels
LINUX := x86_64-unknown-linux-gnu aarch64-unknown-linux-gnu x86_64-unknown-linux-musl aarch64-unknown-linux-musl
# The Pythons in which the wheel is installed and used.
PYTHONS ?= $(PYTHON)
FREE_THREADED ?= python3.14t
SAY = @printf '\033[1m==> %s\033[0m\n'

export PIP_DISABLE_PIP_VERSION_CHECK := 1
# No test needs a model hub: without this, libraries would try to reach one and wait.
export HF_HUB_OFFLINE := 1
export TOKENIZERS_PARALLELISM := false

.PHONY: demo test lint-rust lint-python test-processes test-scale test-engines test-thorough bench bench-data bench-instructions bench-loader lint docs clean
.PHONY: wheels sdist check-wheels check-site release-dry-run compat licenses deny lint-workflows

demo: $(VENV)/.installed
	$(SAY) "Demo 1 of 2: train a small vision-language model on the answers only"
	$(BIN)/python examples/vision_chat.py
	$(SAY) "Demo 2 of 2: train a small T5 on span corruption"
	$(BIN)/python examples/t5_denoising.py

test: $(VENV)/.installed
	$(SAY) "Rust tests"
	cargo test --quiet --workspace --exclude spanmask-py
	$(SAY) "Python tests, against the installed wheel; each benchmark runs once, untimed"
	$(BIN)/python -m pytest --benchmark-disable --numprocesses auto --maxprocesses 4 --dist worksteal

test-engines: $(VENV)/.engines
	$(SAY) "Ray and Spark, on local clusters"
	$(BIN)/python -m pytest tests/engines -m engines

test-processes: $(VENV)/.installed
	$(SAY) "Interrupts, forks, loaders, leaks"
	$(BIN)/python -m pytest tests/processes -m "processes or not processes" --timeout 0
	$(BIN)/python -m pytest tests/integration -m processes --timeout 0

test-scale: $(VENV)/.installed
	$(SAY) "Rows and totals beyond 2^31 and 2^32 tokens"
	$(BIN)/python -m pytest tests/scale -m scale --timeout 0 -rP

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

lint: lint-rust lint-python

lint-rust:
	$(SAY) "Rust: rustfmt, clippy"
	cargo fmt --all --check
	cargo clippy --quiet --workspace --all-targets -- -D warnings

lint-python: $(VENV)/.installed
	$(SAY) "Python: ruff, mypy, stubtest"
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	cd $(VENV) && bin/python -m mypy.stubtest spanmask._core --ignore-missing-stub

docs: $(DOCS)/.installed
	$(SAY) "Documentation, into site/"
	NO_MKDOCS_2_WARNING=1 $(DOCS)/bin/mkdocs build --strict --quiet

check-site: docs
	$(SAY) "Every page in headless Chromium: 1280 and 390 pixels wide"
	$(PYTHON) release/check_site.py site

wheels: $(LINUX:%=$(WHEELS)/.%) sdist check-wheels

sdist: $(WHEELS)/.sdist

check-wheels: $(RELEASE)/.installed
	$(SAY) "Checking names, sizes, contents, symbols and metadata"
	$(RELEASE)/bin/python release/check.py $(WHEELS) $(if $(CI),--all)
	$(RELEASE)/bin/twine check --strict $(WHEELS)/*.whl $(WHEELS)/*.tar.gz
	$(SAY) "Installing in clean environments, with NumPy alone"
	for python in $(PYTHONS); do $$python release/install.py $(WHEELS); done
	$(PYTHON) release/install.py $(WHEELS) --sdist

release-dry-run:
	$(SAY) "Versions, licenses, workflows, crates"
	$(PYTHON) release/agree.py $(if $(TAG),--tag $(TAG))
	$(PYTHON) release/licenses.py --check
	$(MAKE) lint-workflows deny
	$(SAY) "Wheels"
	rm -rf $(WHEELS)
	$(MAKE) wheels
	$(MAKE) check-site
	@echo "spanmask $$($(PYTHON) release/agree.py | cut -d' ' -f2 | tr -d ':') is ready to tag"

compat: $(VENV)/.built
	$(SAY) "Oldest and newest versions of what the wheel works with"
	$(PYTHON) release/compat.py dist $(if $(filter command environment,$(origin PYTHONS)),--pythons "$(PYTHONS)") $(COMPAT)

licenses:
	$(PYTHON) release/licenses.py

deny:
	@cargo deny --version >/dev/null 2>&1 || \
		{ echo "cargo-deny is missing; install it, which takes some minutes: cargo install --locked cargo-deny" >&2; exit 1; }
	$(SAY) "Crates: licenses, sources, duplicates"
	cargo deny --all-features --log-level error check bans licenses sources

lint-workflows: $(WORKFLOWS)/.installed
	$(SAY) "Workflows: actionlint, zizmor"
	$(WORKFLOWS)/bin/actionlint .github/workflows/*.yml
	$(WORKFLOWS)/bin/zizmor --offline --quiet .github

$(VENV)/.engines: $(VENV)/.installed
	$(SAY) "Installing Ray and Spark"
	$(BIN)/python -m pip install --quiet --group engines
	$(BIN)/python -m pip install --quiet --force-reinstall --no-deps dist/*.whl
	touch $@

# Environments apart from the tests', each of a group in pyproject.toml. That of the linters of workflows touches nothing that is uploaded.

$(DOCS)/.installed $(RELEASE)/.installed $(WORKFLOWS)/.installed: target/%-env/.installed: pyproject.toml
	$(SAY) "Creating the environment target/$*-env"
	$(PYTHON) -m venv target/$*-env
	target/$*-env/bin/python -m pip install --quiet --upgrade 'pip>=25.1'
	target/$*-env/bin/python -m pip install --quiet --group $*
	touch $@

# What a release uploads. zig links for old systems, and for other ones than this.
# A target whose standard library rustup cannot install is left out; in CI that is an error.
$(WHEELS)/.%: $(SOURCES) $(RELEASE)/.installed
	$(SAY) "Building the wheel for $*"
	mkdir -p $(WHEELS)
	if rustup target add $*; then \
		PATH="$(CURDIR)/$(RELEASE)/bin:$$PATH" maturin build --release --locked --quiet --zig --target $* \
			--compatibility $(if $(findstring musl,$*),musllinux_1_2,manylinux2014) --out $(WHEELS); \
		touch $@; \
	else \
		echo "left out $*: rustup target add $* has failed"; \
	fi

# Free-threaded Pythons have no stable ABI before 3.15: a wheel for each of them.
$(WHEELS)/free-threaded-%: $(SOURCES) $(RELEASE)/.installed
	$(SAY) "Building the wheel of $(FREE_THREADED) for $*"
	mkdir -p $(WHEELS)
	PATH="$(CURDIR)/$(RELEASE)/bin:$$PATH" maturin build --release --locked --quiet --zig --target $* \
		--compatibility manylinux2014 --interpreter $(FREE_THREADED) --out $(WHEELS)
	$(RELEASE)/bin/python release/check.py $(WHEELS)
	$(FREE_THREADED) release/install.py $(WHEELS)

$(WHEELS)/.sdist: $(SOURCES) $(RELEASE)/.installed
	$(SAY) "Building the source distribution"
	mkdir -p $(WHEELS)
	$(RELEASE)/bin/maturin sdist --out $(WHEELS)
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
	$(BIN)/python -m pip install --quiet --upgrade 'pip>=25.1'
	$(BIN)/python -m pip install --quiet --group build
	touch $@

$(VENV)/.built: $(SOURCES) | $(VENV)/.created
	$(SAY) "Building the wheel (about a minute)"
	rm -rf dist
	$(BIN)/maturin build --release --quiet --out dist
	touch $@

$(VENV)/.dependencies: pyproject.toml | $(VENV)/.created
	$(SAY) "Installing dependencies (4.7 GB, mostly torch; takes some minutes the first time)"
	$(BIN)/python -m pip install --quiet --group dev
	touch $@

$(VENV)/.installed: $(VENV)/.built $(VENV)/.dependencies
	$(BIN)/python -m pip install --quiet --force-reinstall --no-deps dist/*.whl
	touch $@

# Hard use: fuzzing and sanitizers. They need what an ordinary set-up lacks, so none of them is part of `make test`.

# The toolchain for options that only a nightly has: one if it is installed, otherwise the stable one with its lock off.
NIGHTLY := $(shell cargo +nightly --version >/dev/null 2>&1 && echo 'cargo +nightly' || echo 'RUSTC_BOOTSTRAP=1 cargo')
HOST = $(shell rustc -vV | sed -n 's/^host: //p')
FUZZ_TARGETS ?= $(basename $(notdir $(wildcard rust/fuzz/fuzz_targets/*.rs)))
FUZZ_SECONDS ?= 60
# For one long run: make fuzz FUZZ_LIMIT=-runs=10000000 FUZZ_SANITIZER=none
FUZZ_LIMIT ?= -max_total_time=$(FUZZ_SECONDS)
FUZZ_SANITIZER ?= address
# These Python tests touch the binding. They must not be about memory that runs out: AddressSanitizer reserves terabytes.
ASAN_TESTS ?= tests/batch tests/search tests/turns tests/labels tests/noise tests/ragged tests/hostile/test_concurrent_writes.py

.PHONY: fuzz fuzz-minimize asan tsan miri

# Inputs are lists of choices, so libFuzzer learns nothing from comparisons in the code, and to look at them took 30 to 60 % of the time.
# Without entropic schedules and smaller copies of inputs there are up to twice as many inputs a second.
FUZZ_BUILD = --fuzz-dir rust/fuzz --target-dir target/fuzz --sanitizer $(FUZZ_SANITIZER) --no-trace-compares
FUZZ_OPTIONS := -max_len=512 -entropic=0 -reduce_inputs=0 -print_final_stats=1

fuzz:
	@command -v cargo-fuzz >/dev/null || { echo "==> cargo-fuzz is missing; installing it takes a minute or two" && cargo install --quiet cargo-fuzz; }
	@for target in $(FUZZ_TARGETS); do \
		printf '\033[1m==> Fuzzing %s: %s\033[0m\n' $$target '$(FUZZ_LIMIT)'; \
		mkdir -p target/fuzz-corpus/$$target; \
		$(NIGHTLY) fuzz run $(FUZZ_BUILD) $$target target/fuzz-corpus/$$target rust/fuzz/corpus/$$target -- $(FUZZ_LIMIT) $(FUZZ_OPTIONS); \
	done

# A small set of inputs that reaches every branch that all runs so far have reached. It goes into the repository, where those with a name of
# their own stay: they once failed.
fuzz-minimize:
	@for target in $(FUZZ_TARGETS); do \
		rm -rf target/fuzz-minimal/$$target && mkdir -p target/fuzz-minimal/$$target target/fuzz-corpus/$$target; \
		$(NIGHTLY) fuzz run $(FUZZ_BUILD) $$target -- -set_cover_merge=1 -use_counters=0 -max_len=512 \
			target/fuzz-minimal/$$target rust/fuzz/corpus/$$target target/fuzz-corpus/$$target; \
		find rust/fuzz/corpus/$$target -regextype posix-extended -regex '.*/[0-9a-f]{12}' -delete; \
		for input in target/fuzz-minimal/$$target/*; do name=$${input##*/}; cp $$input rust/fuzz/corpus/$$target/$${name:0:12}; done; \
	done

# The binding built with AddressSanitizer; Python and NumPy are not. libstdc++ must be loaded before torch throws an exception.
asan: $(VENV)/.installed
	$(SAY) "Building the binding with AddressSanitizer"
	RUSTC_BOOTSTRAP=1 RUSTFLAGS=-Zsanitizer=address CARGO_PROFILE_RELEASE_LTO=off CARGO_PROFILE_RELEASE_CODEGEN_UNITS=16 \
		CARGO_PROFILE_RELEASE_DEBUG_ASSERTIONS=true CARGO_PROFILE_RELEASE_OPT_LEVEL=1 \
		cargo build --quiet --release --package spanmask-py --target $(HOST) --target-dir target/asan
	rm -rf target/asan/python && mkdir -p target/asan/python && cp -r python/spanmask target/asan/python/
	cp target/asan/$(HOST)/release/lib_core.so target/asan/python/spanmask/_core.abi3.so
	$(SAY) "Python tests with it"
	PYTHONPATH=target/asan/python ASAN_OPTIONS=detect_leaks=0 \
		LD_PRELOAD="$$(gcc -print-file-name=libasan.so) $$(gcc -print-file-name=libstdc++.so)" \
		$(BIN)/python -m pytest --timeout 0 $(ASAN_TESTS)

# The core on threads, as the binding runs it. The standard library must be instrumented too: rustup component add rust-src --toolchain nightly
tsan:
	$(SAY) "The core on threads, with ThreadSanitizer"
	RUSTFLAGS=-Zsanitizer=thread $(NIGHTLY) test --quiet -Zbuild-std --target $(HOST) --target-dir target/tsan \
		--package spanmask-oracle --test threads

# Undefined behaviour in the core, interpreted: rustup component add miri rust-src --toolchain nightly
miri:
	$(SAY) "A part of the core's tests, interpreted"
	$(NIGHTLY) miri test --quiet --target-dir target/miri --package spanmask-oracle --test threads
