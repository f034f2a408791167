// Package claim keeps the volume claims of a workload's slots: one for each template and instance, mounted by the pod that
// holds the instance, grown when the template grows.
package claim

import (
	"encoding/json"
	"fmt"
	"hash/fnv"
	"maps"
	"strconv"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/util/rand"

	appsv1beta1 "github.com/holdfast-io/holdfast/api/apps/v1beta1"
)

// Name is the name of an instance's claim of one template.
func Name(template, set, id string) string { return template + "-" + set + "-" + id }

// Instance returns the id that ties a pod and its claims together; "" when the object has none.
func Instance(o metav1.Object) string { return o.GetLabels()[appsv1beta1.CloneSetInstanceID] }

// Hash names what the templates say; "" when there are none.
func Hash(templates []corev1.PersistentVolumeClaim) string {
	if len(templates) == 0 {
		return ""
	}
	said := make([]any, 0, len(templates))
	for i := range templates {
		c := &templates[i]
		said = append(said, []any{c.Name, c.Labels, c.Annotations, c.Spec})
	}
	raw, err := json.Marshal(said)
	if err != nil {
		return "" // what came from the API server can be sent there
	}
	sum := fnv.New32a()
	_, _ = sum.Write(raw) // a hash never fails to take bytes
	return rand.SafeEncodeString(strconv.FormatUint(uint64(sum.Sum32()), 10))
}

// New makes the claims of an instance. They belong to the workload and not to the pod, so that they can outlive it.
func New(
	owner metav1.Object, kind schema.GroupVersionKind, selector map[string]string, templates []corev1.PersistentVolumeClaim, id string,
) []*corev1.PersistentVolumeClaim {
	claims := make([]*corev1.PersistentVolumeClaim, 0, len(templates))
	hash := Hash(templates)
	for i := range templates {
		c := templates[i].DeepCopy()
		labels := maps.Clone(c.Labels)
		if labels == nil {
			labels = map[string]string{}
		}
		maps.Copy(labels, selector)
		labels[appsv1beta1.CloneSetInstanceID] = id
		labels[appsv1beta1.VolumeClaimTemplateHash] = hash
		c.ObjectMeta = metav1.ObjectMeta{
			Name:            Name(c.Name, owner.GetName(), id),
			Namespace:       owner.GetNamespace(),
			Labels:          labels,
			Annotations:     c.Annotations,
			OwnerReferences: []metav1.OwnerReference{*metav1.NewControllerRef(owner, kind)},
		}
		c.Status = corev1.PersistentVolumeClaimStatus{}
		claims = append(claims, c)
	}
	return claims
}

// Mount makes the pod use the instance's claims: each takes the place of the volume with its template's name.
func Mount(spec *corev1.PodSpec, set string, templates []corev1.PersistentVolumeClaim, id string) {
	if len(templates) == 0 {
		return
	}
	replaced := make(map[string]bool, len(templates))
	volumes := make([]corev1.Volume, 0, len(spec.Volumes)+len(templates))
	for i := range templates {
		name := templates[i].Name
		replaced[name] = true
		volumes = append(volumes, corev1.Volume{Name: name, VolumeSource: corev1.VolumeSource{
			PersistentVolumeClaim: &corev1.PersistentVolumeClaimVolumeSource{ClaimName: Name(name, set, id)},
		}})
	}
	for _, volume := range spec.Volumes {
		if !replaced[volume.Name] {
			volumes = append(volumes, volume)
		}
	}
	spec.Volumes = volumes
}

// ByInstance groups claims by the instance they belong to.
func ByInstance(claims []*corev1.PersistentVolumeClaim) map[string][]*corev1.PersistentVolumeClaim {
	grouped := map[string][]*corev1.PersistentVolumeClaim{}
	for _, c := range claims {
		if id := Instance(c); id != "" {
			grouped[id] = append(grouped[id], c)
		}
	}
	return grouped
}

// Missing returns those of the wanted claims that do not exist.
func Missing(wanted, existing []*corev1.PersistentVolumeClaim) []*corev1.PersistentVolumeClaim {
	have := make(map[string]bool, len(existing))
	for _, c := range existing {
		have[c.Name] = true
	}
	var missing []*corev1.PersistentVolumeClaim
	for _, c := range wanted {
		if !have[c.Name] {
			missing = append(missing, c)
		}
	}
	return missing
}

// Growth is a claim that asks for less than its template does now.
type Growth struct {
	Claim *corev1.PersistentVolumeClaim
	Size  resource.Quantity
}

// Grown returns the claims that must grow. A claim never shrinks: Kubernetes cannot do that.
func Grown(set string, templates []corev1.PersistentVolumeClaim, claims []*corev1.PersistentVolumeClaim) []Growth {
	var grown []Growth
	for _, c := range claims {
		for i := range templates {
			wanted := templates[i].Spec.Resources.Requests[corev1.ResourceStorage]
			asked := c.Spec.Resources.Requests[corev1.ResourceStorage]
			if c.Name == Name(templates[i].Name, set, Instance(c)) && wanted.Cmp(asked) > 0 && growable(c) {
				grown = append(grown, Growth{c, wanted})
			}
		}
	}
	return grown
}

// Larger reports whether one claim asks for more storage than another.
func Larger(one, other *corev1.PersistentVolumeClaim) bool {
	asks, less := one.Spec.Resources.Requests[corev1.ResourceStorage], other.Spec.Resources.Requests[corev1.ResourceStorage]
	return asks.Cmp(less) > 0
}

// growable: the API server refuses to change a claim that has no volume yet.
func growable(c *corev1.PersistentVolumeClaim) bool {
	return c.DeletionTimestamp == nil && c.Status.Phase == corev1.ClaimBound
}

// Waiting tells what a claim that is not usable yet waits for, or "".
func Waiting(c *corev1.PersistentVolumeClaim) string {
	switch {
	case c.DeletionTimestamp != nil:
		return fmt.Sprintf("claim %s is still being deleted", c.Name)
	case c.Status.Phase == corev1.ClaimLost:
		return fmt.Sprintf("claim %s has lost its volume", c.Name)
	case c.Status.Phase != corev1.ClaimBound:
		return fmt.Sprintf("claim %s is not bound to a volume (storage class %q)", c.Name, className(c))
	}
	for _, condition := range c.Status.Conditions {
		if condition.Type == corev1.PersistentVolumeClaimFileSystemResizePending && condition.Status == corev1.ConditionTrue {
			return fmt.Sprintf("claim %s grows when its pod starts again", c.Name)
		}
	}
	return ""
}

func className(c *corev1.PersistentVolumeClaim) string {
	if c.Spec.StorageClassName == nil {
		return "the default one"
	}
	return *c.Spec.StorageClassName
}
