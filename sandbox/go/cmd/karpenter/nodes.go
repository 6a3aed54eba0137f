package main

import (
	"context"
	"strings"

	"github.com/samber/lo"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	"sigs.k8s.io/controller-runtime/pkg/client"
)

// bareNodes creates Nodes as a kubelet registers them: with CPU, memory and
// pods, and without anything that a device plugin has yet to report.
type bareNodes struct{ client.Client }

func (c bareNodes) Create(ctx context.Context, object client.Object, options ...client.CreateOption) error {
	node, isNode := object.(*corev1.Node)
	if !isNode {
		return c.Client.Create(ctx, object, options...)
	}
	node = node.DeepCopy()
	node.Status.Allocatable = withoutExtended(node.Status.Allocatable)
	// The provider puts only the requests in the capacity: fill it up.
	node.Status.Capacity = lo.Assign(node.Status.Allocatable, withoutExtended(node.Status.Capacity))
	return c.Client.Create(ctx, node, options...)
}

// Names of extended resources are qualified: "nvidia.com/gpu".
func withoutExtended(list corev1.ResourceList) corev1.ResourceList {
	return lo.OmitBy(list, func(name corev1.ResourceName, _ resource.Quantity) bool {
		return strings.Contains(string(name), "/")
	})
}
