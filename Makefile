# Every target sets up .venv by itself. Needs Python 3.11 or newer with its venv module; everything else comes from pip.

.DEFAULT_GOAL := help
.PHONY: help demo test check nightly bench bench-tvm bench-simplify clean

BIN := .venv/bin
STAMP := .venv/effc.stamp
USABLE := import sys, venv, ensurepip; sys.exit(sys.version_info < (3, 11))
PYTHON ?= $(shell for p in python3.11 python3.12 python3.13 python3; do \
	"$$p" -c "$(USABLE)" >/dev/null 2>&1 && echo "$$p" && break; done)
PEERS := .venv-peers
PEER_VERSIONS := onnxslim==0.1.98 onnxsim==0.8.1 onnxruntime==1.32.0
DEMO := out/demo
MODEL := pplcnet_orientation
TVM_MODELS := mobilenet_v2,efficientnet_lite0,pplcnet_orientation,ppocr_cls,ppocrv4_rec,fashion_minires,resnet18,minilm_l6_v2_seq64

help: ## list the targets
	@sed -n 's/^\([a-z-]*\):.*## /\1\t/p' Makefile | expand -t 8

demo: $(STAMP) ## fetch a real model, build it in INT8, verify it and time it
	@mkdir -p $(DEMO)
	@$(BIN)/effc zoo fetch $(MODEL) -o $(DEMO)/$(MODEL).onnx --overwrite
	@$(BIN)/effc zoo data $(MODEL) --split calib --count 64 -o $(DEMO)/calib.npz --overwrite
	@$(BIN)/effc zoo data $(MODEL) --split eval --count 200 -o $(DEMO)/eval.npz --overwrite
	@$(BIN)/effc build $(DEMO)/$(MODEL).onnx --target tvm-x86-int8,tflite-int8,ort-int8,rtx-int8:sm89 \
		--calib $(DEMO)/calib.npz --eval $(DEMO)/eval.npz -o $(DEMO) --overwrite
	@$(BIN)/effc bench $(DEMO)/$(MODEL).onnx $(DEMO)/tvm-x86-int8 $(DEMO)/tflite-int8 $(DEMO)/ort-int8

test: $(STAMP) ## run the tests
	@$(BIN)/pytest $(ARGS)

check: $(STAMP) ## lint, format, types, layers
	@$(BIN)/ruff check --quiet .
	@$(BIN)/ruff format --quiet --check .
	@$(BIN)/mypy --no-error-summary -p effc
	@$(BIN)/lint-imports --no-logo > .venv/layers.log || { cat .venv/layers.log; exit 1; }
	@echo "check: clean"

nightly: $(STAMP) ## what takes too long for every change: random graphs by the thousand, each malformed file as a command
	@EFFC_RANDOM_GRAPHS=2000 EFFC_MALFORMED=all $(BIN)/pytest tests/compiler/test_random_dags.py tests/compiler/test_malformed.py $(ARGS)

bench: $(STAMP) ## time and score the suite of real models
	@$(BIN)/python -m effc.verbs.suite $(ARGS)

bench-tvm: $(STAMP) ## time and score TVM libraries against ONNX Runtime, one thread and all cores
	@$(BIN)/python -m effc.verbs.suite --targets ort-fp32,tvm-x86-fp32,ort-int8,tvm-x86-int8 --models $(TVM_MODELS) $(ARGS)
	@$(BIN)/python -m effc.verbs.suite --targets ort-fp32,tvm-x86-fp32,ort-int8,tvm-x86-int8 --models $(TVM_MODELS) \
		--threads "$$(nproc)" $(ARGS)

bench-simplify: $(STAMP) $(PEERS)/effc.stamp ## nodes, seconds and bytes beside other simplifiers; ARGS='--models NAME,..' for some
	@$(BIN)/python -m effc.verbs.simplifiers $(or $(ARGS),--page docs/simplifier.md)

clean: ## remove what the targets made
	@rm -rf .venv $(PEERS) out/demo build dist

$(STAMP): pyproject.toml tested-versions.txt
	@test -n "$(PYTHON)" || { echo "make: Python 3.11 or newer with its venv module is needed (python3 -m venv)" >&2; exit 1; }
	@echo "setting up .venv with $(PYTHON)"
	@test -x $(BIN)/python || "$(PYTHON)" -m venv .venv
	@$(BIN)/python -m pip install -qq --disable-pip-version-check -c tested-versions.txt -e '.[dev]'
	@touch $@

$(PEERS)/effc.stamp: Makefile
	@echo "setting up $(PEERS) with $(PEER_VERSIONS)"
	@test -x $(PEERS)/bin/python || "$(PYTHON)" -m venv $(PEERS)
	@$(PEERS)/bin/python -m pip install -qq --disable-pip-version-check -c tested-versions.txt $(PEER_VERSIONS)
	@touch $@
