// Command karpenter is the real Karpenter core with its real kwok provider,
// wrapped so that GPUs behave as they do with the AWS provider:
//
//   - instance types carry the labels that AWS gives them (gpu-count, gpu-name,
//     …), so that NodeOverlays match on them and Nodes are born with them:
//     labels.go
//   - Create counts with the overlaid capacity, and the NodeClaim's status
//     reports it: provider.go
//   - a Node is born without extended resources, which a device plugin adds
//     later, so that Karpenter's wait for them is real: nodes.go
//   - families can be sold out, as EC2's are on some mornings: soldout.go
//
// Karpenter's releases start their controllers in different ways: controllers_newest.go
// and controllers_oldest.go hold what differs between the two that are built.
//
// Everything else, scheduling, consolidation, drift, overlays, is Karpenter's.
package main

import (
	"context"
	"os"

	"k8s.io/apimachinery/pkg/util/sets"
	"sigs.k8s.io/controller-runtime/pkg/log"
	kwok "sigs.k8s.io/karpenter/kwok/cloudprovider"
	"sigs.k8s.io/karpenter/pkg/cloudprovider"
	"sigs.k8s.io/karpenter/pkg/cloudprovider/overlay"
	"sigs.k8s.io/karpenter/pkg/operator"

	"slicewise.dev/sandbox/lifeline"
)

// labelsFile names a JSON file {instance type: {label: value}}.
const labelsFile = "INSTANCE_LABELS_FILE_PATH"

func main() {
	lifeline.Hold()
	ctx, op := operator.NewOperator()
	types, err := instanceTypes(ctx)
	exitOn(ctx, err, "cannot read the instance types")
	undecorated := &soldOut{
		CloudProvider: kwok.NewCloudProvider(ctx, bareNodes{op.GetClient()}, types),
		kube:          op.GetClient(),
		refused:       sets.New[string](),
	}
	provider := overlaidCreate{
		CloudProvider: overlay.Decorate(undecorated, op.GetClient(), op.InstanceTypeStore),
		kube:          op.GetClient(),
	}
	parts, err := karpenterControllers(ctx, op, provider, undecorated)
	exitOn(ctx, err, "cannot put Karpenter's controllers together")
	op.WithControllers(ctx, parts...).Start(ctx)
}

func exitOn(ctx context.Context, err error, message string) {
	if err != nil {
		log.FromContext(ctx).Error(err, message)
		os.Exit(1)
	}
}

func instanceTypes(ctx context.Context) ([]*cloudprovider.InstanceType, error) {
	types, err := kwok.ConstructInstanceTypes(ctx)
	if err != nil {
		return nil, err
	}
	if path := os.Getenv(labelsFile); path != "" {
		err = addLabels(types, path)
	}
	return types, err
}
