// Package budget decides whether one more pod may be away: it counts who is available, and keeps the ledger of what was
// allowed and is not over yet.
package budget

import (
	"fmt"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/util/intstr"

	policyv1beta1 "github.com/holdfast-io/holdfast/api/policy/v1beta1"
)

// Seen is a guarded pod as somebody has seen it.
type Seen struct {
	Pod *corev1.Pod
	// Serving says that the pod does its work: taking it away takes something away.
	Serving bool
	// Available says that it does and will go on: it is not being changed in place, and nobody may take it freely.
	Available bool
}

// View is all guarded pods at one moment.
type View struct {
	pods map[types.UID]Seen
}

// NewView makes a view of pods.
func NewView(pods []Seen) View {
	v := View{pods: make(map[types.UID]Seen, len(pods))}
	for _, p := range pods {
		v.pods[p.Pod.UID] = p
	}
	return v
}

// Find returns a pod of the view.
func (v View) Find(uid types.UID) (Seen, bool) {
	seen, ok := v.pods[uid]
	return seen, ok
}

// With is the view with one pod as it was seen later.
func (v View) With(p Seen) View {
	v.pods[p.Pod.UID] = p
	return v
}

// Limits are a budget's two ways of saying how much; one of them is set.
type Limits struct {
	MaxUnavailable, MinAvailable *intstr.IntOrString
}

// Desired is how many of total pods must stay available. Percentages round up, both ways: three pods of which 50% may be
// away may miss two; of which 50% must stay, keep two.
func (l Limits) Desired(total int) (int, error) {
	if (l.MaxUnavailable == nil) == (l.MinAvailable == nil) {
		return total, fmt.Errorf("exactly one of spec.maxUnavailable and spec.minAvailable must be set")
	}
	if l.MinAvailable != nil {
		n, err := scaled("spec.minAvailable", *l.MinAvailable, total)
		return min(n, total), err
	}
	n, err := scaled("spec.maxUnavailable", *l.MaxUnavailable, total)
	return total - min(n, total), err
}

// scaled refuses what the schema would have refused. Its callers then keep every pod: nothing is let go by mistake.
func scaled(field string, value intstr.IntOrString, total int) (int, error) {
	n, err := intstr.GetScaledValueFromIntOrPercent(&value, total, true)
	if err != nil {
		return 0, fmt.Errorf("%s: %q is neither a whole number nor a percentage: %w", field, value.String(), err)
	}
	if share, _ := intstr.GetScaledValueFromIntOrPercent(&value, 100, true); n < 0 || (value.Type == intstr.String && share > 100) {
		return 0, fmt.Errorf("%s: %q must be 0 or more, and at most 100%%", field, value.String())
	}
	return n, nil
}

// Figures are what a budget has come to.
type Figures struct {
	// Total is how many pods are wanted, Desired how many must stay available, Available how many are, less those that were
	// allowed to go, and Allowed how many more may go.
	Total, Desired, Available, Allowed int
}

// Count adds up a view. A pod with an open grant is away, whatever it looks like.
func (l Limits) Count(total int, view View, open []policyv1beta1.PodGrant) (Figures, error) {
	f := Figures{Total: total}
	var err error
	if f.Desired, err = l.Desired(total); err != nil {
		f.Desired = total
	}
	away := make(map[types.UID]bool, len(open))
	for i := range open {
		away[open[i].UID] = true
	}
	for uid, seen := range view.pods {
		if seen.Available && !away[uid] {
			f.Available++
		}
	}
	f.Allowed = max(0, f.Available-f.Desired)
	// Pods beyond the wanted number, such as those of a surge, do not make the budget larger than it says.
	f.Allowed = min(f.Allowed, total-f.Desired)
	return f, err
}
