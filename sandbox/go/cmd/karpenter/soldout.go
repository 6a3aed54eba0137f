package main

import (
	"context"
	"fmt"
	"strings"
	"sync"

	"github.com/samber/lo"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/util/sets"
	"sigs.k8s.io/controller-runtime/pkg/client"
	kwok "sigs.k8s.io/karpenter/kwok/apis/v1alpha1"
	karpenter "sigs.k8s.io/karpenter/pkg/apis/v1"
	"sigs.k8s.io/karpenter/pkg/cloudprovider"
)

// soldOutFamilies, on a NodeClass, names the families of which EC2 has no machine, such as "g6,g5".
const soldOutFamilies = "sandbox.slicewise.dev/sold-out"

// soldOut refuses to launch machines of which EC2 has none, with the error that the
// AWS provider gives then. Like that, it remembers what was refused, and offers it no
// more: for as long as it is sold out, where the AWS provider asks again after 3 minutes.
type soldOut struct {
	cloudprovider.CloudProvider
	kube    client.Client
	lock    sync.Mutex
	refused sets.Set[string] // names of instance types
}

func (p *soldOut) Create(ctx context.Context, claim *karpenter.NodeClaim) (*karpenter.NodeClaim, error) {
	families, err := p.families(ctx, claim.Spec.NodeClassRef.Name)
	if err != nil {
		return nil, err
	}
	claim = claim.DeepCopy()
	for i, requirement := range claim.Spec.Requirements {
		if requirement.Key != corev1.LabelInstanceTypeStable {
			continue
		}
		gone, left := lo.FilterReject(requirement.Values, func(name string, _ int) bool {
			return families.Has(familyOf(name))
		})
		p.remember(gone)
		if len(left) == 0 {
			return nil, cloudprovider.NewInsufficientCapacityError(fmt.Errorf(
				"with fleet error(s), InsufficientInstanceCapacity: no capacity for %v", gone))
		}
		claim.Spec.Requirements[i].Values = left
	}
	return p.CloudProvider.Create(ctx, claim)
}

func (p *soldOut) GetInstanceTypes(
	ctx context.Context, pool *karpenter.NodePool,
) ([]*cloudprovider.InstanceType, error) {
	types, err := p.CloudProvider.GetInstanceTypes(ctx, pool)
	if err != nil {
		return nil, err
	}
	families, err := p.families(ctx, pool.Spec.Template.Spec.NodeClassRef.Name)
	if err != nil {
		return nil, err
	}
	return lo.Map(types, func(t *cloudprovider.InstanceType, _ int) *cloudprovider.InstanceType {
		if families.Has(familyOf(t.Name)) && p.wasRefused(t.Name) {
			return unavailable(t)
		}
		return t
	}), nil
}

func (p *soldOut) families(ctx context.Context, nodeClass string) (sets.Set[string], error) {
	found := &kwok.KWOKNodeClass{}
	if err := p.kube.Get(ctx, client.ObjectKey{Name: nodeClass}, found); err != nil {
		return nil, client.IgnoreNotFound(err)
	}
	return sets.New(strings.Split(found.Annotations[soldOutFamilies], ",")...), nil
}

func (p *soldOut) remember(types []string) {
	p.lock.Lock()
	defer p.lock.Unlock()
	p.refused.Insert(types...)
}

func (p *soldOut) wasRefused(name string) bool {
	p.lock.Lock()
	defer p.lock.Unlock()
	return p.refused.Has(name)
}

func unavailable(t *cloudprovider.InstanceType) *cloudprovider.InstanceType {
	copied := &cloudprovider.InstanceType{}
	t.DeepCopyInto(copied)
	for _, offering := range copied.Offerings {
		offering.Available = false
	}
	return copied
}

func familyOf(instanceType string) string {
	family, _, _ := strings.Cut(instanceType, ".")
	return family
}
