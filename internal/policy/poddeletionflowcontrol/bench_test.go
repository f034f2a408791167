package poddeletionflowcontrol

import (
	"context"
	"fmt"
	"slices"
	"testing"
	"time"

	"github.com/go-logr/logr"
	"k8s.io/utils/clock"
	ctrllog "sigs.k8s.io/controller-runtime/pkg/log"

	"github.com/holdfast-io/holdfast/api/policy/v1alpha1"
	"github.com/holdfast-io/holdfast/internal/disruption"
	"github.com/holdfast-io/holdfast/internal/disruption/flow"
)

// measured runs one operation after another, each after a pause, and reports how long they took.
func measured(b *testing.B, pause time.Duration, operation func(i int)) {
	b.Helper()
	took := make([]time.Duration, 0, b.N)
	b.ReportAllocs()
	b.ResetTimer()
	for i := range b.N {
		if pause > 0 {
			b.StopTimer()
			time.Sleep(pause) //nolint:forbidigo // the rate of the requests
			b.StartTimer()
		}
		begun := time.Now()
		operation(i)
		took = append(took, time.Since(begun))
	}
	b.StopTimer()
	slices.Sort(took)
	b.ReportMetric(float64(took[len(took)/2].Microseconds()), "p50-µs")
	b.ReportMetric(float64(took[len(took)*99/100].Microseconds()), "p99-µs")
	b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "decisions/s")
}

// lone is a keeper over a store in memory, whose ledger remembers 5,000 pods.
func lone(b *testing.B, preferred bool, rules ...v1alpha1.DeletionLimitRule) *Keeper {
	b.Helper()
	k := New(Deps{Clock: clock.RealClock{}, Log: logr.Discard(), Store: &shelf{}, SystemNamespace: "holdfast-system"})
	k.served.Store(present)
	p := policyOf(rules...)
	p.Spec.Exempt = &v1alpha1.DeletionExemptions{Users: []string{"cleaner"}}
	k.See(p)
	l := &flow.Ledger{PolicyUID: "policy-1", Generation: 1}
	for i := range 5000 {
		l.Advance(time.Now().Add(time.Duration(i-5000)*100*time.Millisecond), 24*time.Hour)
		l.Take(flow.Hash(fmt.Sprint("old-", i)), []flow.Rule{{Interval: time.Hour, Limit: 1_000_000}})
	}
	if _, err := k.store.Put(b.Context(), "fleet", "", l); err != nil {
		b.Fatal(err)
	}
	if preferred {
		k.owner.set(time.Now().Add(time.Hour), "")
	}
	ctx, cancel := context.WithCancel(b.Context())
	done := make(chan struct{})
	go func() { defer close(done); k.Run(ctx) }()
	b.Cleanup(func() { cancel(); <-done })
	return k
}

func must(b *testing.B, k *Keeper, r disruption.Request, want disruption.Outcome) {
	b.Helper()
	v, err := k.Take(b.Context(), r)
	if err != nil || v.Outcome != want {
		b.Fatalf("%+v, %v", v, err)
	}
}

// BenchmarkDenied is a no from memory, under three rules.
func BenchmarkDenied(b *testing.B) {
	k := lone(b, true, rule(10*time.Minute, 100), rule(time.Hour, 500), rule(24*time.Hour, 5000))
	must(b, k, deletion("first"), disruption.Deny)
	measured(b, 0, func(i int) { must(b, k, deletion(fmt.Sprint("pod-", i)), disruption.Deny) })
}

// BenchmarkExempt is a yes without counting.
func BenchmarkExempt(b *testing.B) {
	k := lone(b, true, rule(10*time.Minute, 100), rule(time.Hour, 500), rule(24*time.Hour, 5000))
	measured(b, 0, func(i int) { must(b, k, deletion(fmt.Sprint("pod-", i), by("cleaner")), disruption.Allow) })
}

// BenchmarkPreGranted is a yes from the permits that are set aside, at 200 requests per second.
func BenchmarkPreGranted(b *testing.B) {
	k := lone(b, true, rule(10*time.Minute, 1_000_000), rule(24*time.Hour, 1_000_000))
	must(b, k, deletion("first"), disruption.Allow)
	measured(b, 5*time.Millisecond, func(i int) { must(b, k, deletion(fmt.Sprint("pod-", i)), disruption.Allow) })
}

// BenchmarkWritten is a yes that waits for the API server to write it: a replica that is not preferred and reaches nobody.
func BenchmarkWritten(b *testing.B) {
	ctrllog.SetLogger(logr.Discard())
	f := newFleet(b, 1)
	f.policy(b, func(p *v1alpha1.PodDeletionFlowControl) {
		p.Spec.LimitRules = []v1alpha1.DeletionLimitRule{rule(10*time.Minute, 1_000_000)}
	})
	m := f.leader(b)
	m.owner.set(time.Time{}, "")
	measured(b, 0, func(i int) {
		m.owner.set(time.Time{}, "")
		must(b, m.Keeper, f.request(fmt.Sprint("pod-", i)), disruption.Allow)
	})
}
