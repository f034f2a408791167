package uniteddeployment

import (
	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/util/intstr"
	"k8s.io/utils/ptr"
	"sigs.k8s.io/controller-runtime/pkg/client"

	appsv1beta1 "github.com/holdfast-io/holdfast/api/apps/v1beta1"
)

// family is a kind of workload that can be a subset's.
type family struct {
	kind schema.GroupVersionKind
	// field of spec.template.
	field string
	// empty makes an object of the kind, and list a list.
	empty func() client.Object
	list  func() client.ObjectList
	// made is the object as the template has it.
	made func(t *appsv1beta1.SubsetTemplate) client.Object
	// numbered: pods have ordinals, and the last of them goes first, ready or not.
	numbered bool
}

// families lists the kinds.
func families() []family {
	return []family{
		{
			kind: appsv1.SchemeGroupVersion.WithKind("StatefulSet"), field: "statefulSetTemplate", numbered: true,
			empty: func() client.Object { return &appsv1.StatefulSet{} },
			list:  func() client.ObjectList { return &appsv1.StatefulSetList{} },
			made: func(t *appsv1beta1.SubsetTemplate) client.Object {
				if t.StatefulSetTemplate == nil {
					return nil
				}
				return &appsv1.StatefulSet{ObjectMeta: dress(t.StatefulSetTemplate.ObjectMeta), Spec: *t.StatefulSetTemplate.Spec.DeepCopy()}
			},
		},
		{
			kind: appsv1beta1.SchemeGroupVersion.WithKind("StatefulSet"), field: "advancedStatefulSetTemplate", numbered: true,
			empty: func() client.Object { return &appsv1beta1.StatefulSet{} },
			list:  func() client.ObjectList { return &appsv1beta1.StatefulSetList{} },
			made: func(t *appsv1beta1.SubsetTemplate) client.Object {
				if t.AdvancedStatefulSetTemplate == nil {
					return nil
				}
				return &appsv1beta1.StatefulSet{
					ObjectMeta: dress(t.AdvancedStatefulSetTemplate.ObjectMeta), Spec: *t.AdvancedStatefulSetTemplate.Spec.DeepCopy(),
				}
			},
		},
		{
			kind: appsv1beta1.SchemeGroupVersion.WithKind("CloneSet"), field: "cloneSetTemplate",
			empty: func() client.Object { return &appsv1beta1.CloneSet{} },
			list:  func() client.ObjectList { return &appsv1beta1.CloneSetList{} },
			made: func(t *appsv1beta1.SubsetTemplate) client.Object {
				if t.CloneSetTemplate == nil {
					return nil
				}
				return &appsv1beta1.CloneSet{ObjectMeta: dress(t.CloneSetTemplate.ObjectMeta), Spec: *t.CloneSetTemplate.Spec.DeepCopy()}
			},
		},
		{
			kind: appsv1.SchemeGroupVersion.WithKind("Deployment"), field: "deploymentTemplate",
			empty: func() client.Object { return &appsv1.Deployment{} },
			list:  func() client.ObjectList { return &appsv1.DeploymentList{} },
			made: func(t *appsv1beta1.SubsetTemplate) client.Object {
				if t.DeploymentTemplate == nil {
					return nil
				}
				return &appsv1.Deployment{ObjectMeta: dress(t.DeploymentTemplate.ObjectMeta), Spec: *t.DeploymentTemplate.Spec.DeepCopy()}
			},
		},
	}
}

// dress keeps of a template's metadata what an object takes from it.
func dress(meta metav1.ObjectMeta) metav1.ObjectMeta {
	copied := meta.DeepCopy()
	return metav1.ObjectMeta{Labels: copied.Labels, Annotations: copied.Annotations, Finalizers: copied.Finalizers}
}

// familyOf is the kind that the template asks for; false when it asks for none.
func familyOf(t *appsv1beta1.SubsetTemplate) (family, bool) {
	for _, f := range families() {
		if f.made(t) != nil {
			return f, true
		}
	}
	return family{}, false
}

// shape are the fields that all kinds have, each where the kind has it.
type shape struct {
	spec     any
	replicas **int32
	selector **metav1.LabelSelector
	template *corev1.PodTemplateSpec
}

func shapeOf(object client.Object) shape {
	switch o := object.(type) {
	case *appsv1.StatefulSet:
		return shape{&o.Spec, &o.Spec.Replicas, &o.Spec.Selector, &o.Spec.Template}
	case *appsv1beta1.StatefulSet:
		return shape{&o.Spec, &o.Spec.Replicas, &o.Spec.Selector, &o.Spec.Template}
	case *appsv1beta1.CloneSet:
		return shape{&o.Spec, &o.Spec.Replicas, &o.Spec.Selector, &o.Spec.Template}
	case *appsv1.Deployment:
		return shape{&o.Spec, &o.Spec.Replicas, &o.Spec.Selector, &o.Spec.Template}
	default:
		return shape{}
	}
}

// keep has an object keep n of its pods at their old revision.
func keep(object client.Object, n int32) {
	switch o := object.(type) {
	case *appsv1.StatefulSet:
		if o.Spec.UpdateStrategy.RollingUpdate == nil {
			o.Spec.UpdateStrategy.RollingUpdate = &appsv1.RollingUpdateStatefulSetStrategy{}
		}
		start := int32(0) // its partition is not a number of pods, but the first ordinal that is updated
		if o.Spec.Ordinals != nil {
			start = o.Spec.Ordinals.Start
		}
		o.Spec.UpdateStrategy.RollingUpdate.Partition = ptr.To(start + n)
	case *appsv1beta1.StatefulSet:
		if o.Spec.UpdateStrategy.RollingUpdate == nil {
			o.Spec.UpdateStrategy.RollingUpdate = &appsv1beta1.RollingUpdateStatefulSetStrategy{}
		}
		o.Spec.UpdateStrategy.RollingUpdate.Partition = &n
	case *appsv1beta1.CloneSet:
		if o.Spec.UpdateStrategy.RollingUpdate == nil {
			o.Spec.UpdateStrategy.RollingUpdate = &appsv1beta1.RollingUpdateCloneSetStrategy{}
		}
		o.Spec.UpdateStrategy.RollingUpdate.Partition = ptr.To(intstr.FromInt32(n))
	case *appsv1.Deployment:
		o.Spec.Paused = o.Spec.Paused || n > 0
	}
}

// keeps is how many pods a workload keeps at their old revision.
func keeps(c *child) int32 {
	n := int32(0)
	switch o := c.object.(type) {
	case *appsv1.StatefulSet:
		if rolling := o.Spec.UpdateStrategy.RollingUpdate; rolling != nil {
			n = ptr.Deref(rolling.Partition, 0)
		}
		if o.Spec.Ordinals != nil {
			n = max(n-o.Spec.Ordinals.Start, 0)
		}
	case *appsv1beta1.StatefulSet:
		if rolling := o.Spec.UpdateStrategy.RollingUpdate; rolling != nil {
			n = ptr.Deref(rolling.Partition, 0)
		}
	case *appsv1beta1.CloneSet:
		if rolling := o.Spec.UpdateStrategy.RollingUpdate; rolling != nil && rolling.Partition != nil {
			n = scaled(rolling.Partition, c.asked, 0)
		}
	case *appsv1.Deployment:
		if o.Spec.Paused {
			n = c.asked
		}
	}
	return min(n, c.asked)
}

// counts is what a workload's status says.
type counts struct {
	// observed: the workload's controller has seen its spec.
	observed                              bool
	pods, ready, updated, updatedAndReady int32
}

func countsOf(object client.Object) counts {
	var c counts
	var seen int64
	switch o := object.(type) {
	case *appsv1.StatefulSet:
		s := &o.Status
		seen, c.pods, c.ready, c.updated = s.ObservedGeneration, s.Replicas, s.ReadyReplicas, s.UpdatedReplicas
		if s.UpdateRevision != "" && s.UpdateRevision == s.CurrentRevision {
			c.updated = s.Replicas // it stops counting once all are updated
		}
	case *appsv1beta1.StatefulSet:
		s := &o.Status
		seen, c.pods, c.ready, c.updated = s.ObservedGeneration, s.Replicas, s.ReadyReplicas, s.UpdatedReplicas
		c.updatedAndReady = s.UpdatedReadyReplicas
	case *appsv1beta1.CloneSet:
		s := &o.Status
		seen, c.pods, c.ready, c.updated = s.ObservedGeneration, s.Replicas, s.ReadyReplicas, s.UpdatedReplicas
		c.updatedAndReady = s.UpdatedReadyReplicas
	case *appsv1.Deployment:
		s := &o.Status
		seen, c.pods, c.ready, c.updated = s.ObservedGeneration, s.Replicas, s.ReadyReplicas, s.UpdatedReplicas
	}
	if native(object) {
		// They do not say it. At least as many as remain when all that are not ready are updated ones.
		c.updatedAndReady = max(c.updated-max(c.pods-c.ready, 0), 0)
	}
	c.observed = seen >= object.GetGeneration()
	return c
}

// native reports whether a workload is one of Kubernetes's own.
func native(object client.Object) bool {
	switch object.(type) {
	case *appsv1.StatefulSet, *appsv1.Deployment:
		return true
	default:
		return false
	}
}
