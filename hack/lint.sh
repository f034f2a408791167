#!/usr/bin/env bash
# Lints both modules by one configuration. LINT_JOBS: how many packages at a time.
set -euo pipefail
cd "$(dirname "$0")/.."
jobs=${LINT_JOBS:-2}
status=0
for module in . kube; do
	echo "lint $module"
	(cd "$module" && "$OLDPWD/bin/tools/golangci-lint" run --config "$OLDPWD/.golangci.yml" --concurrency "$jobs" "$@" ./...) || status=$?
done
exit $status
