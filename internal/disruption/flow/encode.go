package flow

import (
	"encoding/binary"
	"fmt"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/holdfast-io/holdfast/api/policy/v1alpha1"
)

const hashBytes = 8

// Read makes a ledger of its stored form.
func Read(from *v1alpha1.PodDeletionLedger) (*Ledger, error) {
	l := &Ledger{
		PolicyUID: from.PolicyUID, Generation: from.Generation, Clock: millis(from.Clock), Denials: denials(from.Denials),
		Trips: from.Trips, TrippedAt: millis(from.TrippedAt),
		Admitted: from.Admitted, Denied: from.Denied, WouldDeny: from.WouldDeny, Recent: from.Recent,
	}
	if !l.readNames(from.Names) || !l.readSums(from.Older) {
		return nil, fmt.Errorf("read PodDeletionLedger %s: a part of it is cut off: delete the ledger, "+
			"a new one is made from what the replicas remember", from.Name)
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
	into.Names, into.Older, into.Denials = l.names(), l.sums(), stored(l.Denials)
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

// names are the pods in the order of their stamps.
func (l *Ledger) names() []byte {
	var text []byte
	former := int64(0)
	for i, hash := range l.hashes {
		text = binary.AppendVarint(text, l.stamps[i]-former)
		text = binary.BigEndian.AppendUint64(text, hash)
		former = l.stamps[i]
	}
	return text
}

func (l *Ledger) readNames(text []byte) bool {
	n := len(text) / (hashBytes + 1)
	l.hashes, l.stamps = make([]uint64, 0, n), make([]int64, 0, n)
	former := int64(0)
	for len(text) > 0 {
		since, n := binary.Varint(text)
		if n <= 0 || len(text) < n+hashBytes {
			return false
		}
		former += since
		l.hashes, l.stamps = append(l.hashes, binary.BigEndian.Uint64(text[n:])), append(l.stamps, former)
		text = text[n+hashBytes:]
	}
	return true
}

func (l *Ledger) sums() []byte {
	var text []byte
	former := int64(0)
	for _, s := range l.Sums {
		text = binary.AppendVarint(text, s.Stamp-former)
		text = binary.AppendVarint(text, int64(s.N))
		former = s.Stamp
	}
	return text
}

func (l *Ledger) readSums(text []byte) bool {
	former := int64(0)
	for len(text) > 0 {
		since, n := binary.Varint(text)
		if n <= 0 {
			return false
		}
		count, m := binary.Varint(text[n:])
		if m <= 0 {
			return false
		}
		former += since
		l.Sums = append(l.Sums, Sum{former, int(count)})
		text = text[n+m:]
	}
	return true
}

func denials(from []v1alpha1.DeletionSum) []Sum {
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
