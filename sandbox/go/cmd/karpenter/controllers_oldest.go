//go:build oldest

package main

import (
	"context"

	"github.com/awslabs/operatorpkg/controller"
	"sigs.k8s.io/karpenter/pkg/cloudprovider"
	"sigs.k8s.io/karpenter/pkg/controllers"
	"sigs.k8s.io/karpenter/pkg/controllers/state"
	"sigs.k8s.io/karpenter/pkg/operator"
)

// karpenterControllers are those of Karpenter 1.14.
func karpenterControllers(
	ctx context.Context, op *operator.Operator, provider, undecorated cloudprovider.CloudProvider,
) ([]controller.Controller, error) {
	cluster := state.NewCluster(op.Clock, op.GetClient(), provider)
	return controllers.NewControllers(
		ctx, op.Manager, op.Clock, op.GetClient(), op.EventRecorder,
		provider, undecorated, cluster, op.InstanceTypeStore,
	), nil
}
