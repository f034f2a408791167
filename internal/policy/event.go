package policy

import (
	"context"
	"fmt"
	"strings"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/tools/record"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/holdfast-io/holdfast/api/policy/v1alpha1"
)

// How many events one batch of decisions makes at most; the recorder has limits of its own for each object.
const maxEvents = 20

// Events tell of denials where people look first: at the object that guards.
type Events struct {
	Recorder record.EventRecorder
	// Client reads the guarding objects from the cache.
	Client client.Reader
	Scheme *runtime.Scheme
}

// Told takes in a batch of the journal: the denials of one guard make one event.
func (e *Events) Told(ctx context.Context, decisions []Decision) {
	type group struct {
		first Decision
		count int
	}
	var order []string
	groups := map[string]*group{}
	for _, d := range decisions {
		if d.Outcome != Denied || d.Guard == "" {
			continue
		}
		key := d.Guard + "\x00" + d.Reason
		if !strings.Contains(d.Guard, " ") {
			key += "\x00" + d.UID // the object is its own guard
		}
		if groups[key] == nil {
			groups[key] = &group{first: d}
			order = append(order, key)
		}
		groups[key].count += max(d.Times, 1)
	}
	for _, key := range order[:min(len(order), maxEvents)] {
		d, n := groups[key].first, groups[key].count
		object := e.object(ctx, d)
		if object == nil {
			continue
		}
		more := ""
		if n > 1 {
			more = fmt.Sprintf(" (and %d more)", n-1)
		}
		e.Recorder.Eventf(object, corev1.EventTypeWarning, "Denied", "%s of %s %s by %s: %s%s",
			d.Operation, d.Kind, types.NamespacedName{Namespace: d.Namespace, Name: d.Name}, d.User, d.Message, more)
	}
}

// object finds what a denial is an event of: the guarding object, or, where a label guards, the object that has it.
func (e *Events) object(ctx context.Context, d Decision) runtime.Object {
	kind, name, named := strings.Cut(d.Guard, " ")
	if !named {
		kind, _, _ = strings.Cut(d.Kind, ".")
		return &corev1.ObjectReference{Kind: kind, Namespace: d.Namespace, Name: d.Name, UID: types.UID(d.UID)}
	}
	key := client.ObjectKey{Name: name}
	if namespace, in, cut := strings.Cut(name, "/"); cut {
		key = client.ObjectKey{Namespace: namespace, Name: in}
	}
	for _, version := range e.Scheme.PrioritizedVersionsForGroup(v1alpha1.GroupName) {
		made, err := e.Scheme.New(version.WithKind(kind))
		if err != nil {
			continue
		}
		object, ok := made.(client.Object)
		if ok && e.Client.Get(ctx, key, object) == nil {
			return object
		}
	}
	return nil
}
