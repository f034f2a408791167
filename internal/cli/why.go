package cli

import (
	"context"
	"fmt"
	"slices"
	"sort"

	"github.com/spf13/cobra"
	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/cli-runtime/pkg/genericiooptions"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/holdfast-io/holdfast/internal/pod"
)

const (
	mostEvents = 5000 // what is read of a namespace's warnings at most
	mostNodes  = 50   // what is read of the nodes of pods that are not ready at most
)

// whyOptions are the flags of why.
type whyOptions struct {
	*session
	output string
}

func newWhy(streams genericiooptions.IOStreams) *cobra.Command {
	o := &whyOptions{session: newSession(streams)}
	cmd := &cobra.Command{
		Use:   "why POD | NAME | TYPE/NAME | TYPE NAME",
		Short: "Say what a pod or a workload waits for, and what to do",
		Long: `Say what a pod or a workload waits for, the first cause first: what it is, why, and
what to do. It works on every cluster, for native workloads and plain pods too.`,
		Example: `  kubectl holdfast why cloneset/web
  kubectl holdfast why web-x7k2p
  kubectl holdfast why deploy/api -o json`,
		ValidArgsFunction: o.completeWhy,
	}
	cmd.RunE = o.run(o.why)
	cmd.Flags().StringVarP(&o.output, "output", "o", "", "json or yaml")
	o.flags.AddFlags(cmd.Flags())
	return cmd
}

func (o *whyOptions) why(ctx context.Context, args []string) error {
	if err := checkOutput(o.output); err != nil {
		return err
	}
	asked, err := parse(args)
	if err != nil {
		return err
	}
	if len(asked) != 1 || asked[0].Name == "" {
		return usage("why takes one pod or workload: POD, TYPE/NAME or TYPE NAME")
	}
	diagnosis, err := o.diagnose(ctx, asked[0])
	if err != nil {
		return err
	}
	if o.output != "" {
		return printObject(o.Out, o.output, diagnosis)
	}
	printLines(o.Out, diagnosis.text())
	return nil
}

func (o *whyOptions) diagnose(ctx context.Context, n named) (Diagnosis, error) {
	if n.Pod || !n.Typed {
		p := &corev1.Pod{}
		err := o.client.Get(ctx, client.ObjectKey{Namespace: o.namespace, Name: n.Name}, p)
		if err == nil {
			return o.diagnosePod(ctx, p)
		}
		if n.Pod && apierrors.IsNotFound(err) {
			return Diagnosis{}, &Failure{
				Code: CodeNotFound, Err: err,
				What: fmt.Sprintf("pod %q is not in namespace %q", n.Name, o.namespace), Fix: "another namespace is named with -n",
			}
		}
		if n.Pod || !apierrors.IsNotFound(err) {
			return Diagnosis{}, fmt.Errorf("get pod/%s: %w", n.Name, err)
		}
	}
	f, err := o.find(ctx, n)
	if err != nil {
		return Diagnosis{}, err
	}
	s, err := o.snapshot(ctx, f)
	if err != nil {
		return Diagnosis{}, err
	}
	e, err := o.gather(ctx, s, s.Pods)
	if err != nil {
		return Diagnosis{}, err
	}
	return diagnose(e, o.now()), nil
}

// diagnosePod reads what a pod belongs to, and says what it waits for.
func (o *whyOptions) diagnosePod(ctx context.Context, p *corev1.Pod) (Diagnosis, error) {
	s, err := o.workloadOf(ctx, p)
	if err != nil {
		return Diagnosis{}, err
	}
	e, err := o.gather(ctx, s, []corev1.Pod{*p})
	if err != nil {
		return Diagnosis{}, err
	}
	d := diagnosePod(e, p, o.now())
	book, err := o.guardsOf(ctx, p.Namespace)
	if err != nil {
		return Diagnosis{}, err
	}
	d.Guards = book.of(p, o.ownerOf(ctx, p), o.now())
	return d, nil
}

// workloadOf reads the workload that controls a pod, itself or through a
// ReplicaSet; an empty snapshot when it is none that we know.
func (o *whyOptions) workloadOf(ctx context.Context, p *corev1.Pod) (Snapshot, error) {
	owner := controllerOf(p)
	if owner != nil && owner.Kind == "ReplicaSet" {
		rs := &appsv1.ReplicaSet{}
		err := o.client.Get(ctx, client.ObjectKey{Namespace: p.Namespace, Name: owner.Name}, rs)
		if err != nil {
			return Snapshot{}, o.lenient(err)
		}
		owner = metav1.GetControllerOfNoCopy(rs)
	}
	if owner == nil {
		return Snapshot{}, nil
	}
	group := schema.FromAPIVersionAndKind(owner.APIVersion, owner.Kind).Group
	at := slices.IndexFunc(kinds(), func(k Kind) bool { return k.Kind == owner.Kind && k.Group == group })
	if at < 0 {
		return Snapshot{}, nil
	}
	f, err := o.locate(kinds()[at], owner.Name)
	if err != nil {
		return Snapshot{}, o.lenient(err)
	}
	s, err := read(ctx, o.client, f)
	if err != nil {
		return Snapshot{}, o.lenient(err)
	}
	return s, nil
}

// lenient lets a diagnosis go on without what is gone or may not be read, and says so.
func (o *whyOptions) lenient(err error) error {
	if isForbidden(err) {
		fmt.Fprintln(o.ErrOut, "warning: the answer is less complete:", err)
		return nil
	}
	if apierrors.IsNotFound(err) || isMissing(err) {
		return nil
	}
	return err
}

// gather reads what explains the pods: warnings, claims, nodes.
func (o *whyOptions) gather(ctx context.Context, s Snapshot, about []corev1.Pod) (Evidence, error) {
	e := Evidence{Snapshot: s, Claims: map[string]corev1.PersistentVolumeClaim{}, Nodes: map[string]corev1.Node{}}
	namespace := o.namespace
	if s.Workload.Object != nil && s.Workload.Object.GetNamespace() == "" {
		namespace = "" // its pods are in any
	}
	var events corev1.EventList
	err := o.client.List(ctx, &events, client.InNamespace(namespace),
		client.MatchingFields{"type": corev1.EventTypeWarning}, client.Limit(mostEvents))
	if err = o.lenient(err); err != nil {
		return Evidence{}, fmt.Errorf("list the warnings of namespace %s: %w", namespace, err)
	}
	e.Events = events.Items
	sort.SliceStable(e.Events, func(i, j int) bool { return eventTime(e.Events[i]).Before(eventTime(e.Events[j])) })
	if namespace == "" {
		return e, o.gatherNodes(ctx, &e, about) // the pods' own workloads tell of their claims
	}
	var claims corev1.PersistentVolumeClaimList
	if err = o.client.List(ctx, &claims, client.InNamespace(namespace)); err == nil {
		e.Known = true
	} else if err = o.lenient(err); err != nil {
		return Evidence{}, fmt.Errorf("list the claims of namespace %s: %w", namespace, err)
	}
	for _, claim := range claims.Items {
		e.Claims[claim.Name] = claim
	}
	err = o.gatherNodes(ctx, &e, about)
	return e, err
}

// gatherNodes reads the nodes of pods that are not ready; without the right to, they count as healthy.
func (o *whyOptions) gatherNodes(ctx context.Context, e *Evidence, about []corev1.Pod) error {
	for i := range about {
		name := about[i].Spec.NodeName
		if _, known := e.Nodes[name]; known || name == "" || pod.Ready(&about[i]) || len(e.Nodes) >= mostNodes {
			continue
		}
		node := corev1.Node{}
		err := o.client.Get(ctx, client.ObjectKey{Name: name}, &node)
		switch {
		case err == nil:
			e.Nodes[name] = node
		case isForbidden(err):
			return o.lenient(err)
		case !apierrors.IsNotFound(err):
			return fmt.Errorf("get node %s: %w", name, err)
		}
	}
	return nil
}
