package operator

import (
	"context"

	"github.com/go-logr/logr"
	"github.com/prometheus/client_golang/prometheus"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/utils/clock"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/manager"

	"github.com/holdfast-io/holdfast/internal/admission"
	"github.com/holdfast-io/holdfast/internal/apps/cloneset"
	"github.com/holdfast-io/holdfast/internal/disruption"
	"github.com/holdfast-io/holdfast/internal/reconcile"
	"github.com/holdfast-io/holdfast/internal/workload"
)

// Deps is what the operator hands to its rooms.
type Deps struct {
	// Manager that controllers are registered with; see reconcile.Register.
	Manager manager.Manager
	// Client reads from the cache and writes to the API server, at the rate of --kube-api-qps.
	Client client.Client
	// Live reads from the API server itself, for the few questions that a cache must not answer.
	Live client.Reader
	// Admission reads and writes to the API server with connections of its own, so that no burst of the controllers keeps a
	// user's request waiting; for hooks only.
	Admission client.Client
	// Position of the cache behind Client.
	Position workload.Position
	// Guard is asked by every engine before it takes a pod away.
	Guard disruption.Asker
	// Figures are what rooms register metrics of their own with.
	Figures prometheus.Registerer
	// SystemNamespace is the operator's own.
	SystemNamespace string
	// Turns are shared by all controllers that change pods.
	Turns  *disruption.Turns
	Scheme *runtime.Scheme
	Clock  clock.WithTicker
	Log    logr.Logger
	// QPS and Burst are what Client may send, for rooms that pace themselves.
	QPS   float32
	Burst int
	// Frame are the options of the frame of the controller named name.
	Frame func(name string) reconcile.Options
	// Identity of this replica, for people.
	Identity string
	// Peers reaches the other replicas, and PeerAddress is where they reach this one; "" where they cannot.
	Peers       *admission.Peers
	PeerAddress func() string

	guards *guards
}

// workload is what the engine of a workload's room needs.
func (d Deps) workload() workload.Deps {
	return workload.Deps{Client: d.Client, Live: d.Live, Position: d.Position, Clock: d.Clock, Guard: d.Guard, Turns: d.Turns}
}

// Room is one part of the operator: a kind with its controller and its admission.
type Room struct {
	// Name of the part in --enable and --disable, and of its controller.
	Name string
	// Help says in half a sentence what the part keeps true.
	Help string
	// CRDs are the names of the definitions that the part serves.
	CRDs []string
	// Start registers the controllers; nil: the part has none.
	Start func(ctx context.Context, d Deps) error
	// Hooks are the part's webhooks. It is also called with nothing but a Scheme, to write the manifests: a hook may use
	// the other dependencies only when it is asked.
	Hooks func(d Deps) []admission.Hook
	// Guard of pods that the part is, asked in the order of the rooms; nil: it is none.
	Guard func(d Deps) disruption.Guard
	// Policies are admission policies that hold while the operator is away; nil: none.
	Policies func() []client.Object
}

// Rooms is the one list of what the operator does. Whoever adds a kind adds it here.
func Rooms() []Room {
	return []Room{
		cloneSet(), statefulSet(), advancedCronJob(), daemonSet(), broadcastJob(), sidecarSet(), unitedDeployment(),
		podUnavailableBudget(), podDeletionFlowControl(), // in this order: the permits of the latter are dear
		autoBudget(), podGuard(), cascades(), breakGlass(),
	}
}

func cloneSet() Room {
	return Room{
		Name: "cloneset",
		Help: "keeps the pods of CloneSets",
		CRDs: []string{"clonesets.apps.kruise.io"},
		Start: func(_ context.Context, d Deps) error {
			return register(d, "cloneset", cloneset.New(d.workload()))
		},
		Hooks: func(d Deps) []admission.Hook { return cloneset.Hooks(d.Scheme, d.Admission, d.Admission) },
	}
}

// watched is a controller that says what it looks at besides its own objects.
type watched[T client.Object] interface {
	reconcile.Room[T]
	Watches() []reconcile.Watch
}

// register has the manager run a controller in its frame.
func register[T client.Object](d Deps, name string, room watched[T]) error {
	return reconcile.Register(d.Manager, reconcile.New[T](d.Client, room, d.Frame(name)), room.Watches()...)
}
