// Command nvidia-config reads configurations of NVIDIA's device plugin with the plugin's
// own parser, and says what the plugin would do with them: one line of JSON a file.
//
//	nvidia-config FILE...
//
// It ends with 1 if the plugin would refuse any of them; the refusal is on stderr.
package main

import (
	"encoding/json"
	"flag"
	"fmt"
	"os"

	config "github.com/NVIDIA/k8s-device-plugin/api/config/v1"
	"github.com/urfave/cli/v2"
)

type reading struct {
	File                       string         `json:"file"`
	Strategy                   string         `json:"strategy"`
	Replicas                   map[string]int `json:"replicas,omitempty"`
	FailRequestsGreaterThanOne bool           `json:"failRequestsGreaterThanOne"`
	RenameByDefault            bool           `json:"renameByDefault"`
}

func main() {
	status := 0
	lines := json.NewEncoder(os.Stdout)
	for _, file := range os.Args[1:] {
		found, err := read(file)
		if err == nil {
			err = lines.Encode(found)
		}
		if err != nil {
			fmt.Fprintf(os.Stderr, "%s: %v\n", file, err)
			status = 1
		}
	}
	os.Exit(status)
}

// read has the plugin read a file as it does when it starts: by the flag that names it.
func read(file string) (reading, error) {
	flags := flag.NewFlagSet("nvidia-device-plugin", flag.ContinueOnError)
	flags.String("config-file", file, "")
	parsed, err := config.NewConfig(cli.NewContext(nil, flags, nil), nil)
	if err != nil {
		return reading{}, err
	}
	return understood(file, parsed.Sharing), nil
}

func understood(file string, sharing config.Sharing) reading {
	found := reading{File: file, Strategy: string(sharing.SharingStrategy())}
	shared := sharing.ReplicatedResources()
	if shared == nil {
		return found
	}
	found.FailRequestsGreaterThanOne = shared.FailRequestsGreaterThanOne
	found.RenameByDefault = shared.RenameByDefault
	found.Replicas = map[string]int{}
	for _, resource := range shared.Resources {
		found.Replicas[string(resource.Name)] = resource.Replicas
	}
	return found
}
