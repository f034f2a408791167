package install

import (
	"context"
	"fmt"
	"io"
	"path"
	"slices"
	"strings"

	admissionregistrationv1 "k8s.io/api/admissionregistration/v1"
	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/intstr"
	"k8s.io/utils/ptr"
	"sigs.k8s.io/controller-runtime/pkg/client"

	appsv1beta1 "github.com/holdfast-io/holdfast/api/apps/v1beta1"
)

// nodeName is that of the node daemon's objects; its generated role has it, too.
const nodeName = "holdfast-node"

// hostRoot is where the daemon finds the node's /run.
const hostRoot = "/host"

// nodeNamespace is the node daemon's own: Pods that reach into their node are not allowed in the operator's.
func nodeNamespace(o Options) string { return o.SystemNamespace + "-node" }

// node are the objects of the node daemon but for its role.
func node(o Options) []client.Object {
	out := []client.Object{
		&corev1.Namespace{
			TypeMeta: metav1.TypeMeta{APIVersion: "v1", Kind: "Namespace"},
			ObjectMeta: metav1.ObjectMeta{Name: nodeNamespace(o), Labels: map[string]string{
				"pod-security.kubernetes.io/enforce": "privileged", // it mounts a folder of the node: the runtime's socket
			}},
		},
		&corev1.ServiceAccount{
			TypeMeta:   metav1.TypeMeta{APIVersion: "v1", Kind: "ServiceAccount"},
			ObjectMeta: metav1.ObjectMeta{Namespace: nodeNamespace(o), Name: nodeName},
		},
	}
	out = append(out, nodePolicy(o)...)
	return append(out, nodeDaemon(o))
}

// nodeSubject is the account of the node daemon.
func nodeSubject(o Options) []rbacv1.Subject {
	return []rbacv1.Subject{{Kind: rbacv1.ServiceAccountKind, Namespace: nodeNamespace(o), Name: nodeName}}
}

// nodePolicy keeps a node daemon to the pods of its own node, and there to the one annotation that it writes: its role cannot
// say so. Its token names the node since Kubernetes 1.30; one that names none may write nothing.
// https://kubernetes.io/docs/reference/access-authn-authz/service-accounts-admin/#additional-metadata-in-pod-bound-tokens
func nodePolicy(o Options) []client.Object {
	const mine = "authentication.kubernetes.io/node-name"
	kept := func(from, in string) string {
		return fmt.Sprintf(`!has(%[1]s.metadata.annotations) || %[1]s.metadata.annotations.all(k, k == %[3]q || `+
			`has(%[2]s.metadata.annotations) && k in %[2]s.metadata.annotations && `+
			`%[2]s.metadata.annotations[k] == %[1]s.metadata.annotations[k])`, from, in, appsv1beta1.RuntimeContainersMeta)
	}
	same := func(field string) string {
		return fmt.Sprintf(`(has(object.metadata.%[1]s) == has(oldObject.metadata.%[1]s) && `+
			`(!has(object.metadata.%[1]s) || object.metadata.%[1]s == oldObject.metadata.%[1]s))`, field)
	}
	policy := &admissionregistrationv1.ValidatingAdmissionPolicy{
		TypeMeta:   metav1.TypeMeta{APIVersion: admissionregistrationv1.SchemeGroupVersion.String(), Kind: "ValidatingAdmissionPolicy"},
		ObjectMeta: metav1.ObjectMeta{Name: nodeName},
		Spec: admissionregistrationv1.ValidatingAdmissionPolicySpec{
			FailurePolicy: ptr.To(admissionregistrationv1.Fail),
			MatchConstraints: &admissionregistrationv1.MatchResources{
				ResourceRules: []admissionregistrationv1.NamedRuleWithOperations{{
					RuleWithOperations: admissionregistrationv1.RuleWithOperations{
						Operations: []admissionregistrationv1.OperationType{admissionregistrationv1.Update},
						Rule:       admissionregistrationv1.Rule{APIGroups: []string{""}, APIVersions: []string{"v1"}, Resources: []string{"pods"}},
					},
				}},
			},
			MatchConditions: []admissionregistrationv1.MatchCondition{{
				Name: "node-daemon", Expression: fmt.Sprintf(`request.userInfo.username == "system:serviceaccount:%s:%s"`, nodeNamespace(o), nodeName),
			}},
			Validations: []admissionregistrationv1.Validation{
				{
					Expression: fmt.Sprintf(`has(request.userInfo.extra) && %[1]q in request.userInfo.extra && has(oldObject.spec.nodeName) && `+
						`oldObject.spec.nodeName in request.userInfo.extra[%[1]q]`, mine),
					Message: "a node daemon writes to pods of its own node only",
					Reason:  ptr.To(metav1.StatusReasonForbidden),
				},
				{
					Expression: strings.Join([]string{
						"object.spec == oldObject.spec", same("labels"), same("finalizers"), same("ownerReferences"),
						"(" + kept("object", "oldObject") + ")", "(" + kept("oldObject", "object") + ")",
					}, " && "),
					Message: "a node daemon writes the annotation " + appsv1beta1.RuntimeContainersMeta + " only",
					Reason:  ptr.To(metav1.StatusReasonForbidden),
				},
			},
		},
	}
	return []client.Object{policy, &admissionregistrationv1.ValidatingAdmissionPolicyBinding{
		TypeMeta:   metav1.TypeMeta{APIVersion: admissionregistrationv1.SchemeGroupVersion.String(), Kind: "ValidatingAdmissionPolicyBinding"},
		ObjectMeta: metav1.ObjectMeta{Name: nodeName},
		Spec: admissionregistrationv1.ValidatingAdmissionPolicyBindingSpec{
			PolicyName:        nodeName,
			ValidationActions: []admissionregistrationv1.ValidationAction{admissionregistrationv1.Deny},
		},
	}}
}

func nodeSelector() map[string]string {
	return map[string]string{labelName: "holdfast", "app.kubernetes.io/component": "node"}
}

func nodeDaemon(o Options) client.Object {
	return &appsv1.DaemonSet{
		TypeMeta:   metav1.TypeMeta{APIVersion: appsv1.SchemeGroupVersion.String(), Kind: "DaemonSet"},
		ObjectMeta: metav1.ObjectMeta{Namespace: nodeNamespace(o), Name: nodeName},
		Spec: appsv1.DaemonSetSpec{
			Selector: &metav1.LabelSelector{MatchLabels: nodeSelector()},
			// A node without it only makes containers wait for their restart.
			UpdateStrategy: appsv1.DaemonSetUpdateStrategy{
				Type:          appsv1.RollingUpdateDaemonSetStrategyType,
				RollingUpdate: &appsv1.RollingUpdateDaemonSet{MaxUnavailable: ptr.To(intstr.FromString("10%"))},
			},
			Template: corev1.PodTemplateSpec{
				ObjectMeta: metav1.ObjectMeta{Labels: nodeSelector()},
				Spec: corev1.PodSpec{
					ServiceAccountName:            nodeName,
					PriorityClassName:             "system-node-critical",
					TerminationGracePeriodSeconds: ptr.To[int64](10),
					NodeSelector:                  map[string]string{corev1.LabelOSStable: "linux"},
					// Pods to look after may be on any node.
					Tolerations: []corev1.Toleration{{Operator: corev1.TolerationOpExists}},
					Affinity:    realNodes(),
					SecurityContext: &corev1.PodSecurityContext{
						SeccompProfile: &corev1.SeccompProfile{Type: corev1.SeccompProfileTypeRuntimeDefault},
					},
					Containers: []corev1.Container{nodeContainer(o)},
					Volumes: []corev1.Volume{{Name: "runtime", VolumeSource: corev1.VolumeSource{
						HostPath: &corev1.HostPathVolumeSource{Path: runtimeFolder(o), Type: ptr.To(corev1.HostPathDirectory)},
					}}},
				},
			},
		},
	}
}

// realNodes keeps the daemon from simulated nodes of the embedded Kubernetes, which have no runtime.
func realNodes() *corev1.Affinity {
	return &corev1.Affinity{NodeAffinity: &corev1.NodeAffinity{
		RequiredDuringSchedulingIgnoredDuringExecution: &corev1.NodeSelector{NodeSelectorTerms: []corev1.NodeSelectorTerm{{
			MatchExpressions: []corev1.NodeSelectorRequirement{{Key: "holdfast.io/simulated", Operator: corev1.NodeSelectorOpDoesNotExist}},
		}}},
	}}
}

// runtimeFolder is the node's folder that holds the runtime's socket. The socket alone would not do: a runtime that starts
// again makes a new one.
func runtimeFolder(o Options) string {
	if o.RuntimeEndpoint == "" {
		return "/run"
	}
	return path.Dir(strings.TrimPrefix(o.RuntimeEndpoint, "unix://"))
}

func nodeContainer(o Options) corev1.Container {
	args := []string{"node", fmt.Sprintf("--metrics-bind=:%d", metricsPort), fmt.Sprintf("--health-bind=:%d", healthPort)}
	if o.RuntimeEndpoint == "" {
		args = append(args, "--host-root="+hostRoot)
	} else {
		args = append(args, "--runtime-endpoint=unix://"+hostRoot+strings.TrimPrefix(o.RuntimeEndpoint, "unix://"))
	}
	c := process(o, "node", args, "115MiB")
	c.Env = append([]corev1.EnvVar{ofPod("NODE_NAME", "spec.nodeName")}, c.Env...)
	c.Resources = corev1.ResourceRequirements{
		Requests: corev1.ResourceList{corev1.ResourceCPU: resource.MustParse("10m"), corev1.ResourceMemory: resource.MustParse("32Mi")},
		Limits:   corev1.ResourceList{corev1.ResourceMemory: resource.MustParse("128Mi")},
	}
	c.ReadinessProbe = probe("/readyz", 5, 2)
	// The socket belongs to root; that is all of root that it needs.
	c.SecurityContext.RunAsUser, c.SecurityContext.RunAsGroup = ptr.To[int64](0), ptr.To[int64](0)
	c.VolumeMounts = []corev1.VolumeMount{{
		Name: "runtime", MountPath: hostRoot + runtimeFolder(o), ReadOnly: true,
		// What the node unmounts below it, such as the files of containers that ended, must not be held here.
		MountPropagation: ptr.To(corev1.MountPropagationHostToContainer),
	}}
	return c
}

// removeNode takes the node daemon away where it is not wanted any more.
func removeNode(ctx context.Context, c client.Client, o Options, w io.Writer) error {
	if o.Node || !o.does(stepNode) {
		return nil
	}
	r := &remover{client: c, dryRun: o.DryRun, out: w}
	if err := r.removeNodeObjects(ctx, o.SystemNamespace); err != nil {
		return err
	}
	return r.removeNamespace(ctx, nodeNamespace(o))
}

// removeNodeObjects deletes what the installation made for the node daemon beside its namespace.
func (r *remover) removeNodeObjects(ctx context.Context, systemNamespace string) error {
	o := Defaults()
	o.SystemNamespace, o.Node, o.Only = systemNamespace, true, []string{stepNode}
	manifests, err := Manifests(o)
	if err != nil {
		return err
	}
	for _, m := range slices.Backward(manifests) {
		if _, is := m.Object.(*corev1.Namespace); is {
			continue
		}
		if err := r.remove(ctx, m.Object); err != nil {
			return err
		}
	}
	return nil
}
