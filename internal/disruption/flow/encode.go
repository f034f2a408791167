package flow

import (
	"encoding/binary"
	"fmt"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/holdfast-io/holdfast/api/policy/v1alpha1"
)

const podBytes = 16

// Read makes a ledger of its stored form.
func Read(from *v1alpha1.PodDeletionLedger) (*Ledger, error) {
	if len(from.Pods)%podBytes != 0 {
		return nil, fmt.Errorf("read PodDeletionLedger %s: its pods have %d bytes, which is not a multiple of %d: delete the ledger, "+
			"a new one is made from what the replicas remember", from.Name, len(from.Pods), podBytes)
	}
	n := len(from.Pods) / podBytes
	l := &Ledger{
		PolicyUID: from.PolicyUID, Generation: from.Generation, Clock: millis(from.Clock),
		hashes: make([]uint64, n), stamps: make([]int64, n),
		Sums: sums(from.Sums), Denials: sums(from.Denials),
		Trips: from.Trips, TrippedAt: millis(from.TrippedAt),
		Admitted: from.Admitted, Denied: from.Denied, WouldDeny: from.WouldDeny, Recent: from.Recent,
	}
	for i := range n {
		at := from.Pods[i*podBytes:]
		l.hashes[i] = binary.BigEndian.Uint64(at)
		l.stamps[i] = int64(binary.BigEndian.Uint64(at[8:])) //nolint:gosec // written from an int64
	}
	for _, b := range from.Blocks {
		l.Blocks = append(l.Blocks, Block{b.Holder, b.Stamp, int(b.N)})
	}
	for _, m := range from.Marks {
		l.Marks = append(l.Marks, Mark{m.Writer, m.Seq})
	}
	return l, nil
}

// Write puts a ledger into its stored form.
func (l *Ledger) Write(into *v1alpha1.PodDeletionLedger) {
	into.PolicyUID, into.Generation, into.Clock = l.PolicyUID, l.Generation, micro(l.Clock)
	into.Pods = make([]byte, 0, len(l.hashes)*podBytes)
	for i, hash := range l.hashes {
		into.Pods = binary.BigEndian.AppendUint64(into.Pods, hash)
		into.Pods = binary.BigEndian.AppendUint64(into.Pods, uint64(l.stamps[i])) //nolint:gosec // a time after 1970
	}
	into.Sums, into.Denials = stored(l.Sums), stored(l.Denials)
	into.Blocks, into.Marks = nil, nil
	for _, b := range l.Blocks {
		into.Blocks = append(into.Blocks, v1alpha1.DeletionBlock{Holder: b.Holder, Stamp: b.Stamp, N: int32(b.N)}) //nolint:gosec // small
	}
	for _, m := range l.Marks {
		into.Marks = append(into.Marks, v1alpha1.DeletionMark{Writer: m.Writer, Seq: m.Seq})
	}
	into.Trips, into.TrippedAt = l.Trips, micro(l.TrippedAt)
	into.Admitted, into.Denied, into.WouldDeny, into.Recent = l.Admitted, l.Denied, l.WouldDeny, l.Recent
}

func sums(from []v1alpha1.DeletionSum) []Sum {
	var out []Sum
	for _, s := range from {
		out = append(out, Sum{s.Stamp, int(s.N)})
	}
	return out
}

func stored(from []Sum) []v1alpha1.DeletionSum {
	var out []v1alpha1.DeletionSum
	for _, s := range from {
		out = append(out, v1alpha1.DeletionSum{Stamp: s.Stamp, N: int32(s.N)}) //nolint:gosec // at most the limit of a rule
	}
	return out
}

func millis(t metav1.MicroTime) int64 {
	if t.IsZero() {
		return 0
	}
	return t.UnixMilli()
}

func micro(ms int64) metav1.MicroTime {
	if ms == 0 {
		return metav1.MicroTime{}
	}
	return metav1.NewMicroTime(time.UnixMilli(ms).UTC())
}
