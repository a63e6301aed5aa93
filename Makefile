# Every command anyone types. `make` alone lists them. CI=true make … asks nothing.
SHELL := /bin/bash
.SHELLFLAGS := -euo pipefail -c
.DEFAULT_GOAL := help
.PHONY: help up down images demo test bench soak lint

help: ## List these commands
	@awk -F ':.*## ' '/^[a-z]+:.*## / {printf "  make %-8s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

up: ## Bring up the local cluster with Kafka and Redis
	@kind/up

down: ## Delete the cluster; ALL=1 also stops the Docker engine that `make up` started
	@kind/down $(if $(ALL),--all)

images: ## Build the image featuremill:TAG (TAG=dev) and load it into the cluster; PROFILE=release for a fast one
	@kind/images $(TAG)

demo: ## Features from a clickstream, from nothing to an answer
test: ## All tests
bench: ## Measure throughput, latency and memory; NAME=stream runs one
soak: ## Run for hours under faults and check every answer
lint: ## Formatting, lints, generated files, scripts and the chart

# Each is a script of the same name, which says in its head what it does.
demo test bench soak lint:
	@e2e/make/$@ $(NAME)
