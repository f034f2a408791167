#!/usr/bin/env bash
# Makes what is generated: deep copies and CRDs from the types in api/, the operator's role from the rbac markers of the
# rooms, the chart from what `holdfast install` would apply. Each file is written only when it changed, so that nothing is rebuilt for nothing.
set -euo pipefail
cd "$(dirname "$0")/.."
gen=bin/tools/controller-gen
exec 9>bin/.generate.lock
flock 9 # two at once would write into the same files
tmp=$(mktemp -d)
trap 'rm -rf "$tmp"' EXIT

# Made anew from nothing, since a broken file would break its own generator; and beside the tree, so that it builds meanwhile.
src=$tmp/src
mkdir "$src"
cp -r api go.mod go.sum "$src"
find "$src" -name zz_generated.deepcopy.go -delete
gen_abs=$PWD/$gen
if ! (cd "$src" && "$gen_abs" object paths=./api/...) || grep -rq --include=zz_generated.deepcopy.go 'invalid type' "$src"; then
	echo "the types in api/ do not compile: nothing was generated" >&2
	exit 1
fi
(cd "$src" && find api -name zz_generated.deepcopy.go) | while read -r new; do
	if ! cmp -s "$src/$new" "$new"; then cp "$src/$new" "$new"; fi
done
# maxDescLen is left alone: the descriptions are the manual that kubectl explain prints.
"$gen" crd paths=./api/... output:crd:dir="$tmp/crds"
mkdir "$tmp/all"
go run ./hack/derive "$tmp/crds" "$tmp/all"
for old in api/crds/*.yaml; do
	if [ ! -e "$tmp/all/${old##*/}" ]; then rm -f "$old"; fi
done
for new in "$tmp"/all/*.yaml; do
	if ! cmp -s "$new" "api/crds/${new##*/}"; then cp "$new" "api/crds/${new##*/}"; fi
done

install=internal/operator/install
if [ -d "$install" ]; then
	"$gen" rbac:roleName=holdfast-operator,fileName=zz_role.yaml paths=./internal/... output:rbac:dir="$tmp"
	if ! cmp -s "$tmp/zz_role.yaml" "$install/zz_role.yaml"; then cp "$tmp/zz_role.yaml" "$install/zz_role.yaml"; fi
	# Last, for it takes in the CRDs and the role.
	UPDATE=1 go test -count=1 "./$install" -run Chart >"$tmp/chart.log" || { cat "$tmp/chart.log" >&2; exit 1; }
fi
