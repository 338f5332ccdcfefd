# The few commands a newcomer needs. Every other job is a subcommand of `cargo xtask` (see `cargo xtask help`).
.PHONY: demo demo-down test image lint

demo: ## a real local cluster, the chart, a mesh, documents crossing
	@cargo xtask demo

demo-down: ## takes the demo's cluster down again
	@cargo xtask demo-down

test: ## everything, with one summary at the end
	@cargo xtask test

lint: ## format and lints only
	@cargo xtask test --only format --only lints

image: ## both images with Docker, for clusters that pull from a registry
	docker build --target operator -t peat-operator:dev .
	docker build --target node -t peat-node:dev .
