#!/usr/bin/env bash
# Lints both modules by one configuration. LINT_JOBS: how many packages at a time.
set -euo pipefail
cd "$(dirname "$0")/.."
jobs=${LINT_JOBS:-2}
# A cache for each place of a checkout: the linter remembers findings with the path that it first saw them in, and cannot read
# the nolint comments there once that checkout is gone. It outlives the checkout, so that the next one in the same place (CI)
# need not begin anew. Those that nobody used for a week go.
caches=${XDG_CACHE_HOME:-${HOME:-$PWD/bin}/.cache}/holdfast/lint
export GOLANGCI_LINT_CACHE=$caches/$(pwd -P | sha256sum | cut -c1-12)
mkdir -p "$GOLANGCI_LINT_CACHE"
touch "$GOLANGCI_LINT_CACHE"
find "$caches" -mindepth 1 -maxdepth 1 -type d -mtime +7 -exec rm -rf {} +
status=0
for module in . kube; do
	echo "lint $module"
	(cd "$module" && "$OLDPWD/bin/tools/golangci-lint" run --config "$OLDPWD/.golangci.yml" --concurrency "$jobs" "$@" ./...) || status=$?
done
exit $status
