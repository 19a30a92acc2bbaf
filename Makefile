# make run    builds and serves on this machine, with SQLite and no configuration
# make test   installs what the tests need and runs everything that judges a change
# make check  formatting, static analysis, generated files, cross-builds
SHELL := /bin/bash
export CGO_ENABLED := 0
export GOTOOLCHAIN := local

VERSION := $(shell git describe --tags --always --dirty 2>/dev/null || echo dev)
GO_BUILD := go build -trimpath -ldflags "-s -w -X main.version=$(VERSION)"

.PHONY: run build test check deps conformance torture linear long fuzz generate cross clean bench profile

run: build
	@exec bin/strongroom dev

build:
	@$(GO_BUILD) -o bin/strongroom ./cmd/strongroom

# What the tests start: PostgreSQL, strace, and the SDKs of other languages.
deps:
	@scripts/deps

test: deps build
	@scripts/test

check:
	@scripts/check

# Official clients against the built binary; part of test.
conformance: deps build
	@scripts/conformance

# 300 rounds on SQLite and 100 on PostgreSQL, in which server, database or both are killed or stopped
# under a load of every operation; power cuts; and seeded faults, all of which must be found. A line a
# round, and at the end the rounds, acknowledged changes, and what was lost, half there or double.
# TORTURE_ROUNDS=20 is a slice of it.
torture: deps build
	@TEST_LONG=1 TEST_TORTURE_ROUNDS=$(TORTURE_ROUNDS) go test -v -count=1 -timeout 240m ./test/crash/

# The long form of the histories that are judged, of the faults that must be found in them, and of
# rights that are given and taken: about an hour.
linear: deps build
	@TEST_LONG=1 go test -count=1 -p 1 -timeout 4h ./test/linear/ ./test/nodes/

# The other suites in their long form, one after the other: segments of five million entries, dumps of
# 100,000 secrets, full disks and strangers for an hour, stalled databases, the search for leaks.
long: deps build
	@TEST_LONG=1 go test -v -count=1 -p 1 -timeout 6h ./test/archive ./test/dump ./test/disk ./test/hostile ./test/leak

fuzz:
	@scripts/fuzz

# Writes what is generated: the schemas, and the references of the configuration and the API.
generate:
	@go test -count=1 ./internal/db -run TestSchemaIsCurrent -update
	@go test -count=1 ./internal/config -run TestReferenceIsCurrent -update
	@go test -count=1 ./internal/server -run TestAPIReferenceIsCurrent -update

# How near the server comes to the machine's limit; about 25 minutes. BENCH='-short' is a smoke test.
bench: build
	@go run ./test/bench -binary bin/strongroom -write docs/performance.md $(BENCH)

# CPU, allocation, lock and blocking profiles of the server under one row's load.
profile: build
	@go run ./test/bench -binary bin/strongroom -profile bin/profile -duration 10s $(BENCH)

cross:
	@scripts/cross

clean:
	@rm -rf bin
