//go:build !oldest

package main

import (
	"context"

	"github.com/awslabs/operatorpkg/controller"
	"sigs.k8s.io/karpenter/pkg/cloudprovider"
	"sigs.k8s.io/karpenter/pkg/controllers"
	"sigs.k8s.io/karpenter/pkg/controllers/node/health"
	"sigs.k8s.io/karpenter/pkg/controllers/state"
	"sigs.k8s.io/karpenter/pkg/operator"
)

// karpenterControllers are those of Karpenter 1.15: its state knows which nodes are to be
// repaired, and a store of predictions is shared.
func karpenterControllers(
	ctx context.Context, op *operator.Operator, provider, undecorated cloudprovider.CloudProvider,
) ([]controller.Controller, error) {
	repairs, err := health.NewRepairPolicyMatcher(ctx, provider)
	if err != nil {
		return nil, err
	}
	cluster := state.NewCluster(op.Clock, op.GetClient(), provider, state.WithRepairPolicyMatcher(repairs))
	return controllers.NewControllers(
		ctx, op.Manager, op.Clock, op.GetClient(), op.EventRecorder,
		provider, undecorated, cluster, op.InstanceTypeStore, op.PredictionStore,
	), nil
}
