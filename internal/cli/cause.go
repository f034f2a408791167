package cli

import (
	"fmt"
	"slices"
	"strings"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"

	"github.com/holdfast-io/holdfast/api/apps/v1beta1"
	"github.com/holdfast-io/holdfast/internal/pod"
)

// ofPod says what a pod waits for: what keeps it from running, then what keeps its change back.
func ofPod(e Evidence, p *corev1.Pod, now time.Time) []Finding {
	finding, found := running(e, p, now)
	var findings []Finding
	if found {
		findings = append(findings, finding)
	}
	if e.Workload.Object != nil {
		change := changeOf(e.Snapshot, p)
		if held, waits := ofChange(e.Workload, change); waits && (!found || !told(change)) {
			findings = append(findings, held)
		}
	}
	for i := range findings {
		findings[i].Pods = []string{p.Name}
		if e.Workload.Object != nil && e.Workload.Object.GetNamespace() == "" {
			findings[i].Pods[0] = p.Namespace + "/" + p.Name
		}
	}
	return findings
}

// told tells whether what keeps a pod from running already says why its change waits.
func told(c Change) bool {
	return c.State == ChangeUpdating || c.State == ChangeDeleting ||
		slices.Contains([]string{"Image", "PVC", "Scheduling", "Container", "Update"}, c.Reason)
}

// running is the first thing that keeps a pod from running and counting.
func running(e Evidence, p *corev1.Pod, now time.Time) (Finding, bool) {
	checks := []func(Evidence, *corev1.Pod, time.Time) (Finding, bool){
		ofDeletion, ofEnd, ofClaims, ofScheduling, ofNode, ofContainers, ofSandbox, ofProbe, ofGates, ofAvailability,
	}
	for _, check := range checks {
		if finding, found := check(e, p, now); found {
			return finding, true
		}
	}
	return Finding{}, false
}

// ofDeletion covers pods that were asked to go.
func ofDeletion(_ Evidence, p *corev1.Pod, now time.Time) (Finding, bool) {
	switch {
	case p.DeletionTimestamp == nil:
		return Finding{}, false
	case len(p.Finalizers) > 0 && now.After(p.DeletionTimestamp.Time):
		return Finding{
			Cause: "Finalizer", What: "it is deleted, and held by finalizers", Why: strings.Join(p.Finalizers, ", "),
			Do: "the controller that set a finalizer must take it off; see that it runs",
		}, true
	case now.After(p.DeletionTimestamp.Add(30 * time.Second)):
		return Finding{
			Cause: "Deleting", What: "it should be gone, and its node does not confirm it", Why: "node " + orDash(p.Spec.NodeName),
			Do: "see the node: kubectl describe node " + p.Spec.NodeName,
		}, true
	}
	return Finding{
		Cause: "Deleting", What: "it is being deleted", Why: "its containers may use their terminationGracePeriodSeconds",
		Do: "wait",
	}, true
}

// ofEnd covers pods that will not run again, and healthy ones at their end.
func ofEnd(_ Evidence, p *corev1.Pod, _ time.Time) (Finding, bool) {
	if p.Status.Phase != corev1.PodFailed {
		return Finding{}, false
	}
	why := strings.TrimSpace(p.Status.Reason + " " + p.Status.Message)
	if c := pod.Condition(p, corev1.DisruptionTarget); c != nil && c.Status == corev1.ConditionTrue {
		why = strings.TrimSpace(why + " " + c.Reason + " " + c.Message)
	}
	return Finding{
		Cause: "Failed", What: "it has failed and will not run again", Why: why,
		Do: "a workload replaces it; to see its end: kubectl logs " + p.Name + " --all-containers",
	}, true
}

// ofClaims covers claims that keep a pod from being scheduled.
func ofClaims(e Evidence, p *corev1.Pod, now time.Time) (Finding, bool) {
	if !e.Known || p.Spec.NodeName != "" {
		return Finding{}, false
	}
	unbound := scheduled(p) != nil && strings.Contains(scheduled(p).Message, "PersistentVolumeClaim")
	for _, volume := range p.Spec.Volumes {
		if volume.PersistentVolumeClaim == nil {
			continue
		}
		name := volume.PersistentVolumeClaim.ClaimName
		claim, found := e.Claims[name]
		if !found {
			return Finding{
				Cause: "Claim", What: fmt.Sprintf("its claim %s does not exist", name),
				Do: "create the PersistentVolumeClaim, or correct the volume " + volume.Name,
			}, true
		}
		if f, waits := ofClaim(e, &claim, unbound, now); waits {
			return f, true
		}
	}
	return Finding{}, false
}

func ofClaim(e Evidence, claim *corev1.PersistentVolumeClaim, unbound bool, now time.Time) (Finding, bool) {
	if claim.Status.Phase == corev1.ClaimLost {
		return Finding{
			Cause: "Claim", What: fmt.Sprintf("its claim %s has lost its volume", claim.Name),
			Do: "restore the PersistentVolume " + claim.Spec.VolumeName + ", or delete the claim",
		}, true
	}
	event, failed := e.last(now, []types.UID{claim.UID}, "ProvisioningFailed", "FailedBinding", "VolumeMismatch", "ClaimMisbound")
	if claim.Status.Phase != corev1.ClaimPending || !failed && !unbound {
		return Finding{}, false // a claim that only waits for its first consumer holds nobody
	}
	f := Finding{
		Cause: "Claim", What: fmt.Sprintf("its claim %s is not bound", claim.Name), Why: event.Message,
		Do: "see what the claim says: kubectl describe pvc " + claim.Name,
	}
	class := claim.Spec.StorageClassName
	switch {
	case class == nil:
		f.Do = "name a StorageClass in the claim, or make one the default: kubectl get storageclass"
	case *class != "" && strings.Contains(event.Message, "not found"):
		f.Do = fmt.Sprintf("create the StorageClass %s, or name another: kubectl get storageclass", *class)
	case *class == "":
		f.Do = "create a PersistentVolume that fits the claim, or name a StorageClass in it"
	}
	return f, true
}

func scheduled(p *corev1.Pod) *corev1.PodCondition {
	if c := pod.Condition(p, corev1.PodScheduled); c != nil && c.Status == corev1.ConditionFalse {
		return c
	}
	return nil
}

// ofScheduling covers pods without a node.
func ofScheduling(_ Evidence, p *corev1.Pod, now time.Time) (Finding, bool) {
	if p.Spec.NodeName != "" || p.Status.Phase != corev1.PodPending && p.Status.Phase != "" {
		return Finding{}, false
	}
	c := scheduled(p)
	switch {
	case c == nil && now.Sub(p.CreationTimestamp.Time) < 10*time.Second:
		return Finding{Cause: "Scheduling", What: "it has just been created, and has no node yet", Do: "wait some seconds"}, true
	case c == nil:
		return Finding{
			Cause: "Scheduling", What: "no scheduler has looked at it",
			Why: "its schedulerName is " + orDash(p.Spec.SchedulerName), Do: "see whether that scheduler runs",
		}, true
	case c.Reason == corev1.PodReasonSchedulingGated:
		var gates []string
		for _, gate := range p.Spec.SchedulingGates {
			gates = append(gates, gate.Name)
		}
		return Finding{
			Cause: "Scheduling", What: "it is kept from being scheduled by a gate", Why: strings.Join(gates, ", "),
			Do: "the controller that set the gate must take it off",
		}, true
	}
	return Finding{Cause: "Scheduling", What: "no node can take it", Why: c.Message, Do: schedulingHint(c.Message)}, true
}

// ofNode covers pods whose node does not answer.
func ofNode(e Evidence, p *corev1.Pod, _ time.Time) (Finding, bool) {
	node, found := e.Nodes[p.Spec.NodeName]
	if !found || pod.Ready(p) {
		return Finding{}, false
	}
	for _, c := range node.Status.Conditions {
		if c.Type == corev1.NodeReady && c.Status != corev1.ConditionTrue {
			return Finding{
				Cause: "Node", What: "its node " + node.Name + " is not ready", Why: strings.TrimSpace(c.Reason + " " + c.Message),
				Do: "see the node: kubectl describe node " + node.Name,
			}, true
		}
	}
	return Finding{}, false
}

// ofSandbox covers pods that have a node, whose containers are not made yet.
func ofSandbox(e Evidence, p *corev1.Pod, now time.Time) (Finding, bool) {
	if p.Status.Phase != corev1.PodPending || p.Spec.NodeName == "" {
		return Finding{}, false
	}
	id := []types.UID{p.UID}
	if event, found := e.last(now, id, "FailedMount", "FailedAttachVolume", "FailedMapVolume"); found {
		return Finding{
			Cause: "Volume", What: "a volume cannot be attached or mounted", Why: event.Message,
			Do: "see that the ConfigMap, Secret or claim it names exists, and that no other node holds the volume",
		}, true
	}
	if event, found := e.last(now, id, "FailedCreatePodSandBox", "NetworkNotReady"); found {
		return Finding{
			Cause: "Network", What: "its network cannot be set up", Why: event.Message,
			Do: "see the network plugin on node " + p.Spec.NodeName,
		}, true
	}
	return Finding{
		Cause: "Start", What: "its containers are being created on node " + p.Spec.NodeName,
		Why: "scheduled " + age(scheduledAt(p), now) + " ago", Do: "wait; if it stays, kubectl describe pod " + p.Name,
	}, true
}

func scheduledAt(p *corev1.Pod) time.Time {
	if c := pod.Condition(p, corev1.PodScheduled); c != nil {
		return c.LastTransitionTime.Time
	}
	return p.CreationTimestamp.Time
}

// ofProbe covers containers that run and are not ready.
func ofProbe(e Evidence, p *corev1.Pod, now time.Time) (Finding, bool) {
	if c := pod.Condition(p, corev1.ContainersReady); c == nil || c.Status != corev1.ConditionFalse {
		return Finding{}, false
	}
	for _, status := range p.Status.ContainerStatuses {
		if status.Ready || status.State.Running == nil {
			continue
		}
		f := Finding{
			Cause: "Probe", What: fmt.Sprintf("container %s runs and is not ready", status.Name),
			Do: fmt.Sprintf("see what it does: kubectl logs %s -c %s; and its probes", p.Name, status.Name),
		}
		if event, found := e.last(now, []types.UID{p.UID}, "Unhealthy"); found {
			f.Why = event.Message
		} else if status.Started != nil && !*status.Started {
			f.Why = "its startup probe has not succeeded yet"
		}
		return f, true
	}
	return Finding{}, false
}

// ofGates covers readiness gates, which somebody outside of the pod must set.
func ofGates(_ Evidence, p *corev1.Pod, _ time.Time) (Finding, bool) {
	if pod.Ready(p) || changingInPlace(p) {
		return Finding{}, false
	}
	for _, gate := range p.Spec.ReadinessGates {
		c := pod.Condition(p, gate.ConditionType)
		if c != nil && c.Status == corev1.ConditionTrue {
			continue
		}
		f := Finding{
			Cause: "Gate", What: fmt.Sprintf("its readiness gate %s is not True", gate.ConditionType),
			Why: "nobody has set the condition yet", Do: "see whether the controller that sets it runs",
		}
		if c != nil {
			f.Why = strings.TrimSpace(c.Reason + " " + c.Message)
		}
		if gate.ConditionType == v1beta1.InPlaceUpdateReady {
			f.Do = "it becomes True when the change in place is done"
		}
		if gate.ConditionType == v1beta1.KruisePodReady {
			f.Do = "whoever is named must let the pod go: the message lists who keeps it not ready"
		}
		return f, true
	}
	return Finding{}, false
}

// ofAvailability covers pods that are ready and do not count as available.
func ofAvailability(e Evidence, p *corev1.Pod, now time.Time) (Finding, bool) {
	if !pod.Ready(p) || e.Workload.Object == nil {
		return Finding{}, false
	}
	for key := range p.Labels {
		if strings.HasPrefix(key, v1beta1.UnavailablePodPrefix) {
			return Finding{
				Cause: "Marked", What: "a label marks it as unavailable", Why: key,
				Do: "take the label off when the pod may count again",
			}, true
		}
	}
	minReady := time.Duration(e.Workload.number("spec.minReadySeconds", 0)) * time.Second
	if available, missing := pod.Available(p, minReady, now); !available && missing > 0 {
		return Finding{
			Cause: "MinReady", What: "it is ready, and becomes available by time alone",
			Why: fmt.Sprintf("minReadySeconds is %d", minReady/time.Second), Do: "wait",
		}, true
	}
	return Finding{}, false
}

func readiness(p *corev1.Pod) string {
	if pod.Ready(p) {
		return "ready"
	}
	return "not ready"
}

// controllerOf names the object that controls a pod.
func controllerOf(p *corev1.Pod) *metav1.OwnerReference { return metav1.GetControllerOfNoCopy(p) }
