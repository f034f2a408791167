package poddeletionflowcontrol

import (
	"context"
	"time"

	coordinationv1 "k8s.io/api/coordination/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"
)

const (
	// measureInterval is how often our clock is compared with the API server's.
	measureInterval = time.Minute
	// An answer that took longer says too little about the time.
	measureLimit = 500 * time.Millisecond
	// The API server tells its time in whole seconds.
	tick = time.Second
)

// measure compares our clock with the API server's, by an object that is not stored. Clocks that are wrong by seconds are
// common, and a window must not end early because of one. What is left is less than flow.Skew between two replicas.
func (k *Keeper) measure(ctx context.Context) {
	before := k.now()
	if !k.measured.IsZero() && before.Sub(k.measured) < measureInterval {
		return
	}
	ctx, cancel := context.WithTimeout(ctx, measureLimit)
	defer cancel()
	probe := &coordinationv1.Lease{ObjectMeta: metav1.ObjectMeta{Namespace: k.system, GenerateName: LeaseName + "-clock-"}}
	err := k.admission.Create(ctx, probe, client.DryRunAll)
	after := k.now()
	if err != nil {
		k.log.V(1).Info("the API server's time is not known", "error", err.Error())
		return
	}
	k.measured = after
	old := time.Duration(k.offset.Load())
	offset := corrected(old, before, after, probe.CreationTimestamp.Time)
	if offset == old {
		return
	}
	k.offset.Store(int64(offset))
	k.log.Info("this machine's clock differs from the API server's: counting by the latter", "by", offset.String())
}

// corrected is by how much a clock is behind another one, that showed the second server at some time between before and
// after: as it was known, where that is still possible.
func corrected(known time.Duration, before, after, server time.Time) time.Duration {
	least, most := server.Sub(after), server.Add(tick).Sub(before)
	return min(max(known, least), most)
}
