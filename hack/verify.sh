#!/usr/bin/env bash
# Checks that a commit is whole: generated files are what the generators make, go.mod files are tidy, the linters and the
# floors are content. It compares files before and after, so it also works with uncommitted changes around.
set -uo pipefail
cd "$(dirname "$0")/.."
failed=()

step() { # step NAME COMMAND...
	local name=$1 start=$SECONDS
	shift
	echo "== $name"
	if "$@"; then
		echo "== $name: ok ($((SECONDS - start)) s)"
	else
		echo "== $name: FAILED"
		failed+=("$name")
	fi
}

generated() {
	find api internal -name 'zz_*' -type f -print0 | sort -z | xargs -0r sha256sum
	find api/crds charts -name '*.yaml' -type f -print0 | sort -z | xargs -0r sha256sum
}

generate() {
	local before after
	before=$(generated)
	hack/generate.sh || return 1
	after=$(generated)
	if [ "$before" != "$after" ]; then
		diff <(echo "$before") <(echo "$after") | grep '^[<>]' | awk '{print $3}' | sort -u
		echo "these generated files were out of date; they are made anew now: commit them"
		return 1
	fi
}

tidy() {
	local status=0 module
	for module in . kube kube/coredns tools; do
		if [ -e "$module/go.mod" ] && ! (cd "$module" && go mod tidy -diff); then
			echo "run: (cd $module && go mod tidy)"
			status=1
		fi
	done
	return $status
}

floors() { go test -count=1 .; }

step generate generate
step tidy tidy
step floors floors
step lint hack/lint.sh
if [ ${#failed[@]} -gt 0 ]; then
	echo "verify: not in order: ${failed[*]}"
	exit 1
fi
echo "verify: all in order"
