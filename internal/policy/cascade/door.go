package cascade

import (
	"context"
	"fmt"
	"slices"
	"strconv"
	"strings"

	admissionregistrationv1 "k8s.io/api/admissionregistration/v1"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"
)

const (
	protectionPolicy = "holdfast-delete-protection"
	cascadingPolicy  = "holdfast-disable-cascading-deletion"
	// The variable of these two policies that is true for whom they leave to the webhook.
	openVariable = "open"
)

// +kubebuilder:rbac:groups=admissionregistration.k8s.io,resources=validatingadmissionpolicies,resourceNames=holdfast-delete-protection;holdfast-disable-cascading-deletion,verbs=get;update

// Door is the way past the policies of deletion: who is named there is left to the webhook, which knows what exactly is open.
//
// The names are written into the policies themselves. A parameter in a ConfigMap would be the textbook's way, but an API
// server forgets to read parameters of a built-in kind again once no policy has used them for a second
// (kubernetes/kubernetes#130887): whoever uninstalls and installs again would be denied everything, or would be judged by the
// names of long ago.
type Door struct {
	// Client writes.
	Client client.Client
	// Live reads from the API server.
	Live client.Reader
}

// Open leaves these users and members of these groups to the webhook, and nobody else. A policy that is not there is passed over.
func (d *Door) Open(ctx context.Context, users, groups []string) error {
	expression := opened(users, groups)
	for _, name := range []string{protectionPolicy, cascadingPolicy} {
		policy := &admissionregistrationv1.ValidatingAdmissionPolicy{}
		err := d.Live.Get(ctx, types.NamespacedName{Name: name}, policy)
		if err == nil && setOpen(policy, expression) {
			err = d.Client.Update(ctx, policy)
		}
		if client.IgnoreNotFound(err) != nil {
			return fmt.Errorf("tell ValidatingAdmissionPolicy %s who is let through: %w", name, err)
		}
	}
	return nil
}

// KeepOpen makes a policy that is to be written say of those who are let through what is said already.
func KeepOpen(have, want client.Object) {
	from, is := have.(*admissionregistrationv1.ValidatingAdmissionPolicy)
	to, should := want.(*admissionregistrationv1.ValidatingAdmissionPolicy)
	if !is || !should {
		return
	}
	if i := indexOpen(from); i >= 0 {
		setOpen(to, from.Spec.Variables[i].Expression)
	}
}

func setOpen(policy *admissionregistrationv1.ValidatingAdmissionPolicy, expression string) bool {
	i := indexOpen(policy)
	if i < 0 || policy.Spec.Variables[i].Expression == expression {
		return false
	}
	policy.Spec.Variables[i].Expression = expression
	return true
}

func indexOpen(policy *admissionregistrationv1.ValidatingAdmissionPolicy) int {
	return slices.IndexFunc(policy.Spec.Variables, func(v admissionregistrationv1.Variable) bool { return v.Name == openVariable })
}

// opened is the CEL that tells whether a request comes from one of the users or from a member of one of the groups.
func opened(users, groups []string) string {
	var some []string
	if len(users) > 0 {
		some = append(some, "request.userInfo.username in "+list(users))
	}
	if len(groups) > 0 {
		some = append(some, "(has(request.userInfo.groups) && request.userInfo.groups.exists(g, g in "+list(groups)+"))")
	}
	if len(some) == 0 {
		return "false"
	}
	return strings.Join(some, " || ")
}

// list is a CEL list of strings, the same for the same names in any order.
func list(names []string) string {
	quoted := make([]string, 0, len(names))
	for _, name := range slices.Compact(slices.Sorted(slices.Values(names))) {
		quoted = append(quoted, strconv.Quote(name)) // of UTF-8 these are CEL's escapes, too
	}
	return "[" + strings.Join(quoted, ", ") + "]"
}
