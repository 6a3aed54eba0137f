package main

import (
	"context"
	"fmt"

	"github.com/samber/lo"
	corev1 "k8s.io/api/core/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"
	karpenter "sigs.k8s.io/karpenter/pkg/apis/v1"
	"sigs.k8s.io/karpenter/pkg/cloudprovider"
	"sigs.k8s.io/karpenter/pkg/utils/resources"
)

// overlaidCreate launches with the capacity that NodeOverlays give, as the AWS
// provider does; the kwok provider's own Create knows only the bare types.
type overlaidCreate struct {
	cloudprovider.CloudProvider // whose GetInstanceTypes applies the overlays
	kube                        client.Client
}

// Create refuses a request that no overlaid type fits: an overlay may have been
// lowered since the launch was planned. Karpenter then deletes the NodeClaim and
// plans again. The status of the NodeClaim reports the overlaid capacity.
func (p overlaidCreate) Create(ctx context.Context, claim *karpenter.NodeClaim) (*karpenter.NodeClaim, error) {
	types, err := p.overlaidTypes(ctx, claim)
	if err != nil {
		return nil, err
	}
	claim = claim.DeepCopy()
	for i, requirement := range claim.Spec.Requirements {
		if requirement.Key != corev1.LabelInstanceTypeStable {
			continue
		}
		fitting := lo.Filter(requirement.Values, func(name string, _ int) bool {
			return types[name] != nil && resources.Fits(claim.Spec.Resources.Requests, types[name].Allocatable())
		})
		if len(fitting) == 0 {
			return nil, cloudprovider.NewInsufficientCapacityError(
				fmt.Errorf("none of %v, with overlays, fits the request", requirement.Values))
		}
		claim.Spec.Requirements[i].Values = fitting
	}
	created, err := p.CloudProvider.Create(ctx, claim)
	if err != nil {
		return nil, err
	}
	if t := types[created.Labels[corev1.LabelInstanceTypeStable]]; t != nil {
		created.Status.Capacity = t.Capacity.DeepCopy()
		created.Status.Allocatable = t.Allocatable().DeepCopy()
	}
	return created, nil
}

func (p overlaidCreate) overlaidTypes(
	ctx context.Context, claim *karpenter.NodeClaim,
) (map[string]*cloudprovider.InstanceType, error) {
	pool := &karpenter.NodePool{}
	if err := p.kube.Get(ctx, client.ObjectKey{Name: claim.Labels[karpenter.NodePoolLabelKey]}, pool); err != nil {
		return nil, err
	}
	types, err := p.GetInstanceTypes(ctx, pool)
	if err != nil {
		return nil, err
	}
	return lo.KeyBy(types, func(t *cloudprovider.InstanceType) string { return t.Name }), nil
}
