package operator

import (
	"strings"

	appsv1 "k8s.io/api/apps/v1"
	batchv1 "k8s.io/api/batch/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"

	appsv1beta1 "github.com/holdfast-io/holdfast/api/apps/v1beta1"
)

// slimOthers drops from Kubernetes's own workloads what only their own controllers read, so that the cache hardly grows with
// what is not ours: of a Job all but its conditions, of the others the pod template but for its labels, of their revisions the
// content. What belongs to a subset stays whole: it is compared with what it should be, and a label makes it one at any time.
// A revision without an owner may be inherited. Neither may be written back with an update.
func slimOthers(in any) (any, error) {
	if _, err := bare(in); err != nil {
		return nil, err
	}
	switch o := in.(type) {
	case *appsv1.Deployment:
		slimTemplate(o, &o.Spec.Template)
		o.Status.Conditions = nil
	case *appsv1.StatefulSet:
		slimTemplate(o, &o.Spec.Template)
		if !ofSubset(o) {
			o.Spec.VolumeClaimTemplates = nil
		}
	case *appsv1.DaemonSet:
		slimTemplate(o, &o.Spec.Template)
	case *appsv1.ControllerRevision:
		if owner := metav1.GetControllerOfNoCopy(o); owner != nil && strings.HasPrefix(owner.APIVersion, appsv1.GroupName+"/") {
			o.Data = runtime.RawExtension{}
		}
	case *batchv1.Job:
		o.Spec, o.Status = batchv1.JobSpec{}, batchv1.JobStatus{Conditions: o.Status.Conditions}
	}
	return in, nil
}

func slimTemplate(o metav1.Object, template *corev1.PodTemplateSpec) {
	if !ofSubset(o) {
		*template = corev1.PodTemplateSpec{ObjectMeta: metav1.ObjectMeta{Labels: template.Labels}}
	}
}

func ofSubset(o metav1.Object) bool {
	_, is := o.GetLabels()[appsv1beta1.SubsetName]
	return is
}
