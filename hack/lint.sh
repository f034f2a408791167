#!/usr/bin/env bash
# Lints both modules by one configuration. LINT_JOBS: how many packages at a time.
set -euo pipefail
cd "$(dirname "$0")/.."
jobs=${LINT_JOBS:-2}
# A cache of this checkout's own: the linter remembers findings with the path of the checkout that it first saw them in, and
# cannot read the nolint comments there once that checkout is gone.
export GOLANGCI_LINT_CACHE=$PWD/bin/lint-cache
status=0
for module in . kube; do
	echo "lint $module"
	(cd "$module" && "$OLDPWD/bin/tools/golangci-lint" run --config "$OLDPWD/.golangci.yml" --concurrency "$jobs" "$@" ./...) || status=$?
done
exit $status
