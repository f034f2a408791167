package main

import (
	"context"
	"errors"
	"fmt"
	"time"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/rest"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/holdfast-io/holdfast/e2e/cluster"
)

// replicas of the operator: two can be killed, and admission goes on.
const replicas = 3

// theatre is the cluster that every scenario is played on.
type theatre struct {
	*cluster.Local

	config *rest.Config
	client client.WithWatch
	heard  *warnings
}

// startTheatre starts the cluster and installs Holdfast into it, in pods on its real nodes.
func startTheatre(ctx context.Context, o options) (*theatre, error) {
	t := &theatre{Local: &cluster.Local{Bin: o.bin, Dir: o.dir, Nodes: o.nodes, Simulated: o.simulated}, heard: &warnings{}}
	if t.Running(ctx) {
		cluster.Say("A Kubernetes runs on %s already: taking that one.", o.dir)
	} else {
		cluster.Say("Starting a real Kubernetes with %d real nodes and %d simulated ones.", o.nodes, o.simulated)
		if err := t.Up(ctx); err != nil {
			return nil, err
		}
	}
	if err := t.prepare(ctx); err != nil {
		return nil, errors.Join(err, t.close(o))
	}
	return t, nil
}

func (t *theatre) prepare(ctx context.Context) (err error) {
	if t.config, err = t.Config(); err != nil {
		return err
	}
	t.config.WarningHandlerWithContext = t.heard
	if t.client, err = cluster.NewClient(t.config); err != nil {
		return err
	}
	if t.installed(ctx) {
		cluster.Say("Holdfast runs there already with %d replicas: taking it as it is.", replicas)
		return nil
	}
	cluster.Say("Installing Holdfast: %d replicas of the operator, in pods.", replicas)
	return t.Holdfast(ctx, "install", "--replicas", fmt.Sprint(replicas), "--timeout", "3m")
}

// installed reports whether the operator of a former run is there and ready.
func (t *theatre) installed(ctx context.Context) bool {
	var operator appsv1.Deployment
	err := t.client.Get(ctx, client.ObjectKey{Namespace: systemNamespace, Name: "holdfast-operator"}, &operator)
	return err == nil && operator.Status.ReadyReplicas == replicas
}

// close stops the cluster and removes its data, unless the user wants to look around.
func (t *theatre) close(o options) error {
	if o.keep {
		cluster.Say("The cluster goes on running: export KUBECONFIG=%s", t.Kubeconfig())
		return nil
	}
	return t.Discard()
}

// playAll plays the scenarios one after the other; one that fails does not keep the next from being played.
func (t *theatre) playAll(ctx context.Context, chosen []scenario, limit time.Duration) []*record {
	var records []*record
	for _, s := range chosen {
		if ctx.Err() != nil {
			break
		}
		r := &record{scenario: s}
		records = append(records, r)
		cluster.Say("== %s: %s", s.name, s.title)
		begun := time.Now()
		r.err = t.playOne(ctx, s, r, limit)
		r.took = time.Since(begun)
		if r.err != nil {
			cluster.Saw("BROKEN OFF: %v", r.err)
		}
	}
	return records
}

// playOne plays one scenario in a namespace of its own, which goes afterwards.
func (t *theatre) playOne(ctx context.Context, s scenario, r *record, limit time.Duration) error {
	playing, cancel := context.WithTimeout(ctx, limit)
	defer cancel()
	p := &play{theatre: t, record: r, namespace: "e2e-" + s.name}
	namespace := &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: p.namespace}}
	if err := t.client.Create(playing, namespace); err != nil {
		return fmt.Errorf("make the namespace %s: %w", p.namespace, err)
	}
	err := s.play(playing, p)
	// Tidied up also when the time of the play is over.
	for _, clean := range p.cleanups {
		err = errors.Join(err, clean(ctx))
	}
	return errors.Join(err, p.remove(ctx, namespace))
}
