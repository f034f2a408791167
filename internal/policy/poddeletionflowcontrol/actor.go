package poddeletionflowcontrol

import (
	"slices"
	"strings"

	authenticationv1 "k8s.io/api/authentication/v1"
	corev1 "k8s.io/api/core/v1"

	"github.com/holdfast-io/holdfast/api/policy/v1alpha1"
)

// Users by which Kubernetes deletes pods. Without --use-service-account-credentials, the controllers all are the controller
// manager; then the reason that they write into the pod's condition DisruptionTarget before they delete it tells them apart.
// https://kubernetes.io/docs/concepts/workloads/pods/disruptions/#pod-disruption-conditions
const (
	groupNodes        = "system:nodes"
	userScheduler     = "system:kube-scheduler"
	userManager       = "system:kube-controller-manager"
	userPodGC         = "system:serviceaccount:kube-system:pod-garbage-collector"
	userNode          = "system:serviceaccount:kube-system:node-controller"
	userTaintEviction = "system:serviceaccount:kube-system:taint-eviction-controller"

	reasonTaint = "DeletionByTaintManager"
	reasonPodGC = "DeletionByPodGC"
)

// removesWhatIsGone tells whether the kubelet or the pod garbage collector asks: they end pods that are over already.
func removesWhatIsGone(u authenticationv1.UserInfo, p *corev1.Pod) bool {
	if slices.Contains(u.Groups, groupNodes) || strings.HasPrefix(u.Username, "system:node:") || u.Username == userPodGC {
		return true
	}
	return u.Username == userManager && disruptedFor(p) == reasonPodGC
}

// systemDeletion names the deletion by Kubernetes itself that this is; "": none.
func systemDeletion(u authenticationv1.UserInfo, p *corev1.Pod) v1alpha1.SystemDeletion {
	switch u.Username {
	case userScheduler:
		return v1alpha1.Preemption
	case userTaintEviction, userNode:
		return v1alpha1.TaintEviction
	case userManager:
		if disruptedFor(p) == reasonTaint {
			return v1alpha1.TaintEviction
		}
	}
	return ""
}

// disruptedFor is the reason that Kubernetes gives for taking the pod away.
func disruptedFor(p *corev1.Pod) string {
	for _, c := range p.Status.Conditions {
		if c.Type == corev1.DisruptionTarget && c.Status == corev1.ConditionTrue {
			return c.Reason
		}
	}
	return ""
}
