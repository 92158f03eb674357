# The steps that .ci/run runs, for a developer's machine.

GO ?= go
# A count, not a duration: where one runs out, go test now and then reports
# "context deadline exceeded" as a failure of the target.
FUZZTIME ?= 20000x

.PHONY: all build check format vet staticcheck tidy test fuzz demo

all: build

build:
	CGO_ENABLED=0 $(GO) build -trimpath -ldflags "-s -w" -o bin/stshost ./cmd/stshost

check: format vet staticcheck tidy test fuzz demo

format:
	@test -z "$$(gofmt -l .)" || { echo "not gofmt-ed:"; gofmt -l .; exit 1; }

vet:
	$(GO) vet ./...

staticcheck:
	$(GO) tool staticcheck ./...

tidy:
	$(GO) mod tidy -diff

test:
	$(GO) test -race ./...

# Each fuzz target for FUZZTIME: enough to run the mutator, not a campaign.
fuzz:
	@for pkg in $$($(GO) list ./...); do \
		for target in $$($(GO) test -list '^Fuzz' $$pkg | grep '^Fuzz' || true); do \
			echo "fuzz $$pkg $$target"; \
			$(GO) test -run '^$$' -fuzz "^$$target$$" -fuzztime $(FUZZTIME) -fuzzminimizetime 2s $$pkg || exit 1; \
		done; \
	done

demo:
	$(GO) run ./cmd/stshost demo --exit
