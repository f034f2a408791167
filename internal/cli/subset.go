package cli

import (
	"context"
	"fmt"
	"strings"

	appsv1 "k8s.io/api/apps/v1"
	"k8s.io/apimachinery/pkg/api/meta"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/holdfast-io/holdfast/api/apps/v1beta1"
)

// readSubsets fills Pods with those of the workloads of a workload's subsets. Each pod's label of its revision is given
// the revision of the whole, which the workload of its subset knows.
func (s *Snapshot) readSubsets(ctx context.Context, from client.Reader) error {
	parts, err := s.subsetWorkloads(ctx, from)
	if err != nil {
		return err
	}
	owners := map[types.UID]bool{}
	of := map[types.UID]Workload{}
	for _, part := range parts {
		part := Snapshot{Workload: part}
		theirs, err := part.readRevisions(ctx, from) // a Deployment's pods belong to its ReplicaSets
		if err != nil {
			return err
		}
		for uid := range theirs {
			owners[uid], of[uid] = true, part.Workload
		}
	}
	if err := s.readPods(ctx, from, owners); err != nil {
		return err
	}
	for i := range s.Pods {
		pod := &s.Pods[i]
		part := of[controllerOf(pod).UID]
		revision := part.Object.GetLabels()[v1beta1.ControllerRevisionHash]
		if !isUpdated(part, pod.Labels) {
			revision = s.Workload.text("status.currentRevision")
		}
		pod.Labels[appsv1.ControllerRevisionHashLabelKey] = revision
		delete(pod.Labels, v1beta1.ControllerRevisionHash)
		delete(pod.Labels, podTemplateHashLabel)
	}
	return nil
}

// isUpdated tells whether a pod with these labels is of the newest revision of its workload.
func isUpdated(w Workload, labels map[string]string) bool {
	if w.number(w.Kind.Updated, 0) >= w.number(w.Kind.Total, 0) {
		return true
	}
	update, own := w.text("status.updateRevision"), labels[appsv1.ControllerRevisionHashLabelKey]
	return own != "" && (own == update || strings.HasSuffix(update, "-"+own))
}

// subsetWorkloads lists the workloads of the subsets, of whatever kind they are.
func (s *Snapshot) subsetWorkloads(ctx context.Context, from client.Reader) ([]Workload, error) {
	var all []Workload
	for _, kind := range kinds() {
		if !kind.Scalable || kind.Parts != "" {
			continue
		}
		found, err := s.ownedOf(ctx, from, kind)
		if err != nil {
			return nil, err
		}
		all = append(all, found...)
	}
	return all, nil
}

func (s *Snapshot) ownedOf(ctx context.Context, from client.Reader, kind Kind) ([]Workload, error) {
	objects := &unstructured.UnstructuredList{}
	objects.SetAPIVersion(kind.Group + "/" + kind.Versions[0])
	objects.SetKind(kind.Kind + "List")
	err := from.List(ctx, objects, client.InNamespace(s.Workload.Object.GetNamespace()), client.HasLabels{v1beta1.SubsetName})
	if meta.IsNoMatchError(err) {
		return nil, nil // the cluster does not have the kind
	}
	if err != nil {
		return nil, fmt.Errorf("list the %s of %s: %w", kind.Plural, s.Workload.ref(), err)
	}
	var all []Workload
	for i := range objects.Items {
		if controlledBy(&objects.Items[i], map[types.UID]bool{s.Workload.uid(): true}) {
			all = append(all, newWorkload(kind, &objects.Items[i]))
		}
	}
	return all, nil
}

// keptBySubsets is the number of pods that the partitions of subsets keep.
func (w Workload) keptBySubsets() int64 {
	var parts []struct {
		Partition int64 `json:"partition"`
	}
	w.decode(w.Kind.Parts, &parts)
	kept := int64(0)
	for _, part := range parts {
		kept += part.Partition
	}
	return min(kept, w.desired())
}

// podTemplate is the pod template inside a template: itself, as a rule, or that of the one workload which it is a template of.
func podTemplate(template map[string]any) map[string]any {
	for _, key := range podTemplateAt(template) {
		template, _ = template[key].(map[string]any)
	}
	return template
}

// podTemplateAt is the path from a template to the pod template inside.
func podTemplateAt(template map[string]any) []string {
	for key, value := range template {
		inner, isObject := value.(map[string]any)
		if !isObject || !strings.HasSuffix(key, "Template") {
			continue
		}
		spec, _ := inner["spec"].(map[string]any)
		if _, found := spec["template"].(map[string]any); found {
			return []string{key, "spec", "template"}
		}
	}
	return nil
}
