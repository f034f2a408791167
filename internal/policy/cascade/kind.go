package cascade

import (
	"context"
	"slices"

	admissionregistrationv1 "k8s.io/api/admissionregistration/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/utils/ptr"

	appsv1beta1 "github.com/holdfast-io/holdfast/api/apps/v1beta1"
)

const (
	// LabelProtection is the label that protects an object: Always or Cascading.
	LabelProtection = appsv1beta1.DeleteProtection
	// LabelCascading is its older spelling: "true" means Cascading.
	LabelCascading = appsv1beta1.DisableCascadingDeletion

	// Always forbids the deletion until the label is gone.
	Always = "Always"
	// Cascading forbids the deletion while it would take something along.
	Cascading = "Cascading"
	// off is the older label's way to say no.
	off = "off"
)

// kind is one row of the table of what can be protected.
type kind struct {
	group, resource string
	// left says what a deletion would take along or away from others: "3 replicas"; "" for nothing. nil: the kind knows
	// Always only.
	left func(ctx context.Context, c *Counter, obj *unstructured.Unstructured) (string, error)
	// first is what can be done about it, before the deletion is tried again.
	first string
}

// kinds is the table: what deletes other things with it, or is needed by them.
func kinds() []kind {
	const (
		scaled  = "scale it to 0 first (kubectl scale --replicas=0)"
		running = "let its pods end, or delete them, first"
	)
	return []kind{
		{"apiextensions.k8s.io", "customresourcedefinitions", objects, "delete its objects first"},
		{"", "namespaces", contents, "delete its pods and claims first"},
		{"apps", "deployments", replicas, scaled},
		{"apps", "replicasets", replicas, scaled},
		{"apps", "statefulsets", replicas, scaled},
		{"apps", "daemonsets", pods, "give its template a node selector that no node has, first"},
		{"batch", "jobs", pods, running},
		{"batch", "cronjobs", jobs, "let its jobs end, or delete them, first"},
		{"apps.kruise.io", "clonesets", replicas, scaled},
		{"apps.kruise.io", "statefulsets", replicas, scaled},
		{"apps.kruise.io", "uniteddeployments", replicas, scaled},
		{"apps.kruise.io", "daemonsets", pods, "give its template a node selector that no node has, first"},
		{"apps.kruise.io", "broadcastjobs", pods, running},
		{"apps.kruise.io", "advancedcronjobs", jobs, "let its jobs end, or delete them, first"},
		{"apps.kruise.io", "sidecarsets", matched, "change its selector so that it matches no pod first"},
		{"", "services", nil, ""},
		{"networking.k8s.io", "ingresses", nil, ""},
		{"", "persistentvolumeclaims", users, "delete the pods that use it first"},
		{"snapshot.storage.k8s.io", "volumesnapshots", restores, "let the claims that are made from it be bound first"},
	}
}

// kindOf finds the row of a resource.
func kindOf(gvr metav1.GroupVersionResource) (kind, bool) {
	all := kinds()
	at := slices.IndexFunc(all, func(k kind) bool { return k.group == gvr.Group && k.resource == gvr.Resource })
	if at < 0 {
		return kind{}, false
	}
	return all[at], true
}

// rules name all protected resources, in whatever version they are asked for.
func rules(operations ...admissionregistrationv1.OperationType) []admissionregistrationv1.RuleWithOperations {
	var out []admissionregistrationv1.RuleWithOperations
	for _, k := range kinds() {
		at := slices.IndexFunc(out, func(r admissionregistrationv1.RuleWithOperations) bool { return r.APIGroups[0] == k.group })
		if at < 0 {
			at = len(out)
			out = append(out, admissionregistrationv1.RuleWithOperations{
				Operations: operations,
				Rule: admissionregistrationv1.Rule{
					APIGroups: []string{k.group}, APIVersions: []string{"*"}, Scope: ptr.To(admissionregistrationv1.AllScopes),
				},
			})
		}
		out[at].Resources = append(out[at].Resources, k.resource)
	}
	return out
}

// labelled tells whether an object has one of the labels, whatever it says.
func labelled(labels map[string]string) bool {
	_, newer := labels[LabelProtection]
	_, older := labels[LabelCascading]
	return newer || older
}

// protection is what the labels of an object ask for: Always, Cascading, nothing, or a value that nobody knows.
func protection(labels map[string]string) (label, value string) {
	if value, ok := labels[LabelProtection]; ok {
		return LabelProtection, value
	}
	switch value, ok := labels[LabelCascading]; {
	case !ok || value == "false":
		return LabelCascading, off
	case value == "true":
		return LabelCascading, Cascading
	default:
		return LabelCascading, value
	}
}

func groupKind(k metav1.GroupVersionKind) schema.GroupKind {
	return schema.GroupKind{Group: k.Group, Kind: k.Kind}
}
