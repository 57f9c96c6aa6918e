.DEFAULT_GOAL := help
.PHONY: help setup site test kernels fuzz lint format demo lab-delay lab-bond lab-discovery bench bench-delay wheel vscode lock clean

help: ## Print this list
	@sed -n 's/^\([a-z-]*\):.*## /  make \1\t/p' $(MAKEFILE_LIST)

setup: ## Make .venv and install the tools that the tests need (a no-op when up to date)
	@scripts/setup test

# Two files of tests at a time, as much of what they do is waiting for packets; then, one by one,
# those that measure time. A machine that stood still while one measured gives it another try, up
# to three in all, which the summary names; what is wrong is so every time.
BESIDE = -n 2 --dist loadfile --no-loadscope-reorder -p no:rerunfailures -m "not alone"

test: lint ## Lint, then run every test (T="tests/bpf -k name": only these; as root: kernel tests too)
ifdef T
	@.venv/bin/python -m pytest $(T)
else
	@.venv/bin/python -m pytest $(BESIDE); beside=$$?; \
		.venv/bin/python -m pytest -m alone --reruns 2 && exit $$beside
endif

kernels: setup ## Run objects and packets on Linux 5.10, 6.1 and 6.12, under qemu (half an hour)
	@NFC_KERNELS=long .venv/bin/python -m pytest --durations=5 $(or $(T),tests/kernels)

fuzz: setup ## Compare generated programs with the reference on real routes (FOR=600 seconds)
	@.venv/bin/python tests/properties/fuzz_programs.py $(or $(FOR),600) $(SEED)

lint: setup ## Check style and types
	@.venv/bin/ruff check
	@.venv/bin/ruff format --check
	@.venv/bin/mypy

format: setup ## Rewrite the sources in the project's style
	@.venv/bin/ruff check --select I --fix
	@.venv/bin/ruff format

demo: ## Compile functions, load them onto real routes, send packets through (no root: simulated)
	@scripts/setup demo
	@.venv/bin/nfc demo

lab-delay: ## Measure three links of 1, 5 and 20 ms in a lab; results in build/lab-delay (root)
	@scripts/setup test
	@.venv/bin/nfc lab run examples/delay/topology.toml --results build/lab-delay

lab-discovery: ## Find every path over eight routers in a lab (root)
	@scripts/setup test
	@.venv/bin/nfc lab run examples/discovery/topology.toml

lab-bond: ## Measure a bond of two links: goodput with and without equalisation, WRR against DWRR (root; some five minutes)
	@scripts/setup test
	@.venv/bin/python examples/bond/measure.py --results build/lab-bond $(ARGS)

bench: setup ## Measure functions against C by hand, the check against the kernel's, the language server, the simulator (root, clang)
	@.venv/bin/python bench/functions.py
	@.venv/bin/python bench/check.py
	@.venv/bin/python bench/prevail.py
	@.venv/bin/python bench/run_captures.py
	@.venv/bin/python bench/lsp.py
	@.venv/bin/python bench/simulator.py
	@.venv/bin/python bench/ubpf.py $(UBPF)

bench-delay: setup ## Measure what delay monitoring costs, and what it carries (root; two minutes)
	@.venv/bin/python bench/delay.py $(ROUNDS)

wheel: setup ## Build the wheel into dist/
	@.venv/bin/python -m pip wheel --quiet --no-deps --no-build-isolation --no-index -w dist .

vscode: ## Package the VS Code extension into dist/ (node, npm and their registry)
	@mkdir -p dist && cp LICENSE editors/vscode/LICENSE.txt
	@cd editors/vscode && npm ci --silent --no-audit --no-fund && \
		npx --yes @vscode/vsce@3 package --allow-missing-repository --out ../../dist/

site: setup ## Build the documentation as a site, in build/site (python3 -m http.server -d build/site)
	@NO_MKDOCS_2_WARNING=1 .venv/bin/mkdocs build --strict

lock: ## Write requirements.lock from pyproject.toml
	@scripts/lock

clean: ## Remove what the targets made, .venv too
	@rm -rf .venv build dist nfc/_data .pytest_cache .mypy_cache .ruff_cache .hypothesis
	@find . -name __pycache__ -type d -prune -exec rm -rf {} +
