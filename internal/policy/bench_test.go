package policy_test

import (
	"context"
	"fmt"
	"net/http"
	"syscall"
	"testing"
	"time"

	admissionv1 "k8s.io/api/admission/v1"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/types"

	"github.com/holdfast-io/holdfast/internal/disruption"
	"github.com/holdfast-io/holdfast/internal/testkit"
)

// What it costs to answer about a pod beside what the guards themselves cost: reading the request, the gate, the journal, and
// the answer. The connection is not in it.
func BenchmarkPods(b *testing.B) {
	for _, bench := range []struct {
		name string
		says disruption.Verdict
	}{
		{"allowed", disruption.Verdict{Guard: "PodUnavailableBudget default/web", Reason: "BudgetAllows"}},
		{"denied", denies("PodUnavailableBudget default/web").says},
	} {
		b.Run(bench.name, func(b *testing.B) {
			k := newKit(silent{bench.says})
			handler := k.handler(b)
			pod := testkit.Pod(func(p *corev1.Pod) { p.Name = "pod" })
			bodies := make([][]byte, 512)
			for i := range bodies {
				p := pod.DeepCopy()
				p.UID = types.UID(fmt.Sprintf("uid-%d", i))
				bodies[i] = review(b, "DELETE", "", func(r *admissionv1.AdmissionRequest) { r.OldObject = raw(b, p) })
			}
			b.ReportAllocs()
			before := processorTime(b)
			for i := 0; b.Loop(); i++ {
				if code, got := ask(b, handler, "/guard/pods/delete", bodies[i%len(bodies)]); code != http.StatusOK || got == nil {
					b.Fatal("no answer")
				}
				if i%1000 == 0 {
					k.journal.Flush(b.Context())
				}
			}
			// What counts on a machine that others use too.
			b.ReportMetric(float64(b.N)/(processorTime(b)-before).Seconds(), "decisions/s/core")
		})
	}
}

// processorTime is what this process has used of the processors.
func processorTime(b *testing.B) time.Duration {
	b.Helper()
	usage := syscall.Rusage{}
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &usage); err != nil {
		b.Fatal(err)
	}
	return time.Duration(usage.Utime.Nano() + usage.Stime.Nano())
}

// silent is a guard that writes nothing down.
type silent struct{ says disruption.Verdict }

func (s silent) Name() string { return "PodUnavailableBudget" }
func (s silent) Check(context.Context, disruption.Request) disruption.Verdict {
	return disruption.Verdict{}
}

func (s silent) Take(context.Context, disruption.Request) (disruption.Verdict, error) {
	return s.says, nil
}
func (s silent) Release(context.Context, disruption.Request) {}
