package cli

import (
	"context"
	"encoding/json"
	"fmt"
	"slices"
	"sort"
	"strings"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/holdfast-io/holdfast/api/apps/v1beta1"
	"github.com/holdfast-io/holdfast/internal/apps/sidecarset/inject"
	"github.com/holdfast-io/holdfast/internal/pod"
	"github.com/holdfast-io/holdfast/internal/workload"
	"github.com/holdfast-io/holdfast/internal/workload/inplace"
)

// givenFields are the fields of a SidecarSet's spec that make up a revision: what pods are given, and how it is called.
func givenFields() []string {
	return []string{"initContainers", "containers", "volumes", "imagePullSecrets", "patchPodMetadata", customVersion}
}

const customVersion = "customVersion"

// containers is what pods are given, in the shape of a pod template.
func (w Workload) containers() map[string]any {
	spec := map[string]any{}
	for _, field := range givenFields() {
		if value, found := w.at("spec." + field); found {
			spec[field] = value
		}
	}
	return map[string]any{"spec": spec}
}

// fromContainers reads what a ControllerRevision keeps of a SidecarSet.
func fromContainers(w Workload, cr *appsv1.ControllerRevision) (Revision, error) {
	var data struct {
		Spec map[string]any `json:"spec"`
	}
	if err := json.Unmarshal(cr.Data.Raw, &data); err != nil {
		return Revision{}, fmt.Errorf("read the containers in controllerrevision/%s: %w", cr.Name, err)
	}
	delete(data.Spec, "$patch")
	if version := cr.Labels[v1beta1.SidecarSetCustomVersion]; version != "" && data.Spec != nil {
		data.Spec[customVersion] = version
	}
	return Revision{
		Name: cr.Name, Hash: strings.TrimPrefix(cr.Name, w.Object.GetName()+"-"), Number: cr.Revision,
		Created: cr.CreationTimestamp, Cause: cr.Annotations[changeCause], Template: map[string]any{"spec": data.Spec},
	}, nil
}

func specOf(template map[string]any) map[string]any {
	spec, _ := template["spec"].(map[string]any)
	return spec
}

// revisionSelector picks the ControllerRevisions that may be of a workload: those of a SidecarSet are in the operator's own
// namespace, whatever that is called.
func (w Workload) revisionSelector() labels.Selector {
	if w.Kind.Injects {
		return labels.SelectorFromSet(labels.Set{v1beta1.SidecarSetName: w.Object.GetName()})
	}
	return labels.Everything()
}

// isGiven tells whether a pod has the containers of a SidecarSet.
func isGiven(w Workload, p *corev1.Pod) bool { return inject.Has(p, w.Object.GetName()) }

// record is what a pod says of a SidecarSet.
func record(w Workload, p *corev1.Pod) inject.Record {
	return inject.Read(p, v1beta1.SidecarSetHash)[w.Object.GetName()]
}

// readGiven fills Pods with those that have the containers of a SidecarSet, and those that it selects and that lack them. Each
// pod's label of its revision is given that of what it was given.
func (s *Snapshot) readGiven(ctx context.Context, from client.Reader) error {
	selector, err := s.Workload.selector()
	if err != nil {
		return err
	}
	spaces, err := s.selectedNamespaces(ctx, from)
	if err != nil {
		return err
	}
	var list corev1.PodList
	if err := from.List(ctx, &list, client.MatchingLabelsSelector{Selector: selector}); err != nil {
		return fmt.Errorf("list the pods of %s: %w", s.Workload.ref(), err)
	}
	for i := range list.Items {
		p := &list.Items[i]
		given := isGiven(s.Workload, p)
		if !spaces(p.Namespace) || !given && !couldBeGiven(s.Workload, p) {
			continue
		}
		own := p.DeepCopy() // it may be a cache's
		for _, key := range []string{v1beta1.ControllerRevisionHash, podTemplateHashLabel, appsv1.ControllerRevisionHashLabelKey} {
			delete(own.Labels, key)
		}
		if given {
			metav1.SetMetaDataLabel(&own.ObjectMeta, appsv1.ControllerRevisionHashLabelKey, record(s.Workload, p).ControllerRevision)
		}
		s.Pods = append(s.Pods, *own)
	}
	sort.Slice(s.Pods, func(i, j int) bool {
		a, b := &s.Pods[i], &s.Pods[j]
		return a.Namespace < b.Namespace || a.Namespace == b.Namespace && a.Name < b.Name
	})
	return nil
}

// couldBeGiven tells whether a pod without the containers is of a sort that is given any.
func couldBeGiven(w Workload, p *corev1.Pod) bool {
	_, mirror := p.Annotations[corev1.MirrorPodAnnotationKey]
	_, pulls := p.Labels[workload.PullFor]
	canary := p.Annotations[v1beta1.SidecarSetBase] == w.Object.GetName() // it has the canary's in their place
	return pod.Active(p) && !mirror && !pulls && !canary && !slices.Contains(inject.Spared("holdfast-system"), p.Namespace)
}

// selectedNamespaces tells of a namespace whether the set is meant for it.
func (s *Snapshot) selectedNamespaces(ctx context.Context, from client.Reader) (func(string) bool, error) {
	w := s.Workload
	if only := w.text("spec.namespace"); only != "" { // v1alpha1
		return func(name string) bool { return name == only }, nil
	}
	var given *metav1.LabelSelector
	w.decode("spec.namespaceSelector", &given)
	if given == nil {
		return func(string) bool { return true }, nil
	}
	selector, err := metav1.LabelSelectorAsSelector(given)
	if err != nil {
		return nil, fmt.Errorf("read spec.namespaceSelector of %s: %w", w.ref(), err)
	}
	var list corev1.NamespaceList
	if err := from.List(ctx, &list, client.MatchingLabelsSelector{Selector: selector}); err != nil {
		return nil, fmt.Errorf("list the namespaces of %s: %w", w.ref(), err)
	}
	names := map[string]bool{}
	for i := range list.Items {
		names[list.Items[i].Name] = true
	}
	return func(name string) bool { return names[name] }, nil
}

// givenChange says how a pod got to the containers that it has, or what keeps it from the newest.
func givenChange(s Snapshot, p *corev1.Pod) Change {
	name := s.Workload.Object.GetName()
	switch {
	case p.DeletionTimestamp != nil:
		change, _ := leaving(s, p)
		return change
	case !isGiven(s.Workload, p):
		return lacking(s.Workload, p)
	}
	if own, found := revisionOf(p, s.Revisions); found && !own.Update || !found {
		if fixed(p, name) {
			return heldChange(Held{Reason: string(v1beta1.HeldByInPlaceOnly), Message: whyFixed(s.Workload)})
		}
	}
	all := inplace.ReadSidecars(p)
	state, changed := all[name]
	if changed {
		if waits := (inplace.Sidecars{name: state}).Waits(p); waits != "" {
			return Change{State: ChangeUpdating, Reason: "Update", Message: "updating in place: " + waits, Since: &state.UpdateTimestamp}
		}
	}
	if change, held := heldBack(s, p); held {
		return change
	}
	if change, late := behind(s, p); late {
		return change
	}
	if changed {
		return Change{State: ChangeInPlace, Since: &state.UpdateTimestamp}
	}
	return Change{State: ChangeCreated, Since: &p.CreationTimestamp}
}

// lacking says why a pod has none of the containers.
func lacking(w Workload, p *corev1.Pod) Change {
	const reason = "NotInjected"
	why := "created while nobody could give it any"
	created := w.Object.GetCreationTimestamp()
	paused, _ := w.at("spec.injectionStrategy.paused")
	switch {
	case p.CreationTimestamp.Before(&created):
		why = "the pod is older than the set"
	case paused == true:
		why = "spec.injectionStrategy.paused is true"
	}
	return Change{State: ChangeWaiting, Reason: reason, Message: "not injected: " + why}
}

// fixed reports whether the pod says that it cannot get the newest revision in place.
func fixed(p *corev1.Pod, set string) bool {
	c := pod.Condition(p, v1beta1.SidecarSetUpgradable)
	follows := map[string]bool{}
	if c == nil || c.Status != corev1.ConditionFalse || json.Unmarshal([]byte(c.Message), &follows) != nil {
		return false
	}
	can, told := follows[set]
	return told && !can
}

// whyFixed is what the set says of pods that cannot get its newest revision in place.
func whyFixed(w Workload) string {
	for _, held := range w.Held {
		if held.Reason == string(v1beta1.HeldByInPlaceOnly) && held.Message != "" {
			return held.Message
		}
	}
	return "only images can change in a pod that is there; whoever deletes it gets a new one with the newest revision"
}
