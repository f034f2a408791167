package operator

import (
	"context"
	"fmt"
	"os"
	"slices"

	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/client-go/metadata"
	"k8s.io/client-go/tools/record"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/manager"

	"github.com/holdfast-io/holdfast/internal/admission"
	"github.com/holdfast-io/holdfast/internal/disruption"
	"github.com/holdfast-io/holdfast/internal/policy"
	"github.com/holdfast-io/holdfast/internal/policy/breakglass"
	"github.com/holdfast-io/holdfast/internal/policy/cascade"
	"github.com/holdfast-io/holdfast/internal/reconcile"
)

// AccountName is the operator's service account.
const AccountName = "holdfast-operator"

// guards are what the rooms of the guards share: one gate for admission and for our own controllers, one journal.
type guards struct {
	gate    *policy.Gate
	glass   *breakglass.Keeper
	counter *cascade.Counter
	// asked tells whether everybody else asks the gate, too.
	asked *admission.Asked
}

// guards makes what decides, for the parts that run. It adds to deps what the other rooms ask.
func (p *process) guards(d *Deps, recorder record.EventRecorder) error {
	figures, err := policy.NewMetrics(p.metrics)
	if err != nil {
		return fmt.Errorf("register the metrics of the guards: %w", err)
	}
	uses, err := breakglass.NewMetrics(p.metrics)
	if err != nil {
		return fmt.Errorf("register the metrics of break-glass: %w", err)
	}
	heads, err := metadata.NewForConfig(p.conn.client("protection", 100, 200))
	if err != nil {
		return fmt.Errorf("make the client of the deletion protection: %w", err)
	}
	door := &cascade.Door{Client: d.Client, Live: d.Live}
	glass := breakglass.New(breakglass.Deps{
		Client: d.Client, Live: d.Live, Clock: d.Clock, Tell: door.Open, Recorder: recorder, Metrics: uses,
	})
	journal := policy.NewJournal(policy.NewStore(d.Client, d.SystemNamespace), figures, d.Clock, d.Log.WithName("guards"),
		p.replica(), glass.Used, policy.Denials(recorder))
	d.guards = &guards{
		gate:    &policy.Gate{Journal: journal, Clock: d.Clock, Account: d.scope().Account},
		glass:   glass,
		counter: &cascade.Counter{Metadata: heads, Live: d.Admission},
		asked:   &admission.Asked{Reader: d.Live, Name: ConfigurationName, Clock: d.Clock},
	}
	if !slices.ContainsFunc(p.on, func(room Room) bool { return room.Name == podGuard().Name }) {
		d.guards.asked.Off = "the operator's part podguard is switched off (--enable, --disable): it lets everything pass"
	}
	for _, room := range p.on {
		if room.Name == breakGlass().Name {
			d.guards.gate.Opener = glass
		}
		if room.Guard != nil {
			d.guards.gate.Guards = append(d.guards.gate.Guards, room.Guard(*d))
		}
	}
	d.Guard = d.guards.gate
	return nil
}

// replica is the name of this process in what it writes.
func (p *process) replica() string {
	if p.opts.Identity != "" {
		return p.opts.Identity
	}
	host, err := os.Hostname()
	if err != nil {
		return "operator"
	}
	return host
}

// asked tells whether the API server asks our webhooks of pods; nil: nobody looks, as for the manifests.
func (d Deps) asked() *admission.Asked {
	if d.guards == nil {
		return nil
	}
	return d.guards.asked
}

// scope is whom and where the guards of pods leave alone.
func (d Deps) scope() policy.Scope {
	return policy.Scope{
		SystemNamespace: d.SystemNamespace, Account: "system:serviceaccount:" + d.SystemNamespace + ":" + AccountName,
	}
}

// podGuard is the webhook that all guards of pods are asked through.
func podGuard() Room {
	return Room{
		Name: "podguard",
		Help: "asks the guards before a pod is deleted, evicted, changed or resized, whoever does it",
		Hooks: func(d Deps) []admission.Hook {
			pods := &policy.Pods{Live: d.Admission}
			if d.guards != nil {
				pods.Gate = d.guards.gate
			}
			return pods.Hooks(d.scope())
		},
	}
}

// cascades is the protection of labelled objects.
func cascades() Room {
	return Room{
		Name: "cascade",
		Help: "keeps labelled objects from being deleted while others would go with them",
		Hooks: func(d Deps) []admission.Hook {
			keeper := &cascade.Keeper{Clock: d.Clock}
			if d.guards != nil {
				keeper.Counter, keeper.Opener, keeper.Journal = d.guards.counter, d.guards.gate.Opener, d.guards.gate.Journal
			}
			return keeper.Hooks()
		},
		Policies: cascade.Policies,
	}
}

// breakGlass is the way through the guards in an emergency.
func breakGlass() Room {
	return Room{
		Name: "breakglass",
		Help: "lets named people through named guards until it expires, with a trace",
		CRDs: []string{"breakglasses.policy.kruise.io"},
		Start: func(_ context.Context, d Deps) error {
			if err := d.Manager.Add(manager.RunnableFunc(d.guards.glass.Run)); err != nil {
				return fmt.Errorf("run break-glass: %w", err)
			}
			return reconcile.Register(d.Manager, reconcile.New(d.Client, d.guards.glass, d.Frame("breakglass")))
		},
		Hooks: func(Deps) []admission.Hook { return breakglass.Hooks() },
	}
}

// Policies are what the API server enforces by itself for the parts, so that it holds while no operator answers; nil names:
// of all.
func Policies(parts ...string) []client.Object {
	opts := Options{Enable: parts}
	on, _, err := opts.parts(Rooms())
	if err != nil {
		return nil
	}
	return policiesOf(on)
}

func policiesOf(rooms []Room) []client.Object {
	var out []client.Object
	for _, room := range rooms {
		if room.Policies != nil {
			out = append(out, room.Policies()...)
		}
	}
	return out
}

var _ disruption.Asker = &policy.Gate{}

// Hooks are the webhooks of the parts, for the manifests; nil names: of all.
func Hooks(scheme *runtime.Scheme, systemNamespace string, parts ...string) []admission.Hook {
	opts := Options{Enable: parts}
	on, _, err := opts.parts(Rooms())
	if err != nil {
		return nil
	}
	return hooksOf(on, Deps{Scheme: scheme, SystemNamespace: systemNamespace})
}
