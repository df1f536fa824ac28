# `make sweep` and `make test` are all a fresh machine needs: whatever they use is installed on first use.
PYTHON ?= python3
VENV := .venv
RUN := OMP_NUM_THREADS=1 $(VENV)/bin/python
READY := $(VENV)/.ready
PARALLEL := -n auto --maxprocesses 8 --dist loadgroup

.PHONY: setup sweep test test-all test-gpu check pages bench audit claims results leaderboard ui clean

setup: $(READY)

$(READY): pyproject.toml constraints.txt
	$(PYTHON) -m venv $(VENV)
	$(VENV)/bin/python -m pip install --quiet --disable-pip-version-check -c constraints.txt -e '.[dev]'
	@touch $@

sweep: $(READY)
	$(RUN) experiments/sweep_diffusion.py

test: $(READY)
	$(RUN) -m pytest $(PARALLEL)

test-all: $(READY)
	$(RUN) -m pytest -m 'not gpu'

test-gpu: $(READY)
	$(RUN) -m pytest -m gpu

check: $(READY)
	$(VENV)/bin/ruff format --check .
	$(VENV)/bin/ruff check .
	$(VENV)/bin/mypy
	$(VENV)/bin/lint-imports
	$(RUN) experiments/pages/write.py --check

pages: $(READY)
	$(RUN) experiments/pages/write.py

$(VENV)/.bench: $(READY)
	$(VENV)/bin/python -m pip install --quiet --disable-pip-version-check -c constraints.txt -e '.[dev,bench]'
	@touch $@

bench: $(VENV)/.bench
	$(RUN) experiments/bench/loop.py
	$(RUN) experiments/bench/flows.py
	$(RUN) experiments/bench/autoencoders.py
	$(RUN) experiments/bench/text.py
	$(RUN) experiments/bench/views.py
	$(RUN) experiments/bench/images.py
	$(RUN) experiments/bench/service.py
	$(RUN) experiments/bench/many.py
	$(RUN) experiments/bench/bucket.py

# A bill of materials of what is installed, in CycloneDX, by a tool in an environment of its own.
audit: $(READY)
	$(PYTHON) -m venv build/audit
	build/audit/bin/python -m pip install --quiet --disable-pip-version-check 'cyclonedx-bom>=7'
	build/audit/bin/cyclonedx-py environment --output-file build/genlib.cdx.json $(VENV)/bin/python

claims: $(READY)
	$(RUN) experiments/claims.py

results: $(READY)
	$(RUN) experiments/results.py

leaderboard: $(READY)
	$(RUN) experiments/leaderboard_points.py

ui: $(READY)
	MLFLOW_DISABLE_TELEMETRY=true $(VENV)/bin/mlflow ui --backend-store-uri sqlite:///$${GENLIB_STORAGE:-runs}/mlflow.db

clean:
	rm -rf $(VENV) build *.egg-info
