# Sets up its own .venv, then runs: `make play` walks, `make test` checks, in about five minutes on two cores;
# `make test-all` leaves nothing out, `make lint` only reads the code.
# `make test-engines` tests the clients in browsers and game engines, which it installs; `make test` names what it skips.
# `make test-isa` runs what torch computes as on older processors, which this one is held to. `make mutants` damages the
# code and counts how much of that the tests notice, which takes an hour or two.
PYTHON ?= python3
# Python keeps what it compiled, also where the environment says otherwise, as containers' often does: each of the
# hundreds of processes of the tests would compile all sources again, and so would every `make play`.
unexport PYTHONDONTWRITEBYTECODE
BIN := .venv/bin
STAMP := .venv/.ready
TESTED := .venv/.ready-to-test
# When what numba compiles was compiled last: by one process before the tests, or each of theirs would.
WARM := .venv/.warm
COMPILED := $(shell grep -rl --include=*.py njit kernels scenes world bench)
# three processes, for some tests wait, each file of tests in one of them, the longest first (tests/conftest.py), and
# one thread each: make test JOBS=8
SHARED := -n $(or $(JOBS),3) --dist loadfile --no-loadscope-reorder
READ_TYPES := mkdir -p build/types && ln -sfn ../.. build/types/roam && \
	$(BIN)/mypy -p roam.kernels -p roam.scenes -p roam.world -p roam.viewer -p roam.bench
READ_ALL = $(MAKE) --no-print-directory $(WARM) & ($(READ_TYPES)) > .venv/types.txt 2>&1 & \
	$(BIN)/python -m pytest --collect-only > .venv/tests.txt 2>&1; wait; true
# Tests with types read beside them, where the tests leave a core idle; set-up has read all once, so that takes as long as
# what has changed since. What is wrong with the types is said last.
with_types = nice $(MAKE) --no-print-directory types > .venv/types.txt 2>&1 & types=$$!; \
	$(MAKE) --no-print-directory $(WARM) && $(1); failed=$$?; wait $$types || failed=1; cat .venv/types.txt; exit $$failed
# What torch computes on a CPU. Not what a processor's instructions have no part in: Triton's kernels in its interpreter
# (numpy) and compiled for GPUs; world/spatial, which numba compiles for the processor that it finds.
KERNELS := tests/kernels --ignore=tests/kernels/test_triton.py
NUMERIC := $(KERNELS) $(addprefix tests/world/,tokens/test_depth.py transformer/test_passes.py spatial/test_parts.py \
	test_dreaming.py test_session.py)
# what Linux says of an x86 processor; elsewhere there is no such file, and nothing is left out
CPU := /proc/cpuinfo
HAS_AVX2_ALONE = $(shell grep -qsw avx2 $(CPU) && ! grep -qE 'avx512|avx10|avx_vnni|amx' $(CPU) && echo yes)

.PHONY: play test test-all test-engines test-isa mutants lint style types docs setup
play: $(STAMP) $(if $(wildcard $(WARM)),,$(WARM))
	@echo "Opening a world; with no screen it walks by itself. Escape quits, H shows the keys."
	$(BIN)/roam play $(ARGS)

test: style $(TESTED)
	$(call with_types,OMP_NUM_THREADS=1 $(BIN)/python -m pytest -rs $(SHARED) $(ARGS))

# The clients in the real thing: what Debian's packages have is installed first; Godot 4 by tests/engines/godot4.sh.
test-engines: $(TESTED)
	tests/engines/install.sh
	$(BIN)/python -m pytest -rs -m "slow or not slow" tests/plugins $(addprefix tests/viewer/server/test_,gateway.py xr_page.py) \
		$(ARGS)

# What is marked slow as well, which .ci/run runs too, and the soaks, a minute or more each: WITHOUT=soak leaves those out.
test-all: style $(TESTED)
	$(call with_types,OMP_NUM_THREADS=1 $(BIN)/python -m pytest -rs $(SHARED) \
		-m "$(if $(WITHOUT),not $(WITHOUT) and) (slow or not slow or soak)" $(ARGS))

# AVX2 without bf16, as most laptops have; then no vector instructions at all, as far as torch lets itself be held. The
# first of these says the same as `make test-all` where a processor has AVX2 and nothing newer, bit for bit, so it is
# left out there.
test-isa: $(TESTED)
	$(if $(HAS_AVX2_ALONE),@echo "This processor has AVX2 and nothing newer: make test-all runs what AVX2 computes.",\
		OMP_NUM_THREADS=1 ONEDNN_MAX_CPU_ISA=AVX2 ATEN_CPU_CAPABILITY=avx2 MKL_ENABLE_INSTRUCTIONS=AVX2 \
		$(BIN)/python -m pytest -n 2 --dist loadfile -m "slow or not slow" $(NUMERIC) $(ARGS))
	ONEDNN_MAX_CPU_ISA=SSE41 ATEN_CPU_CAPABILITY=default MKL_ENABLE_INSTRUCTIONS=SSE4_2 \
		$(BIN)/python -m pytest -m "slow or not slow" $(KERNELS) $(ARGS)

mutants: $(TESTED)
	OMP_NUM_THREADS=1 $(BIN)/python tests/mutation.py --seed $(or $(SEED),1) $(ARGS)

lint: style types

style: $(STAMP)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check --quiet .

types: $(STAMP)
	$(READ_TYPES)

# API reference pages from the docstrings, in build/docs. Where a class has its constructor from another file, pdoc cannot
# resolve that file's names, says so, and prints the annotation as text, which is as good.
docs: $(STAMP)
	$(BIN)/python -m pip install -q -c constraints.txt -e '.[docs]'
	$(BIN)/python -W "ignore:Error parsing type annotation" -m pdoc -o build/docs roam.world roam.kernels roam.scenes roam.viewer roam.bench

setup: $(STAMP) $(WARM)

$(STAMP): pyproject.toml constraints.txt
	@echo "Setting up .venv, once: up to a gigabyte of packages, some minutes. What is being fetched is told below."
	test -x $(BIN)/python || $(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --progress-bar on -c constraints.txt -e '.[dev]'
	touch $(STAMP)

# The doctor compiles what is compiled once, so that the first start is quick; what it finds missing stops no set-up.
$(WARM): $(COMPILED) | $(STAMP)
	@echo "Compiling what a walk needs: up to two minutes the first time, and then what has changed."
	@$(BIN)/roam doctor --warm > .venv/warm.txt || true
	@touch $(WARM)

# What only tests need, and is too heavy for those who come to walk: the extra `panda`, by its one package, for pip would
# look through all others once more; what mypy keeps of the packages and of ours; and the tests with their asserts
# rewritten, which each of the processes that run them would do alone. Beside all that, what a walk needs is compiled.
$(TESTED): $(STAMP)
	$(BIN)/python -m pip install --progress-bar on -c constraints.txt 'panda3d>=1.10.14'
	@echo "Reading all types and all tests, once: up to a minute."
	@$(READ_ALL)
	touch $(TESTED)
