# Two commands matter on a fresh machine: `make demo` and `make test`. `make help` lists the rest.

PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin
ARGS ?=
# More options for pip, such as another index. The constraints are what this project tests with.
PIP_ARGS ?= -c constraints.txt
export OMP_NUM_THREADS ?= 1
export PYTHONDONTWRITEBYTECODE ?= 1

OUT ?= certificates
DEVICES ?=
.PHONY: help demo test check prove bench soak workshop milvus pythons certificates clean
.DEFAULT_GOAL := help

help:  ## list the targets
	@grep -E '^[a-z]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 12

$(BIN)/pip:
	@$(PYTHON) -c 'import sys; v = sys.version_info[:2]; sys.exit(0 if (3, 10) <= v <= (3, 12) else \
	  "make: expected Python 3.10 to 3.12, found %d.%d; run: make PYTHON=python3.11 ..." % v)'
	$(PYTHON) -m venv $(VENV)
	$(BIN)/pip install --quiet --upgrade pip

$(VENV)/.demo: $(BIN)/pip pyproject.toml
	$(BIN)/pip install --quiet $(PIP_ARGS) -e '.[demo]'
	@touch $@

$(VENV)/.workshop: $(BIN)/pip pyproject.toml constraints.txt
	$(BIN)/pip install --quiet $(PIP_ARGS) -e '.[workshop]'
	@touch $@

$(VENV)/.dev: $(VENV)/.workshop
	$(BIN)/pip install --quiet $(PIP_ARGS) -e '.[dev,workshop]'
	@touch $@

demo: $(VENV)/.demo  ## weights to matches in one command: ARGS="--once --report demo.json" ends by itself
	$(BIN)/cmnas-edge demo $(ARGS)

test: $(VENV)/.dev  ## every test, about seven minutes on two cores; four workers, since many wait
	$(BIN)/pytest -n 4 --dist worksteal $(ARGS)

check: $(VENV)/.dev  ## lint, types, import contracts
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/lint-imports

prove: $(VENV)/.dev  ## the long promises at full count; figures go to docs/proofs.jsonl
	CMNAS_PROVE=1 $(BIN)/pytest -n 2 --timeout 3000 -m prove $(ARGS)

bench: $(VENV)/.dev  ## the short benchmarks, ARGS=--all for every one; benchmarks/results/*.jsonl are tracked
	$(BIN)/python -m benchmarks $(ARGS)

soak: $(VENV)/.dev  ## eight simulated hours of the daemon in 18 minutes: does anything grow? figures in benchmarks/results
	$(BIN)/python -m benchmarks.soak $(ARGS)

workshop: $(VENV)/.workshop  ## what `python -m train` and `python -m export` need (torch)
	@echo "ready: $(BIN)/python -m train --help; $(BIN)/python -m export --help"

milvus:  ## the tests that need a real Milvus, in an environment of their own (x86-64, and leave to make a network)
	test -f .venv-milvus/.test || { $(PYTHON) -m venv .venv-milvus && .venv-milvus/bin/pip install --quiet \
	  $(PIP_ARGS) -e '.[milvus]' milvus==2.3.5 pytest pytest-timeout hypothesis httpx psutil && \
	  touch .venv-milvus/.test; }
	.venv-milvus/bin/pytest -q -m milvus tests/collector/store $(ARGS)

pythons:  ## the house's tests on each other Python found (3.10, 3.12), with the newest of every package
	@for v in 3.10 3.12; do py=; \
	  for p in python$$v $$HOME/.pyenv/versions/$$v.*/bin/python; do $$p -c '' 2>/dev/null && py=$$p && break; done; \
	  if [ -z "$$py" ]; then echo "== Python $$v: not found, not tested"; continue; fi; \
	  test .venv-$$v/.test -nt pyproject.toml || { $$py -m venv .venv-$$v && .venv-$$v/bin/pip install --quiet --upgrade pip && \
	    .venv-$$v/bin/pip install --quiet -e '.[test]' && touch .venv-$$v/.test; } || exit 1; \
	  echo "== Python $$v"; \
	  .venv-$$v/bin/pytest -q -n 2 tests/hall tests/engine tests/camera tests/collector tests/service tests/synthetic \
	    tests/transport \
	    || exit 1; \
	done

# By openssl. The authority is made once and kept; what it signs is made anew, so that it can be renewed.
certificates:  ## a site's own authority, and what it signs, in OUT: ARGS="collector.example 192.0.2.10" DEVICES="gate yard"
	@test -n "$(ARGS)$(DEVICES)" || { echo 'make: expected whom to certify, found nobody; as in: make certificates' \
	  'ARGS="collector.example 192.0.2.10" DEVICES="gate yard"' >&2; exit 2; }
	@for device in $(DEVICES); do case "$$device" in collector|authority|*/*) echo "make: expected names of devices," \
	  "found $$device, whose file is another's; rename that device" >&2; exit 2;; esac; done
	@set -e; umask 077; mkdir -p "$(OUT)"; cd "$(OUT)"; key='-newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes'; \
	printf '%s\n' '[req]' 'distinguished_name=dn' 'prompt=no' '[dn]' 'CN=cmnas-edge authority' '[ca]' \
	  'subjectKeyIdentifier=hash' 'basicConstraints=critical,CA:TRUE,pathlen:0' 'keyUsage=critical,keyCertSign,cRLSign' \
	  > .request; \
	test -f authority-key.pem || openssl req -x509 $$key -days 3650 -config .request -extensions ca \
	  -keyout authority-key.pem -out authority.pem 2>/dev/null; \
	sign() { openssl req $$key -config .request -subj "/CN=$$2" -keyout "$$1-key.pem" -out .signing 2>/dev/null; \
	  printf '%s\n' 'basicConstraints=critical,CA:FALSE' 'keyUsage=critical,digitalSignature' \
	    'authorityKeyIdentifier=keyid' "$$3" > .extensions; \
	  openssl x509 -req -in .signing -CA authority.pem -CAkey authority-key.pem -set_serial "0x$$(openssl rand -hex 16)" \
	    -days 397 -sha256 -extfile .extensions -out "$$1.pem" 2>/dev/null; echo "$(OUT)/$$1.pem, $(OUT)/$$1-key.pem"; }; \
	names=; for name in $(ARGS); do case "$$name" in *:*|[0-9]*.*[0-9]) kind=IP;; *) kind=DNS;; esac; \
	  names="$$names,$$kind:$$name"; done; \
	if [ -n "$$names" ]; then sign collector "$(firstword $(ARGS))" "$$(printf '%s\n' \
	  extendedKeyUsage=serverAuth "subjectAltName=$${names#,}")"; fi; \
	for device in $(DEVICES); do sign "$$device" "$$device" extendedKeyUsage=clientAuth; done; \
	rm -f .request .signing .extensions; echo "$(OUT)/authority.pem (browsers and cameras trust it; its key belongs offline)"

clean:  ## what was built and installed here
	rm -rf $(VENV) .venv-3.* .venv-milvus build dist *.egg-info .pytest_cache .mypy_cache .ruff_cache .hypothesis demo-out
