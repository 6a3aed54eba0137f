package main

import (
	"encoding/json"
	"fmt"
	"os"

	corev1 "k8s.io/api/core/v1"
	karpenter "sigs.k8s.io/karpenter/pkg/apis/v1"
	"sigs.k8s.io/karpenter/pkg/cloudprovider"
	"sigs.k8s.io/karpenter/pkg/scheduling"
)

// addLabels makes the labels of the file requirements of the instance types.
//
// The kwok provider reads extra labels as requirements of an *offering*, and
// those do reach the Node; but overlays are matched against the requirements of
// the instance type alone, so labels given that way match nothing.
func addLabels(types []*cloudprovider.InstanceType, path string) error {
	content, err := os.ReadFile(path)
	if err != nil {
		return err
	}
	labels := map[string]map[string]string{}
	if err := json.Unmarshal(content, &labels); err != nil {
		return fmt.Errorf("%s: %w", path, err)
	}
	for _, ofType := range labels {
		for key := range ofType {
			karpenter.WellKnownLabels.Insert(key)
		}
	}
	for _, t := range types {
		for key := range allKeys(labels) {
			t.Requirements.Add(requirement(key, labels[t.Name]))
		}
	}
	return nil
}

// requirement says "absent" outright where the type lacks the label: an
// undefined well-known label would satisfy any NodePool that asks for it.
func requirement(key string, labels map[string]string) *scheduling.Requirement {
	if value, found := labels[key]; found {
		return scheduling.NewRequirement(key, corev1.NodeSelectorOpIn, value)
	}
	return scheduling.NewRequirement(key, corev1.NodeSelectorOpDoesNotExist)
}

func allKeys(labels map[string]map[string]string) map[string]bool {
	keys := map[string]bool{}
	for _, ofType := range labels {
		for key := range ofType {
			keys[key] = true
		}
	}
	return keys
}
