# make demo: install, train, evaluate, predict. make test: the tests. make check: style and types. make clean: remove what these made.
# Python 3.11 or later: make PYTHON=python3.12. Another build of torch (for a GPU): make TORCH=torch==2.13.0+cu130
PYTHON ?= python3
TORCH ?= torch==2.13.0
VENV := .venv
BIN := $(VENV)/bin
RUN := runs/demo

.PHONY: venv demo test check clean

venv: $(VENV)/ready

$(VENV)/ready: pyproject.toml
	@$(PYTHON) -c 'import sys; sys.version_info >= (3, 11) or sys.exit("Protscribe needs Python 3.11 or later, this is " + sys.version.split()[0] + "; try make PYTHON=python3.12")'
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --upgrade pip
	$(BIN)/python -m pip install --quiet "$(TORCH)"
	$(BIN)/python -m pip install --quiet --editable ".[test]"
	touch $@

demo: venv
	$(BIN)/protscribe train experiment=demo
	$(BIN)/protscribe evaluate bundle=$(RUN)/bundle mixture=demo output=$(RUN)
	$(BIN)/protscribe predict bundle=$(RUN)/bundle input=data/sample.fasta output=[$(RUN)/predictions.csv,$(RUN)/predictions.gff3]
	@echo
	@echo "bundle:      $(RUN)/bundle"
	@echo "predictions: $(RUN)/predictions.csv $(RUN)/predictions.gff3"
	@echo "evaluation:  $(RUN)/evaluation.txt"
	@echo "report:      $(RUN)/report.html (also report.md and report.png)"

test: venv
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest

check: venv
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

clean:
	rm -rf $(VENV) runs multirun build dist .pytest_cache .mypy_cache .ruff_cache .hypothesis
	find . -name __pycache__ -type d -prune -exec rm -rf {} +
