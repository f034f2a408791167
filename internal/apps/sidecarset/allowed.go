package sidecarset

import (
	"context"
	"encoding/json"
	"fmt"
	"maps"
	"regexp"
	"slices"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	apiequality "k8s.io/apimachinery/pkg/api/equality"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/util/validation/field"
	"sigs.k8s.io/controller-runtime/pkg/client"

	appsv1beta1 "github.com/holdfast-io/holdfast/api/apps/v1beta1"
)

// Where the administrator says which annotations SidecarSets may write.
const (
	configuration = "kruise-configuration"
	whiteListKey  = "SidecarSet_PatchPodMetadata_WhiteList"
)

// whiteList is what the administrator allows.
type whiteList struct {
	Rules []struct {
		// Selector of SidecarSets by their labels; nil: all.
		Selector *metav1.LabelSelector `json:"selector,omitempty"`
		// AllowedAnnotationKeyExprs are regular expressions; some part of the key must match.
		AllowedAnnotationKeyExprs []string `json:"allowedAnnotationKeyExprs"`
	} `json:"rules"`
}

// allows reports whether the list lets the set write an annotation.
func (w *whiteList) allows(set *appsv1beta1.SidecarSet, key string) (bool, error) {
	for i, rule := range w.Rules {
		if rule.Selector != nil {
			selector, err := metav1.LabelSelectorAsSelector(rule.Selector)
			if err != nil {
				return false, fmt.Errorf("rules[%d].selector: %w", i, err)
			}
			if !selector.Matches(labels.Set(set.Labels)) {
				continue
			}
		}
		for j, text := range rule.AllowedAnnotationKeyExprs {
			expr, err := regexp.Compile(text)
			if err != nil {
				return false, fmt.Errorf("rules[%d].allowedAnnotationKeyExprs[%d]: %w", i, j, err)
			}
			if expr.MatchString(key) {
				return true, nil
			}
		}
	}
	return false, nil
}

// annotationsAreAllowed refuses annotations that the administrator has not allowed: whoever may write a SidecarSet could
// otherwise write what he likes on every pod.
func (v *validator) annotationsAreAllowed(ctx context.Context, old, set *appsv1beta1.SidecarSet) field.ErrorList {
	if len(set.Spec.PatchPodMetadata) == 0 ||
		old != nil && apiequality.Semantic.DeepEqual(old.Spec.PatchPodMetadata, set.Spec.PatchPodMetadata) {
		return nil
	}
	path := field.NewPath("spec", "patchPodMetadata")
	var config corev1.ConfigMap
	err := v.client.Get(ctx, types.NamespacedName{Namespace: v.namespace, Name: configuration}, &config)
	if client.IgnoreNotFound(err) != nil {
		return field.ErrorList{field.InternalError(path, fmt.Errorf("read ConfigMap %s/%s: %w", v.namespace, configuration, err))}
	}
	var list whiteList
	if text := config.Data[whiteListKey]; text != "" {
		if err := json.Unmarshal([]byte(text), &list); err != nil {
			return field.ErrorList{field.InternalError(path,
				fmt.Errorf("%s in ConfigMap %s/%s is no JSON of the form {\"rules\": [...]}: %w", whiteListKey, v.namespace, configuration, err))}
		}
	}
	var errs field.ErrorList
	for i := range set.Spec.PatchPodMetadata {
		for _, key := range slices.Sorted(maps.Keys(set.Spec.PatchPodMetadata[i].Annotations)) {
			switch ok, err := list.allows(set, key); {
			case err != nil:
				errs = append(errs, field.InternalError(path, fmt.Errorf("%s in ConfigMap %s/%s: %w", whiteListKey, v.namespace, configuration, err)))
			case !ok:
				errs = append(errs, field.Forbidden(path.Index(i).Child("annotations").Key(key), fmt.Sprintf(
					"no rule of %s in ConfigMap %s/%s allows it; an administrator can add one: {\"rules\": [{\"allowedAnnotationKeyExprs\": [\"^%s$\"]}]}",
					whiteListKey, v.namespace, configuration, regexp.QuoteMeta(key))))
			}
			errs = append(errs, mergeable(&set.Spec.PatchPodMetadata[i], key, path.Index(i))...)
		}
	}
	return errs
}

// mergeable refuses to merge what is no JSON object.
func mergeable(p *appsv1beta1.SidecarSetPatchPodMetadata, key string, path *field.Path) field.ErrorList {
	var object map[string]any
	if p.PatchPolicy != appsv1beta1.SidecarSetMergePatchJSONPatchPolicy || json.Unmarshal([]byte(p.Annotations[key]), &object) == nil {
		return nil
	}
	return field.ErrorList{field.Invalid(path.Child("annotations").Key(key), p.Annotations[key],
		"with the policy MergePatchJson it must be a JSON object, such as {\"log-agent\": 1}")}
}

// revisions are those of the set, read from the API server.
func (v *validator) revisions(ctx context.Context, set *appsv1beta1.SidecarSet) ([]*appsv1.ControllerRevision, error) {
	var list appsv1.ControllerRevisionList
	err := v.client.List(ctx, &list, client.InNamespace(v.namespace), client.MatchingLabels{appsv1beta1.SidecarSetName: set.Name})
	if err != nil {
		return nil, fmt.Errorf("list the revisions of SidecarSet %s in namespace %s: %w", set.Name, v.namespace, err)
	}
	all := make([]*appsv1.ControllerRevision, 0, len(list.Items))
	for i := range list.Items {
		if metav1.IsControlledBy(&list.Items[i], set) {
			all = append(all, &list.Items[i])
		}
	}
	return all, nil
}
