PYTHON ?= python

.PHONY: check format test slow smoke
check:  ## format, lint, types
	$(PYTHON) -m ruff format --check .
	$(PYTHON) -m ruff check .
	$(PYTHON) -m mypy

format:
	$(PYTHON) -m ruff format .
	$(PYTHON) -m ruff check --fix .

test:
	$(PYTHON) -m pytest

slow:  ## also the tests that take longer
	$(PYTHON) -m pytest -m ""

smoke:  ## one batch of every model through training, generation and scoring, on a CPU
	@for model in $$($(PYTHON) -m talkingface list models | cut -d' ' -f1); do \
		echo "== $$model"; $(PYTHON) run_talkingface.py --model=$$model --dataset=demo --smoke --quiet --run_name=smoke-$$model || exit 1; \
	done
