package hook

import (
	"encoding/json"
	"slices"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	appsv1beta1 "github.com/holdfast-io/holdfast/api/apps/v1beta1"
	"github.com/holdfast-io/holdfast/internal/pod"
)

// holder is one of those who keep a pod from being ready through the gate KruisePodReady, which has several writers: its
// message lists them, and it is True only when the list is empty.
type holder struct {
	UserAgent string `json:"userAgent"`
	Key       string `json:"key"`
}

const lifecycleAgent = "Lifecycle"

// Gates returns the readiness gates of the pod that must be written: those that do not say what they should. state is the
// lifecycle state that the pod is in or is moved to, unready whether a change in place keeps it out of service.
func Gates(
	lifecycle *appsv1beta1.Lifecycle, p *corev1.Pod, state appsv1beta1.LifecycleState, unready bool, now time.Time,
) []corev1.PodCondition {
	var stale []corev1.PodCondition
	for _, gate := range p.Spec.ReadinessGates {
		status, message := corev1.ConditionTrue, ""
		switch gate.ConditionType {
		case appsv1beta1.InPlaceUpdateReady:
			if unready {
				status = corev1.ConditionFalse
			}
		case appsv1beta1.KruisePodReady:
			status, message = podReady(p, marksNotReady(lifecycle, state))
		default:
			continue
		}
		old := pod.Condition(p, gate.ConditionType)
		if old != nil && old.Status == status && old.Message == message {
			continue
		}
		fresh := corev1.PodCondition{Type: gate.ConditionType, Status: status, Message: message, LastTransitionTime: metav1.NewTime(now)}
		if old != nil && old.Status == status {
			fresh.LastTransitionTime = old.LastTransitionTime
		}
		stale = append(stale, fresh)
	}
	return stale
}

func marksNotReady(lifecycle *appsv1beta1.Lifecycle, state appsv1beta1.LifecycleState) bool {
	if lifecycle == nil {
		return false
	}
	switch state {
	case appsv1beta1.LifecycleStatePreparingDelete:
		return lifecycle.PreDelete != nil && lifecycle.PreDelete.MarkPodNotReady
	case appsv1beta1.LifecycleStatePreparingUpdate, appsv1beta1.LifecycleStateUpdating:
		return lifecycle.InPlaceUpdate != nil && lifecycle.InPlaceUpdate.MarkPodNotReady
	case appsv1beta1.LifecycleStatePreparingNormal, appsv1beta1.LifecycleStateNormal, appsv1beta1.LifecycleStateUpdated:
	}
	return false
}

// podReady returns what the gate KruisePodReady should say with our own hold on it set or lifted, the others' kept.
func podReady(p *corev1.Pod, hold bool) (corev1.ConditionStatus, string) {
	var holders []holder
	if c := pod.Condition(p, appsv1beta1.KruisePodReady); c != nil && c.Message != "" {
		// A message that is no list was written by nobody who holds the pod.
		_ = json.Unmarshal([]byte(c.Message), &holders)
	}
	ours := holder{UserAgent: lifecycleAgent, Key: "lifecycle"}
	mine := func(h holder) bool { return h == ours }
	switch held := slices.ContainsFunc(holders, mine); {
	case hold && !held:
		holders = append(holders, ours)
	case !hold && held:
		holders = slices.DeleteFunc(holders, mine)
	}
	if len(holders) == 0 {
		return corev1.ConditionTrue, ""
	}
	raw, err := json.Marshal(holders)
	if err != nil {
		return corev1.ConditionFalse, ""
	}
	return corev1.ConditionFalse, string(raw)
}

// Needed are the readiness gates that new pods need beyond those of their template: a gate costs a write per pod and makes
// pods wait for us, so they get one only where something takes them out of service by it.
func Needed(lifecycle *appsv1beta1.Lifecycle, grace time.Duration, change appsv1beta1.PodUpdatePolicyType) []corev1.PodConditionType {
	var gates []corev1.PodConditionType
	if grace > 0 && change != appsv1beta1.RecreatePodUpdatePolicy {
		gates = append(gates, appsv1beta1.InPlaceUpdateReady)
	}
	if l := lifecycle; l != nil && (marks(l.PreDelete) || marks(l.InPlaceUpdate) || marks(l.PreNormal)) {
		gates = append(gates, appsv1beta1.KruisePodReady)
	}
	return gates
}

func marks(h *appsv1beta1.LifecycleHook) bool { return h != nil && h.MarkPodNotReady }
