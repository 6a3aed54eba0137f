// Command prometheus is Prometheus itself, which ends with the process that started it.
//
// This file is all of it that is ours: sandbox/cluster/prometheus_binary.py builds it together with the sources
// of Prometheus' own command, of the version that go.mod requires, and with sandbox/go/lifeline.
package main

import "slicewise.dev/prometheus/lifeline"

func init() {
	lifeline.Hold()
}
