package autobudget

import (
	appsv1 "k8s.io/api/apps/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/util/intstr"
	"k8s.io/utils/ptr"
	"sigs.k8s.io/controller-runtime/pkg/client"

	appsv1beta1 "github.com/holdfast-io/holdfast/api/apps/v1beta1"
)

// Kind is a kind of workload that can have budgets made.
type Kind[T client.Object] struct {
	// Title tells the kind from all others, also from one of the same name in another group.
	Title string
	GVK   schema.GroupVersionKind
	// List makes an empty list of the kind.
	List func() client.ObjectList
	// Facts reads what matters.
	Facts func(T) facts
}

func share(value *intstr.IntOrString, otherwise string) intstr.IntOrString {
	return ptr.Deref(value, intstr.Parse(otherwise))
}

// Deployments of Kubernetes.
func Deployments() Kind[*appsv1.Deployment] {
	return Kind[*appsv1.Deployment]{
		Title: "Deployment", GVK: appsv1.SchemeGroupVersion.WithKind("Deployment"),
		List: func() client.ObjectList { return &appsv1.DeploymentList{} },
		Facts: func(d *appsv1.Deployment) facts {
			return facts{selector: d.Spec.Selector, podLabels: d.Spec.Template.Labels, strategy: ofDeployment(&d.Spec)}
		},
	}
}

// https://kubernetes.io/docs/concepts/workloads/controllers/deployment/#max-unavailable
func ofDeployment(spec *appsv1.DeploymentSpec) intstr.IntOrString {
	if spec.Strategy.RollingUpdate == nil {
		return intstr.FromString("25%")
	}
	return share(spec.Strategy.RollingUpdate.MaxUnavailable, "25%")
}

// StatefulSets of Kubernetes.
func StatefulSets() Kind[*appsv1.StatefulSet] {
	return Kind[*appsv1.StatefulSet]{
		Title: "StatefulSet", GVK: appsv1.SchemeGroupVersion.WithKind("StatefulSet"),
		List: func() client.ObjectList { return &appsv1.StatefulSetList{} },
		Facts: func(s *appsv1.StatefulSet) facts {
			return facts{selector: s.Spec.Selector, podLabels: s.Spec.Template.Labels, strategy: ofStatefulSet(&s.Spec)}
		},
	}
}

// https://kubernetes.io/docs/concepts/workloads/controllers/statefulset/#maximum-unavailable-pods
func ofStatefulSet(spec *appsv1.StatefulSetSpec) intstr.IntOrString {
	if spec.UpdateStrategy.RollingUpdate == nil {
		return intstr.FromInt32(1)
	}
	return share(spec.UpdateStrategy.RollingUpdate.MaxUnavailable, "1")
}

// CloneSets are ours.
func CloneSets() Kind[*appsv1beta1.CloneSet] {
	return Kind[*appsv1beta1.CloneSet]{
		Title: "CloneSet", GVK: appsv1beta1.SchemeGroupVersion.WithKind("CloneSet"),
		List: func() client.ObjectList { return &appsv1beta1.CloneSetList{} },
		Facts: func(c *appsv1beta1.CloneSet) facts {
			return facts{selector: c.Spec.Selector, podLabels: c.Spec.Template.Labels, strategy: ofCloneSet(&c.Spec)}
		},
	}
}

func ofCloneSet(spec *appsv1beta1.CloneSetSpec) intstr.IntOrString {
	return share(ptr.Deref(spec.UpdateStrategy.RollingUpdate, appsv1beta1.RollingUpdateCloneSetStrategy{}).MaxUnavailable, "20%")
}

// AdvancedStatefulSets are the StatefulSets of apps.kruise.io.
func AdvancedStatefulSets() Kind[*appsv1beta1.StatefulSet] {
	return Kind[*appsv1beta1.StatefulSet]{
		Title: "AdvancedStatefulSet", GVK: appsv1beta1.SchemeGroupVersion.WithKind("StatefulSet"),
		List: func() client.ObjectList { return &appsv1beta1.StatefulSetList{} },
		Facts: func(s *appsv1beta1.StatefulSet) facts {
			return facts{selector: s.Spec.Selector, podLabels: s.Spec.Template.Labels, strategy: ofAdvancedStatefulSet(&s.Spec)}
		},
	}
}

func ofAdvancedStatefulSet(spec *appsv1beta1.StatefulSetSpec) intstr.IntOrString {
	return share(ptr.Deref(spec.UpdateStrategy.RollingUpdate, appsv1beta1.RollingUpdateStatefulSetStrategy{}).MaxUnavailable, "1")
}

// UnitedDeployments are ours; the strategy is that of the workload in each subset.
func UnitedDeployments() Kind[*appsv1beta1.UnitedDeployment] {
	return Kind[*appsv1beta1.UnitedDeployment]{
		Title: "UnitedDeployment", GVK: appsv1beta1.SchemeGroupVersion.WithKind("UnitedDeployment"),
		List: func() client.ObjectList { return &appsv1beta1.UnitedDeploymentList{} },
		Facts: func(u *appsv1beta1.UnitedDeployment) facts {
			f := facts{selector: u.Spec.Selector, strategy: intstr.FromInt32(1)}
			t := &u.Spec.Template
			switch {
			case t.StatefulSetTemplate != nil:
				f.podLabels, f.strategy = t.StatefulSetTemplate.Spec.Template.Labels, ofStatefulSet(&t.StatefulSetTemplate.Spec)
			case t.AdvancedStatefulSetTemplate != nil:
				spec := &t.AdvancedStatefulSetTemplate.Spec
				f.podLabels, f.strategy = spec.Template.Labels, ofAdvancedStatefulSet(spec)
			case t.CloneSetTemplate != nil:
				f.podLabels, f.strategy = t.CloneSetTemplate.Spec.Template.Labels, ofCloneSet(&t.CloneSetTemplate.Spec)
			case t.DeploymentTemplate != nil:
				f.podLabels, f.strategy = t.DeploymentTemplate.Spec.Template.Labels, ofDeployment(&t.DeploymentTemplate.Spec)
			}
			return f
		},
	}
}
