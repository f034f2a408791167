package operator

import (
	"context"
	"fmt"
	"net"
	"os"

	"github.com/holdfast-io/holdfast/internal/admission"
	"github.com/holdfast-io/holdfast/internal/disruption"
	"github.com/holdfast-io/holdfast/internal/policy/poddeletionflowcontrol"
)

func podDeletionFlowControl() Room {
	const name = "poddeletionflowcontrol"
	return Room{
		Name: name,
		Help: "lets no more pods be deleted in a time than PodDeletionFlowControls allow",
		CRDs: []string{"poddeletionflowcontrols.policy.kruise.io", "poddeletionledgers.policy.kruise.io"},
		Start: func(_ context.Context, d Deps) error {
			keeper := flowControl(d)
			err := d.Manager.Add(&untilStop{func(ctx context.Context) { keeper.Run(ctx) }})
			if err != nil {
				return fmt.Errorf("run the limits on deletions: %w", err)
			}
			return register(d, name, keeper)
		},
		Hooks: func(d Deps) []admission.Hook { return poddeletionflowcontrol.Hooks(d.Scheme) },
		Guard: func(d Deps) disruption.Guard { return newFlowControl(d) },
	}
}

// flowControl is the process's one keeper of the limits, among the guards.
func flowControl(d Deps) *poddeletionflowcontrol.Keeper {
	for _, guard := range d.guards.gate.Guards {
		if keeper, ok := guard.(*poddeletionflowcontrol.Keeper); ok {
			return keeper
		}
	}
	return newFlowControl(d)
}

func newFlowControl(d Deps) *poddeletionflowcontrol.Keeper {
	keeper := poddeletionflowcontrol.New(poddeletionflowcontrol.Deps{
		Client: d.Client, Admission: d.Admission, Informers: d.Manager.GetCache(), Clock: d.Clock,
		Log: d.Log.WithName("deletions"), Metrics: poddeletionflowcontrol.NewMetrics(d.Figures), SystemNamespace: d.SystemNamespace,
		Identity: d.Identity, Address: d.PeerAddress, Caller: d.Peers, Asked: d.asked(),
	})
	d.Peers.Handle(poddeletionflowcontrol.PeerPath, keeper)
	return keeper
}

// peerAddress is where other replicas reach this one; "": nowhere. A server that listens on every address is reached at the
// Pod's.
func (p *process) peerAddress() string {
	if p.admission == nil {
		return ""
	}
	host, port, err := net.SplitHostPort(p.admission.Addr().String())
	if err != nil {
		return ""
	}
	if ip := net.ParseIP(host); ip == nil || ip.IsUnspecified() {
		host = os.Getenv("POD_IP")
	}
	if host == "" {
		return ""
	}
	return net.JoinHostPort(host, port)
}
