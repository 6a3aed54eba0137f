#!/usr/bin/env bash
# Karpenter: the chart at a release's tag is not the chart of that release.
#
# Guess: `charts/karpenter` at tag v1.15.0, as the Go module carries it, is chart 1.15.0, definitions included:
#        what `helm package` makes of it is what the project publishes.
# Seen:  its Chart.yaml and its values say the release before, image digest and all (the release job writes tag and
#        digest in, after the tag), and it has no definitions: crds/ is a symbolic link, and Go leaves links out of
#        modules. Packed as it is, even with `helm package --version`, it installs no CRDs and runs the release before.
# Needs: go 1.21 or later.
set -euo pipefail

folder=$(mktemp -d)
trap 'chmod -R u+w "$folder"; rm -rf "$folder"' EXIT
cd "$folder"
export GOMODCACHE="$folder/modules" GOFLAGS= GOTOOLCHAIN=local

go version
go mod download github.com/aws/karpenter-provider-aws@v1.15.0
chart="$GOMODCACHE/github.com/aws/karpenter-provider-aws@v1.15.0/charts/karpenter"

echo "guess: version 1.15.0, appVersion 1.15.0, a folder crds/"
echo "seen:"
grep -E '^(version|appVersion):' "$chart/Chart.yaml"
grep -E '^    (tag|digest):' "$chart/values.yaml"
ls "$chart"

grep -qx 'version: 1.14.1' "$chart/Chart.yaml" && grep -qx '    tag: 1.14.1' "$chart/values.yaml" &&
    test ! -e "$chart/crds" || {
    echo "it is otherwise now"
    exit 1
}
