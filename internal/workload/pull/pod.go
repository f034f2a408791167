package pull

import (
	"fmt"
	"hash/fnv"
	"strings"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/util/rand"
	"k8s.io/utils/ptr"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/holdfast-io/holdfast/internal/workload"
)

const (
	// container is the name of the only container of a pull pod that we made; a webhook may add others.
	container = "pull"
	// safeToEvict tells the cluster autoscaler that the pod keeps no node.
	// https://github.com/kubernetes/autoscaler/blob/master/cluster-autoscaler/FAQ.md
	safeToEvict = "cluster-autoscaler.kubernetes.io/safe-to-evict"
	// nobody is a user that no image needs; a pod without root passes every pod security standard.
	nobody = 65535
	// spare is how much longer than its timeout a pull pod lives when nobody is there to delete it.
	spare = 30 * time.Second
)

// Owner is the set that pulls are for.
type Owner struct {
	Object client.Object
	Kind   schema.GroupVersionKind
	// Template of the pods that will use the images: its credentials for the registry count.
	Template *corev1.PodTemplateSpec
}

// Set names the set of the kind that a pull pod is for; false: the object is no pull pod of such a set.
func Set(o client.Object, kind schema.GroupKind) (types.NamespacedName, bool) {
	uid := o.GetLabels()[workload.PullFor]
	if uid == "" {
		return types.NamespacedName{}, false
	}
	for _, ref := range o.GetOwnerReferences() {
		gv, err := schema.ParseGroupVersion(ref.APIVersion)
		if err == nil && string(ref.UID) == uid && ref.Kind == kind.Kind && gv.Group == kind.Group {
			return types.NamespacedName{Namespace: o.GetNamespace(), Name: ref.Name}, true
		}
	}
	return types.NamespacedName{}, false
}

// build makes the pod of a pull. It is a stranger to everything but its set: no label of the template is on it, since
// services, budgets and selectors must not see it, and the reference to its owner is none of a controller, so that the
// garbage collector takes it and nobody counts it.
func build(o Owner, at Pull, timeout time.Duration) *corev1.Pod {
	spec := &o.Template.Spec
	return &corev1.Pod{
		ObjectMeta: metav1.ObjectMeta{
			Namespace:   o.Object.GetNamespace(),
			Name:        name(o.Object, at),
			Labels:      map[string]string{workload.PullFor: string(o.Object.GetUID())},
			Annotations: map[string]string{safeToEvict: "true"},
			OwnerReferences: []metav1.OwnerReference{{
				APIVersion: o.Kind.GroupVersion().String(), Kind: o.Kind.Kind,
				Name: o.Object.GetName(), UID: o.Object.GetUID(),
			}},
		},
		Spec: corev1.PodSpec{
			NodeName:                      at.Node,
			Containers:                    []corev1.Container{bring(spec, at.Image)},
			RestartPolicy:                 corev1.RestartPolicyNever,
			ActiveDeadlineSeconds:         ptr.To(int64((timeout + spare) / time.Second)),
			TerminationGracePeriodSeconds: ptr.To(int64(1)),
			Tolerations:                   []corev1.Toleration{{Operator: corev1.TolerationOpExists}},
			// The account may bring credentials for the registry; its token is for others.
			ServiceAccountName:           spec.ServiceAccountName,
			AutomountServiceAccountToken: ptr.To(false),
			ImagePullSecrets:             spec.ImagePullSecrets,
			EnableServiceLinks:           ptr.To(false),
			// Some runtimes keep images apart from those of others.
			RuntimeClassName: spec.RuntimeClassName,
			SecurityContext: &corev1.PodSecurityContext{
				RunAsNonRoot: ptr.To(true), RunAsUser: ptr.To(int64(nobody)),
				SeccompProfile: &corev1.SeccompProfile{Type: corev1.SeccompProfileTypeRuntimeDefault},
			},
		},
	}
}

// bring is a container that ends at once, or cannot even start where the image lacks the command: by then the image is there.
func bring(spec *corev1.PodSpec, image string) corev1.Container {
	nothing := corev1.ResourceList{corev1.ResourceCPU: resource.MustParse("0"), corev1.ResourceMemory: resource.MustParse("0")}
	return corev1.Container{
		Name: container, Image: image, ImagePullPolicy: policy(spec, image),
		Command:   []string{"/bin/true"},
		Resources: corev1.ResourceRequirements{Requests: nothing}, // a full node must not refuse it
		SecurityContext: &corev1.SecurityContext{
			AllowPrivilegeEscalation: ptr.To(false), ReadOnlyRootFilesystem: ptr.To(true),
			Capabilities: &corev1.Capabilities{Drop: []corev1.Capability{"ALL"}},
		},
	}
}

// maxPrefix leaves room in a pod's name for what follows the set's.
const maxPrefix = 253 - len("-pull-") - 13

// name follows from the set and the pull, so that a second attempt at the same pull is told AlreadyExists.
func name(set metav1.Object, at Pull) string {
	sum := fnv.New64a()
	_, _ = fmt.Fprintf(sum, "%s\n%s\n%s", set.GetUID(), at.Node, at.Image) // a hash never fails to take bytes
	prefix := set.GetName()
	if len(prefix) > maxPrefix {
		prefix = strings.TrimRight(prefix[:maxPrefix], ".-")
	}
	return prefix + "-pull-" + rand.SafeEncodeString(fmt.Sprintf("%013d", sum.Sum64()%1e13))
}
