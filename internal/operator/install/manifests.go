package install

import (
	_ "embed"
	"fmt"
	"slices"
	"strings"

	coordinationv1 "k8s.io/api/coordination/v1"
	corev1 "k8s.io/api/core/v1"
	flowcontrolv1 "k8s.io/api/flowcontrol/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	apiextensionsv1 "k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/utils/ptr"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/yaml"

	"github.com/holdfast-io/holdfast/api/crds"
	"github.com/holdfast-io/holdfast/internal/admission"
	"github.com/holdfast-io/holdfast/internal/operator"
)

// name is that of the operator's own objects.
const name = "holdfast-operator"

const (
	labelManagedBy = "app.kubernetes.io/managed-by"
	labelName      = "app.kubernetes.io/name"
	managedBy      = "holdfast"
)

// roles are generated from the markers beside the code.
//
//go:embed zz_role.yaml
var roles []byte

// Manifest is one object of the installation and the step it belongs to.
type Manifest struct {
	Step   string
	Object client.Object
}

// Manifests are all objects of an installation, in the order in which they are to be applied. The webhooks come last, when
// there is somebody to answer them.
func Manifests(o Options) ([]Manifest, error) {
	definitions, err := definitions(o)
	if err != nil {
		return nil, err
	}
	access, err := access(o)
	if err != nil {
		return nil, err
	}
	nodeAccess, err := rolesFor(nodeName, nodeNamespace(o), nodeSubject(o))
	if err != nil {
		return nil, err
	}
	scheme, err := operator.NewScheme()
	if err != nil {
		return nil, err
	}
	hooks := operator.Hooks(scheme, o.SystemNamespace, o.Parts...)
	var all []Manifest
	add := func(step string, objects ...client.Object) {
		for _, object := range objects {
			if !o.does(step) {
				continue
			}
			setLabels(object)
			all = append(all, Manifest{Step: step, Object: object})
		}
	}
	add(stepNamespace, namespace(o))
	add(stepCRDs, definitions...)
	add(stepRBAC, access...)
	add(stepOperator, secret(o), lease(o), service(o), budget(o), deployment(o))
	if o.Node {
		add(stepNode, slices.Concat(node(o), nodeAccess)...)
	}
	add(stepPolicies, operator.Policies(o.Parts...)...)
	if config := admission.Mutating(operator.ConfigurationName, hooks, endpoint(o), nil); len(config.Webhooks) > 0 {
		add(stepWebhooks, config)
	}
	if config := admission.Validating(operator.ConfigurationName, hooks, endpoint(o), nil); len(config.Webhooks) > 0 {
		add(stepWebhooks, config)
	}
	return all, nil
}

func setLabels(object client.Object) {
	labels := object.GetLabels()
	if labels == nil {
		labels = map[string]string{}
	}
	labels[labelManagedBy], labels[labelName] = managedBy, "holdfast"
	object.SetLabels(labels)
}

func endpoint(o Options) admission.Endpoint {
	return admission.Endpoint{
		Service: types.NamespacedName{Namespace: o.SystemNamespace, Name: operator.ServiceName}, Port: operator.ServicePort,
	}
}

// definitions are the CRDs of the parts. Those with several versions name the operator as their converter from the start:
// without one the API server would take an object of one version for one of another, and drop the fields that it has
// elsewhere. Until the operator answers, other versions than the stored one wait. Beside the cluster it names itself.
func definitions(o Options) ([]client.Object, error) {
	all, err := crds.All()
	if err != nil {
		return nil, fmt.Errorf("read the definitions: %w", err)
	}
	wanted := map[string]bool{}
	for _, room := range operator.Rooms() {
		for _, crd := range room.CRDs {
			wanted[crd] = len(o.Parts) == 0 || slices.Contains(o.Parts, room.Name)
		}
	}
	var out []client.Object
	for _, crd := range all {
		if part, known := wanted[crd.Name]; known && !part {
			continue
		}
		if len(crd.Spec.Versions) > 1 {
			config := endpoint(o).Config(admission.ConvertPath, nil)
			crd.Spec.Conversion = &apiextensionsv1.CustomResourceConversion{
				Strategy: apiextensionsv1.WebhookConverter,
				Webhook: &apiextensionsv1.WebhookConversion{
					ConversionReviewVersions: []string{"v1"},
					ClientConfig: &apiextensionsv1.WebhookClientConfig{Service: &apiextensionsv1.ServiceReference{
						Namespace: config.Service.Namespace, Name: config.Service.Name, Path: config.Service.Path, Port: config.Service.Port,
					}},
				},
			}
		}
		out = append(out, crd)
	}
	return out, nil
}

func namespace(o Options) client.Object {
	return &corev1.Namespace{
		TypeMeta: metav1.TypeMeta{APIVersion: "v1", Kind: "Namespace"},
		ObjectMeta: metav1.ObjectMeta{Name: o.SystemNamespace, Labels: map[string]string{
			"pod-security.kubernetes.io/enforce": "restricted",
		}},
	}
}

// access is the account of the operator, its generated roles and their bindings.
func access(o Options) ([]client.Object, error) {
	account := &corev1.ServiceAccount{
		TypeMeta:   metav1.TypeMeta{APIVersion: "v1", Kind: "ServiceAccount"},
		ObjectMeta: metav1.ObjectMeta{Namespace: o.SystemNamespace, Name: name},
	}
	subject := []rbacv1.Subject{{Kind: rbacv1.ServiceAccountKind, Namespace: o.SystemNamespace, Name: name}}
	generated, err := rolesFor(name, o.SystemNamespace, subject)
	if err != nil {
		return nil, err
	}
	out := append([]client.Object{account}, generated...)
	out = append(out, protectionRole(o, subject)...)
	return append(out, flowSchema(o)), nil
}

// rolesFor are the generated roles of one name, and their bindings to the subject; those of a namespace are in its own.
func rolesFor(wanted, namespace string, subject []rbacv1.Subject) ([]client.Object, error) {
	var out []client.Object
	for document := range strings.SplitSeq(string(roles), "\n---\n") {
		var kind metav1.PartialObjectMetadata
		if err := yaml.Unmarshal([]byte(document), &kind); err != nil {
			return nil, fmt.Errorf("read the generated roles: %w", err)
		}
		if kind.Name != wanted {
			continue
		}
		switch kind.Kind {
		case "ClusterRole":
			role := &rbacv1.ClusterRole{}
			if err := yaml.UnmarshalStrict([]byte(document), role); err != nil {
				return nil, fmt.Errorf("read the generated cluster role: %w", err)
			}
			out = append(out, role, &rbacv1.ClusterRoleBinding{
				TypeMeta:   metav1.TypeMeta{APIVersion: rbacv1.SchemeGroupVersion.String(), Kind: "ClusterRoleBinding"},
				ObjectMeta: metav1.ObjectMeta{Name: role.Name},
				Subjects:   subject,
				RoleRef:    rbacv1.RoleRef{APIGroup: rbacv1.GroupName, Kind: "ClusterRole", Name: role.Name},
			})
		case "Role":
			role := &rbacv1.Role{}
			if err := yaml.UnmarshalStrict([]byte(document), role); err != nil {
				return nil, fmt.Errorf("read the generated role: %w", err)
			}
			role.Namespace = namespace
			out = append(out, role, &rbacv1.RoleBinding{
				TypeMeta:   metav1.TypeMeta{APIVersion: rbacv1.SchemeGroupVersion.String(), Kind: "RoleBinding"},
				ObjectMeta: metav1.ObjectMeta{Namespace: namespace, Name: role.Name},
				Subjects:   subject,
				RoleRef:    rbacv1.RoleRef{APIGroup: rbacv1.GroupName, Kind: "Role", Name: role.Name},
			})
		}
	}
	return out, nil
}

// flowSchema lets the lease's renewals pass where the API server is flooded, with our own writes or another's: an operator
// that loses its lease for that stops helping just when it is needed.
func flowSchema(o Options) client.Object {
	return &flowcontrolv1.FlowSchema{
		TypeMeta:   metav1.TypeMeta{APIVersion: flowcontrolv1.SchemeGroupVersion.String(), Kind: "FlowSchema"},
		ObjectMeta: metav1.ObjectMeta{Name: "holdfast-leader-election"},
		Spec: flowcontrolv1.FlowSchemaSpec{
			PriorityLevelConfiguration: flowcontrolv1.PriorityLevelConfigurationReference{Name: "leader-election"},
			MatchingPrecedence:         150,
			DistinguisherMethod:        &flowcontrolv1.FlowDistinguisherMethod{Type: flowcontrolv1.FlowDistinguisherMethodByUserType},
			Rules: []flowcontrolv1.PolicyRulesWithSubjects{{
				Subjects: []flowcontrolv1.Subject{{
					Kind:           flowcontrolv1.SubjectKindServiceAccount,
					ServiceAccount: &flowcontrolv1.ServiceAccountSubject{Namespace: o.SystemNamespace, Name: name},
				}},
				ResourceRules: []flowcontrolv1.ResourcePolicyRule{{
					Verbs: []string{"get", "create", "update"}, APIGroups: []string{coordinationv1.GroupName},
					Resources: []string{"leases"}, Namespaces: []string{o.SystemNamespace},
				}},
			}},
		},
	}
}

// secret is made empty, so that the operator needs no right to create any; an upgrade leaves what it holds.
func secret(o Options) client.Object {
	return &corev1.Secret{
		TypeMeta:   metav1.TypeMeta{APIVersion: "v1", Kind: "Secret"},
		ObjectMeta: metav1.ObjectMeta{Namespace: o.SystemNamespace, Name: operator.SecretName},
		Type:       corev1.SecretTypeOpaque,
	}
}

func lease(o Options) client.Object {
	return &coordinationv1.Lease{
		TypeMeta:   metav1.TypeMeta{APIVersion: coordinationv1.SchemeGroupVersion.String(), Kind: "Lease"},
		ObjectMeta: metav1.ObjectMeta{Namespace: o.SystemNamespace, Name: operator.LeaseName},
	}
}

func selector() map[string]string {
	return map[string]string{labelName: "holdfast", "app.kubernetes.io/component": "operator"}
}

func service(o Options) client.Object {
	return &corev1.Service{
		TypeMeta:   metav1.TypeMeta{APIVersion: "v1", Kind: "Service"},
		ObjectMeta: metav1.ObjectMeta{Namespace: o.SystemNamespace, Name: operator.ServiceName},
		Spec: corev1.ServiceSpec{
			Selector: selector(),
			Ports: []corev1.ServicePort{{
				Name: "webhook", Port: operator.ServicePort, TargetPort: portName("webhook"), Protocol: corev1.ProtocolTCP,
				AppProtocol: ptr.To("https"),
			}},
		},
	}
}
