package install

import (
	"slices"

	rbacv1 "k8s.io/api/rbac/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/holdfast-io/holdfast/internal/policy/cascade"
)

// protectionRole lets the deletion protection ask whether any object of a definition is left. It cannot know the kinds of
// others beforehand, and the right to list whatever there is would be one to read every Secret. So the role is the sum of
// those that carry a label: whoever protects a definition says with such a role that its objects may be counted.
func protectionRole(o Options, subjects []rbacv1.Subject) []client.Object {
	if len(o.Parts) > 0 && !slices.Contains(o.Parts, "cascade") {
		return nil
	}
	const role = "holdfast-deletion-protection"
	return []client.Object{
		&rbacv1.ClusterRole{
			TypeMeta:   metav1.TypeMeta{APIVersion: rbacv1.SchemeGroupVersion.String(), Kind: "ClusterRole"},
			ObjectMeta: metav1.ObjectMeta{Name: role},
			AggregationRule: &rbacv1.AggregationRule{ClusterRoleSelectors: []metav1.LabelSelector{{
				MatchLabels: map[string]string{cascade.RoleLabel: "true"},
			}}},
		},
		&rbacv1.ClusterRoleBinding{
			TypeMeta:   metav1.TypeMeta{APIVersion: rbacv1.SchemeGroupVersion.String(), Kind: "ClusterRoleBinding"},
			ObjectMeta: metav1.ObjectMeta{Name: role},
			Subjects:   subjects,
			RoleRef:    rbacv1.RoleRef{APIGroup: rbacv1.GroupName, Kind: "ClusterRole", Name: role},
		},
	}
}
