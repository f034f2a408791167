package policy_test

import (
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	authenticationv1 "k8s.io/api/authentication/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/utils/ptr"

	"github.com/holdfast-io/holdfast/internal/disruption"
	"github.com/holdfast-io/holdfast/internal/policy"
	"github.com/holdfast-io/holdfast/internal/testkit"
)

func TestGateOpensOnlyWhatIsOpened(t *testing.T) {
	t.Parallel()
	budget, flow := "PodUnavailableBudget default/web", "PodDeletionFlowControl all"
	allows := func() *stub {
		return &stub{name: "PodDeletionFlowControl", says: disruption.Verdict{Guard: flow, Reason: "Admitted"}}
	}
	for _, test := range []struct {
		reason string
		user   string
		second *stub
		opens  openers
		want   disruption.Outcome
		guard  string
		glass  string
	}{
		{"nothing is opened", "alice", allows(), openers{}, disruption.Deny, budget, ""},
		{"opened for somebody else", "alice", allows(), openers{"bob PodUnavailableBudget": "g"}, disruption.Deny, budget, ""},
		{"another guard is opened", "alice", allows(), openers{"alice PodDeletionFlowControl": "g"}, disruption.Deny, budget, ""},
		{"opened", "alice", allows(), openers{"alice PodUnavailableBudget": "g"}, disruption.Allow, budget, "g"},
		{"the other guard still holds", "alice", denies(flow), openers{"alice PodUnavailableBudget": "g"}, disruption.Deny, flow, ""},
		{
			"both are opened", "alice", denies(flow),
			openers{"alice PodUnavailableBudget": "g", "alice PodDeletionFlowControl": "h"},
			disruption.Allow, flow, "h",
		},
		{"a failure to look opens nothing", "", allows(), openers{" PodUnavailableBudget": "g"}, disruption.Deny, budget, ""},
	} {
		t.Run(test.reason, func(t *testing.T) {
			t.Parallel()
			k := newKit(denies(budget), test.second)
			k.gate.Opener = test.opens
			r := disruption.Request{Operation: disruption.Delete, Pod: testkit.Pod(), User: authenticationv1.UserInfo{Username: test.user}}
			v, d, err := k.gate.Decide(t.Context(), r)
			if err != nil || v.Outcome != test.want || v.Guard != test.guard || d.BreakGlass != test.glass {
				t.Fatalf("got %+v, %+v, %v", v, d, err)
			}
			if test.glass != "" && (v.Reason != policy.ReasonBreakGlass || !strings.Contains(v.Message, test.glass)) {
				t.Errorf("the use is silent: %+v", v)
			}
		})
	}
}

func TestGateFailsClosed(t *testing.T) {
	t.Parallel()
	k := newKit(&stub{name: "A", err: errors.New("away")})
	if _, err := k.gate.Ask(t.Context(), disruption.Request{Operation: disruption.Delete, Pod: testkit.Pod()}); err == nil {
		t.Error("a failure was taken for a yes")
	}
	k.journal.Flush(t.Context())
	if len(k.sink.all) != 1 || k.sink.all[0].Outcome != policy.Failed {
		t.Errorf("written down is %+v", k.sink.all)
	}
}

func TestJournalFoldsRepetitions(t *testing.T) {
	t.Parallel()
	k := newKit(denies("PodUnavailableBudget default/web"))
	ask := func(name string) policy.Decision {
		_, d, err := k.gate.Decide(t.Context(), disruption.Request{
			Operation: disruption.Evict, Pod: testkit.Pod(func(p *corev1.Pod) { p.Name = name }),
			User: authenticationv1.UserInfo{Username: "drain"},
		})
		if err != nil {
			t.Fatal(err)
		}
		return d
	}
	first := ask("a")
	if again := ask("a"); again.ID != first.ID {
		t.Error("a repetition has an id of its own")
	}
	ask("b")
	k.journal.Flush(t.Context())
	if len(k.sink.all) != 2 || k.sink.all[0].Times != 2 || k.sink.all[1].Times != 0 {
		t.Fatalf("written down is %+v", k.sink.all)
	}
	for range 10 { // a drain asks every five seconds
		k.clock.Step(5 * time.Second)
		if again := ask("a"); again.ID != first.ID {
			t.Error("a repetition has an id of its own")
		}
		k.journal.Flush(t.Context())
	}
	if len(k.sink.all) != 2 {
		t.Fatalf("repetitions were written down one by one: %d decisions", len(k.sink.all))
	}
	k.clock.Step(10 * time.Second)
	k.journal.Flush(t.Context())
	if len(k.sink.all) != 3 || k.sink.all[2].Times != 10 || k.sink.all[2].ID != first.ID {
		t.Fatalf("the repetitions are lost: %+v", k.sink.all)
	}
}

func TestJournalKeepsWhatCannotBeWritten(t *testing.T) {
	t.Parallel()
	k := newKit()
	k.sink.err = errors.New("away")
	note := func(i int) {
		d := policy.NewDecision(k.clock.Now(), authenticationv1.UserInfo{Username: "u"})
		d.Name = fmt.Sprint(i)
		k.journal.Note(d, false)
	}
	for i := range 6000 {
		note(i)
	}
	k.journal.Flush(t.Context())
	for i := range 6000 {
		note(6000 + i)
	}
	k.journal.Flush(t.Context())
	k.sink.err = nil
	k.journal.Flush(t.Context())
	if len(k.sink.all) != 10000 || k.sink.all[0].Name != "0" {
		t.Errorf("%d decisions were kept, the first is %s", len(k.sink.all), k.sink.all[0].Name)
	}
}

func TestWorkloadOfDecision(t *testing.T) {
	t.Parallel()
	k := newKit()
	p := testkit.Pod(func(p *corev1.Pod) {
		p.Labels["pod-template-hash"] = "5d4f"
		p.OwnerReferences = []metav1.OwnerReference{{Kind: "ReplicaSet", Name: "web-5d4f", Controller: ptr.To(true)}}
	})
	_, d, err := k.gate.Decide(t.Context(), disruption.Request{Operation: disruption.Delete, Pod: p})
	if err != nil || d.Workload != "Deployment/web" {
		t.Errorf("the workload is %q, %v", d.Workload, err)
	}
}
