package hook

import (
	"strings"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	appsv1beta1 "github.com/holdfast-io/holdfast/api/apps/v1beta1"
	"github.com/holdfast-io/holdfast/internal/testkit"
)

// inState is a pod in a state of its life, with more labels and finalizers: "x=1 y=2 f/z".
func inState(state, marks string) *corev1.Pod {
	return testkit.Pod(func(p *corev1.Pod) {
		if state != "" {
			p.Labels["lifecycle.apps.kruise.io/state"] = state
		}
		for mark := range strings.FieldsSeq(marks) {
			if key, value, label := strings.Cut(mark, "="); label {
				p.Labels[key] = value
			} else {
				p.Finalizers = append(p.Finalizers, mark)
			}
		}
	})
}

func hook(marks string) *appsv1beta1.LifecycleHook {
	h := &appsv1beta1.LifecycleHook{LabelsHandler: map[string]string{}}
	for mark := range strings.FieldsSeq(marks) {
		if key, value, label := strings.Cut(mark, "="); label {
			h.LabelsHandler[key] = value
		} else {
			h.FinalizersHandler = append(h.FinalizersHandler, mark)
		}
	}
	return h
}

func TestHolding(t *testing.T) {
	for _, test := range []struct {
		reason, hook, pod string
		held, missing     string
	}{
		{"nothing asked", "", "x=1", "", ""},
		{"all there", "x=1 f/a", "x=1 f/a", "finalizer f/a", ""},
		{"none there", "x=1 f/a", "", "", "finalizer f/a"},
		{"one label of two holds", "x=1 y=1", "y=1", "label y=1", "label x=1"},
		{"another value does not hold", "x=1", "x=2", "", "label x=1"},
		{"an empty value is not a missing label", "x=", "", "", "label x="},
		{"an empty value that is there", "x=", "x=", "label x=", ""},
		{"many labels: always the same one is named", "c=1 b=1 a=1 d=1", "d=1 c=1", "label c=1", "label a=1"},
	} {
		t.Run(test.reason, func(t *testing.T) {
			h, p := hook(test.hook), inState("", test.pod)
			if got := Held(h, p); got != test.held || Holds(h, p) != (test.held != "") {
				t.Errorf("held by %q, want %q", got, test.held)
			}
			if got := Missing(h, p); got != test.missing || Complete(h, p) != (test.missing == "") {
				t.Errorf("misses %q, want %q", got, test.missing)
			}
		})
	}
	if Set(nil) || Set(hook("")) || !Set(hook("x=1")) || !Set(hook("f/a")) {
		t.Error("a hook is set when it names a label or a finalizer")
	}
	if Holds(nil, inState("", "")) || !Complete(nil, inState("", "")) {
		t.Error("no hook holds nothing and misses nothing")
	}
}

func TestNextState(t *testing.T) {
	for _, test := range []struct {
		reason           string
		preNormal, place string // the hooks preNormal and inPlaceUpdate; "-" for a set without a lifecycle
		state, pod       string
		updated          bool
		want             appsv1beta1.LifecycleState
	}{
		{"a pod that no lifecycle touched", "-", "", "", "", true, ""},
		{"normal stays", "x=1", "", "Normal", "", true, ""},
		{"created, held until complete", "x=1 f/a", "", "PreparingNormal", "x=1", true, ""},
		{"created, complete", "x=1 f/a", "", "PreparingNormal", "x=1 f/a", true, "Normal"},
		{"created, and the hook was removed since", "-", "", "PreparingNormal", "", true, "Normal"},
		{"being changed", "", "x=1", "Updating", "", false, ""},
		{"changed, the hook not complete", "", "x=1", "Updating", "", true, "Updated"},
		{"changed, the hook complete already", "", "x=1", "Updating", "x=1", true, "Normal"},
		{"changed, no hook", "", "", "Updating", "", true, "Normal"},
		{"changed, held", "", "x=1", "Updated", "", true, ""},
		{"changed, complete again", "", "x=1", "Updated", "x=1", true, "Normal"},
		{"changed, and the hook was removed since", "-", "", "Updated", "", true, "Normal"},
		{"preparing is ended by the change, not by the hook", "", "x=1", "PreparingUpdate", "", true, ""},
		{"nor by the deletion", "", "", "PreparingDelete", "", true, ""},
	} {
		t.Run(test.reason, func(t *testing.T) {
			var l *appsv1beta1.Lifecycle
			if test.preNormal != "-" {
				l = &appsv1beta1.Lifecycle{PreNormal: hook(test.preNormal), InPlaceUpdate: hook(test.place)}
			}
			if got := Next(l, inState(test.state, test.pod), test.updated); got != test.want {
				t.Errorf("got %q, want %q", got, test.want)
			}
		})
	}
}

func TestBack(t *testing.T) {
	for _, test := range []struct {
		reason                string
		preNormal, place, pod string
		state, want           appsv1beta1.LifecycleState
	}{
		{"no lifecycle", "-", "", "", "PreparingDelete", "Normal"},
		{"not to be changed, nobody has answered", "", "x=1", "x=1", "PreparingUpdate", "Normal"},
		{"not to be changed, out of service already", "", "x=1", "", "PreparingUpdate", "Updated"},
		{"half out of service", "", "x=1 f/a", "x=1", "PreparingUpdate", "Updated"},
		{"not to go, no hook to bring it back", "", "x=1", "", "PreparingDelete", "Normal"},
		{"not to go, in service", "f/a", "", "f/a", "PreparingDelete", "Normal"},
		{"not to go, out of service already", "f/a", "", "", "PreparingDelete", "PreparingNormal"},
	} {
		t.Run(test.reason, func(t *testing.T) {
			var l *appsv1beta1.Lifecycle
			if test.preNormal != "-" {
				l = &appsv1beta1.Lifecycle{PreNormal: hook(test.preNormal), InPlaceUpdate: hook(test.place)}
			}
			if got := Back(l, inState(string(test.state), test.pod)); got != test.want {
				t.Errorf("got %q, want %q", got, test.want)
			}
		})
	}
}

func TestFirst(t *testing.T) {
	if got := First(nil); got != "Normal" {
		t.Errorf("without a lifecycle: %s", got)
	}
	if got := First(&appsv1beta1.Lifecycle{PreNormal: hook("")}); got != "Normal" {
		t.Errorf("with an empty hook: %s", got)
	}
	if got := First(&appsv1beta1.Lifecycle{PreNormal: hook("x=1")}); got != "PreparingNormal" {
		t.Errorf("with a hook: %s", got)
	}
}

func TestAway(t *testing.T) {
	for state, want := range map[string]bool{
		"": false, "Normal": false, "PreparingNormal": true, "PreparingUpdate": true, "Updating": true, "Updated": true, "PreparingDelete": true,
	} {
		if got := Away(inState(state, "")); got != want {
			t.Errorf("%q: got %v, want %v", state, got, want)
		}
	}
}

func TestMark(t *testing.T) {
	labels, annotations := Mark(appsv1beta1.LifecycleStateUpdated, testkit.Epoch.In(time.FixedZone("", 3600)))
	if labels["lifecycle.apps.kruise.io/state"] != "Updated" || annotations["lifecycle.apps.kruise.io/timestamp"] != "2030-01-01T00:00:00Z" {
		t.Errorf("got %v %v", labels, annotations)
	}
}

const (
	ours   = `{"userAgent":"Lifecycle","key":"lifecycle"}`
	theirs = `{"userAgent":"ContainerRecreateRequest","key":"ns/crr"}`
)

func TestGates(t *testing.T) {
	marking := &appsv1beta1.Lifecycle{PreDelete: &appsv1beta1.LifecycleHook{MarkPodNotReady: true}, InPlaceUpdate: &appsv1beta1.LifecycleHook{MarkPodNotReady: true}}
	quiet := &appsv1beta1.Lifecycle{PreDelete: hook("x=1"), InPlaceUpdate: hook("x=1")}
	const place, kruise = appsv1beta1.InPlaceUpdateReady, appsv1beta1.KruisePodReady
	for _, test := range []struct {
		reason    string
		lifecycle *appsv1beta1.Lifecycle
		gate      corev1.PodConditionType
		old       string // "True", or "False" and the message behind it; "": not written yet
		state     appsv1beta1.LifecycleState
		unready   bool
		want      string // the same of what is to be written; "": nothing
	}{
		{"a new pod", nil, place, "", "Normal", false, "True"},
		{"it says so already", nil, place, "True", "Normal", false, ""},
		{"to be changed in place", nil, place, "True", "Normal", true, "False"},
		{"changed", nil, place, "False", "Normal", false, "True"},
		{"somebody else's gate", nil, "example.com/gate", "", "Normal", true, ""},
		{"a new pod with the shared gate", nil, kruise, "", "Normal", false, "True"},
		{"about to be deleted", marking, kruise, "True", "PreparingDelete", false, "False[" + ours + "]"},
		{"about to be deleted, unmarked", quiet, kruise, "True", "PreparingDelete", false, ""},
		{"about to be changed", marking, kruise, "True", "PreparingUpdate", false, "False[" + ours + "]"},
		{"while it is changed", marking, kruise, "False[" + ours + "]", "Updating", true, ""},
		{"changed: it must become ready for its hook to see it", marking, kruise, "False[" + ours + "]", "Updated", false, "True"},
		{"taken back", marking, kruise, "False[" + ours + "]", "Normal", false, "True"},
		{"held by somebody else too", marking, kruise, "False[" + theirs + "]", "PreparingDelete", false, "False[" + theirs + "," + ours + "]"},
		{"let go by us, still held by somebody else", marking, kruise, "False[" + theirs + "," + ours + "]", "Normal", false, "False[" + theirs + "]"},
		{"held by somebody else alone", nil, kruise, "False[" + theirs + "]", "Normal", false, ""},
		{"a message that is no list holds nobody", nil, kruise, "Falsewhatever", "Normal", false, "True"},
		{"no lifecycle, and our own hold left behind", nil, kruise, "False[" + ours + "]", "PreparingDelete", false, "True"},
	} {
		t.Run(test.reason, func(t *testing.T) {
			before := metav1.NewTime(testkit.Epoch)
			p := testkit.Pod(func(p *corev1.Pod) {
				p.Spec.ReadinessGates = []corev1.PodReadinessGate{{ConditionType: test.gate}}
				for _, status := range []corev1.ConditionStatus{corev1.ConditionTrue, corev1.ConditionFalse} {
					if message, found := strings.CutPrefix(test.old, string(status)); found {
						p.Status.Conditions = append(p.Status.Conditions, corev1.PodCondition{
							Type: test.gate, Status: status, Message: message, LastTransitionTime: before,
						})
					}
				}
			})
			var got strings.Builder
			now := testkit.Epoch.Add(time.Minute)
			for _, c := range Gates(test.lifecycle, p, test.state, test.unready, now) {
				got.WriteString(string(c.Status) + c.Message)
				if kept := strings.HasPrefix(test.old, string(c.Status)); kept != c.LastTransitionTime.Time.Equal(testkit.Epoch) {
					t.Errorf("it says %s since %s", c.Status, c.LastTransitionTime)
				}
			}
			if got.String() != test.want {
				t.Errorf("got %q, want %q", got.String(), test.want)
			}
		})
	}
	if got := Gates(marking, testkit.Pod(), "PreparingDelete", true, testkit.Epoch); got != nil {
		t.Errorf("a pod without gates gets none: %v", got)
	}
}
