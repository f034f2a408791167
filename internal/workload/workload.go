// Package workload is the engine under every workload: it observes the pods of a set, lists what differs from what is
// wanted, keeps what may be changed now - each change held back with its reason - and makes those changes.
package workload

import (
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"sigs.k8s.io/controller-runtime/pkg/client"

	appsv1beta1 "github.com/holdfast-io/holdfast/api/apps/v1beta1"
	"github.com/holdfast-io/holdfast/internal/workload/inplace"
	"github.com/holdfast-io/holdfast/internal/workload/order"
)

// Source is what a workload brings to be observed: whose pods, and how new ones look.
type Source struct {
	Owner    client.Object
	Kind     schema.GroupVersionKind
	Selector labels.Selector
	// Labels of the selector, put on revisions and claims so that they can be found by it.
	Labels   map[string]string
	Template *corev1.PodTemplateSpec
	Claims   []corev1.PersistentVolumeClaim
	// CurrentRevision is the revision that the status names as the one before this update.
	CurrentRevision string
	CollisionCount  *int32
	HistoryLimit    *int32
	MinReady        time.Duration
	// Adopts tells of a pod without a controller, which the selector matches, whether it may belong to the owner; nil: any.
	Adopts func(p *corev1.Pod) bool
	// NamedClaims finds the claims of the slots by their names, <template>-<owner>-<key>, whoever owns them, and leaves to the
	// room who owns them, and when they grow and go.
	NamedClaims bool
}

// Set is a workload as the engine decides about it. It holds no client.
type Set struct {
	// Slots are the places that should hold a pod.
	Slots  []Slot
	Limits Limits
	// First orders the pods to be changed: the first is changed first. Scatter then spreads them.
	First   order.Less
	Scatter appsv1beta1.UpdateScatterStrategy
	// Change says how a pod gets to another revision.
	Change appsv1beta1.PodUpdatePolicyType
	// Grace is how long a pod is not ready before it is changed in place.
	Grace time.Duration
	// Hold keeps every pod at its revision, for this reason and with this message; "" holds none.
	Hold        appsv1beta1.HeldReason
	HoldMessage string
	// Named pods are to go, whatever else is true of them.
	Named map[string]bool
	// Lifecycle hooks of the pods.
	Lifecycle *appsv1beta1.Lifecycle
	// ReuseClaims gives the claims of a pod that is gone to the pod that takes its place.
	ReuseClaims bool
	// IgnoreLeaving does not count pods that wait for their preDelete hook.
	IgnoreLeaving bool
	// Claims are the templates of the volume claims that each instance has.
	Claims []corev1.PersistentVolumeClaim
	// Gates that new pods get beyond those of their template.
	Gates []corev1.PodConditionType
	// Place tells which slot a pod holds, by the slot's key; a key that no slot has makes the pod surplus. nil: the slots
	// are free.
	Place func(p *corev1.Pod) string
	// PodName is the fixed name of the pod of a slot; nil: names are chosen.
	PodName func(key string) string
	// Shape finishes a new pod for the slot that it is born for; nil: pods of free slots are all alike.
	Shape func(p *corev1.Pod, key string)
	// ShapeClaim finishes a new claim of a slot; nil: it is as CloneSet has it, owned by the set.
	ShapeClaim func(c *corev1.PersistentVolumeClaim, key string)
	// Ordered fills the slots in their order, each when all before it are available, and empties them from the last, one at
	// a time.
	Ordered bool
	// Ended says what a pod counts as that will not run again.
	Ended Ended
	// Bury reports whether a pod that has ended may be deleted already; nil: any may.
	Bury func(p *corev1.Pod) bool
}

// Ended is what a pod counts as that will not run again.
type Ended int

// What it may count as.
const (
	// ReplaceEnded: it is deleted, and its slot is filled again.
	ReplaceEnded Ended = iota
	// KeepEnded: it holds its slot for good. The kind's room decides what becomes of it.
	KeepEnded
)

// Slot is a place that should hold a pod.
type Slot struct {
	// Key names the place: an ordinal, a node. "" is a free slot: any pod of the revision can hold it. The slots of a set
	// are all free, or all have keys of their own.
	Key      string
	Revision string
	// Hold keeps an empty slot with a key empty, for this reason and with this message; "" does not.
	Hold    appsv1beta1.HeldReason
	Message string
}

// Limits are how much may be missing, or too much, at a time.
type Limits struct {
	// Unavailable is how many of the slots may be without an available pod because of us.
	Unavailable int
	// Surge is how many pods there may be beyond the slots.
	Surge int
	// Starting is how many pods that are not available yet stop the creation of more; negative: no such limit.
	Starting int
}

// Path is how a pod of one revision becomes one of another.
type Path struct {
	Delta inplace.Delta
	// Blocked are the fields that cannot be changed in place; none: all can.
	Blocked []string
}

// Verb is what a change does.
type Verb string

// The verbs.
const (
	// Create makes a pod for a slot.
	Create Verb = "create"
	// Delete takes a pod away that is too much, or that somebody named.
	Delete Verb = "delete"
	// Replace takes a pod of an old revision away and makes one of the new.
	Replace Verb = "replace"
	// Update changes a pod in place.
	Update Verb = "update"
	// Refresh brings a pod's labels and readiness gates up to date with what it is.
	Refresh Verb = "refresh"
)

// Change is one difference between what is and what should be.
type Change struct {
	Verb     Verb
	Member   *Member
	Revision string
	// Key of the slot, where slots have keys.
	Key string
	// Beside replaces the pod by one that starts beside it and takes over when it is available.
	Beside bool
	// Why says what the change is for, for events.
	Why string
	// Hold is why the change must wait whatever the limits say; "" when only limits count.
	Hold    appsv1beta1.HeldReason
	Message string
	// Spare marks the deletion of a pod beyond the slots, which a running update may still need as its surge.
	Spare bool
}

// Held is a change that waits, and why.
type Held struct {
	Change  Change
	Reason  appsv1beta1.HeldReason
	Message string
	// Throttled says that a guard lets the pod go later: too many went lately.
	Throttled bool
}

// StandIn is the annotation of a pod that was made beyond the slots while others are changed in place; its value is the
// revision of that change. Without it nobody could tell, at the end, which pods were there before.
const StandIn = "holdfast.io/stand-in"

// Birth is a pod to be made: its id, the key of its slot if that has one, and its revision.
type Birth struct {
	ID       string
	Key      string
	Revision string
	// StandIn marks a pod beyond the slots that is to go again when others have been changed in place.
	StandIn bool
}

// Step is a change of an existing pod, with how far it may go now.
type Step struct {
	Change Change
	Update inplace.Step
	// Mark moves the pod to this lifecycle state instead of, or together with, the change.
	Mark appsv1beta1.LifecycleState
	// Then is the id of the pod that takes the place of a replaced one; "" leaves that to a later pass.
	Then string
	// Conditions are the readiness gates to be set.
	Conditions []corev1.PodCondition
}

// Plan is what is to be done now, and what is not, and why.
type Plan struct {
	Births []Birth
	Steps  []Step
	Held   []Held
	// Again is when time alone will allow more; 0: never.
	Again time.Duration
	// Spent claims belong to instances that are gone for good.
	Spent []*corev1.PersistentVolumeClaim
	// Instances are the ids of pods that wait for a node and may lack a claim.
	Instances []string
	// Set that the plan is for: how pods are born and changed.
	Set Set
}
