package poddeletionflowcontrol

import (
	"context"
	"errors"
	"fmt"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/holdfast-io/holdfast/api/policy/v1alpha1"
	"github.com/holdfast-io/holdfast/internal/disruption/flow"
)

// errConflict says that somebody else has written in between.
var errConflict = errors.New("another replica has written in between")

// Store keeps the ledgers. A write names the version that it follows: it is the one thing that exactness rests on.
type Store interface {
	// Get reads a ledger from where it is stored; version "" when there is none.
	Get(ctx context.Context, policy string) (ledger *flow.Ledger, version string, err error)
	// Put writes the ledger that follows a version; "": there is none yet. errConflict when that is not the stored one.
	Put(ctx context.Context, policy, version string, ledger *flow.Ledger) (newVersion string, err error)
}

// ledgers is the Store in the API server.
type ledgers struct {
	client client.Client
}

// Get reads a ledger.
func (s *ledgers) Get(ctx context.Context, policy string) (*flow.Ledger, string, error) {
	stored := &v1alpha1.PodDeletionLedger{}
	err := s.client.Get(ctx, types.NamespacedName{Name: policy}, stored)
	if apierrors.IsNotFound(err) {
		return nil, "", nil
	}
	if err != nil {
		return nil, "", fmt.Errorf("read PodDeletionLedger %s: %w", policy, err)
	}
	l, err := flow.Read(stored)
	if err != nil {
		return nil, "", err
	}
	return l, stored.ResourceVersion, nil
}

// Put writes a ledger. It is owned by its policy, and goes with it.
func (s *ledgers) Put(ctx context.Context, policy, version string, l *flow.Ledger) (string, error) {
	stored := &v1alpha1.PodDeletionLedger{ObjectMeta: metav1.ObjectMeta{
		Name: policy, ResourceVersion: version,
		OwnerReferences: []metav1.OwnerReference{{
			APIVersion: v1alpha1.SchemeGroupVersion.String(), Kind: "PodDeletionFlowControl", Name: policy, UID: types.UID(l.PolicyUID),
		}},
	}}
	l.Write(stored)
	var err error
	if version == "" {
		err = s.client.Create(ctx, stored)
	} else {
		err = s.client.Update(ctx, stored)
	}
	if apierrors.IsConflict(err) || apierrors.IsAlreadyExists(err) || apierrors.IsNotFound(err) {
		return "", errConflict
	}
	if err != nil {
		return "", fmt.Errorf("write PodDeletionLedger %s: %w", policy, err)
	}
	return stored.ResourceVersion, nil
}
