package cli

import "strings"

// hint is what to do about a message that holds certain words.
type hint struct{ words, do string }

func firstHint(message string, hints []hint, otherwise string) string {
	for _, h := range hints {
		if strings.Contains(strings.ToLower(message), h.words) {
			return h.do
		}
	}
	return otherwise
}

// schedulingHint says what to do about a scheduler's message.
func schedulingHint(message string) string {
	return firstHint(message, []hint{
		{"no nodes available", "add a node, or see why none is ready: kubectl get nodes"},
		{"insufficient", "lower the pod's requests, free some, or add nodes"},
		{"too many pods", "add nodes, or raise the nodes' limit of pods"},
		{"volume node affinity", "the volume lives on another node or zone: let the pod go there, or move the volume"},
		{"unbound immediate", "see the claim: kubectl get pvc"},
		{"persistentvolumeclaim", "see the claim: kubectl get pvc"},
		{"anti-affinity", "add nodes, or loosen the anti-affinity"},
		{"topology spread", "add nodes in the missing zones, or set whenUnsatisfiable: ScheduleAnyway"},
		{"untolerated taint", "tolerate the taint in the template, or take it off a node"},
		{"node affinity/selector", "correct nodeSelector or affinity, or label a node"},
		{"free ports", "give up hostPort, or add nodes"},
		{"unschedulable", "let a node take pods again: kubectl uncordon NODE"},
	}, "change the template or the nodes so that one fits")
}

// refusedHint says what to do about a pod that the API server refuses.
func refusedHint(message string) string {
	return firstHint(message, []hint{
		{"exceeded quota", "raise the ResourceQuota, or scale down: kubectl describe quota"},
		{"limitrange", "fit the template's resources into the LimitRange: kubectl describe limitrange"},
		{"podsecurity", "fit the template's securityContext to the namespace's pod security level, or change the level"},
		{"serviceaccount", "create the ServiceAccount, or name another in the template"},
		{"admission webhook", "do what the webhook's message says, or see that the webhook answers"},
		{"failed calling webhook", "see that the webhook's Service has pods that answer"},
		{"priorityclass", "create the PriorityClass, or name another in the template"},
		{"is invalid", "correct the field that the message names, in the template"},
		{"is being terminated", "the namespace is being deleted: nothing can be created in it"},
	}, "do what the message says")
}

// heldHint says what to do about a change that is held back.
func heldHint(w Workload, reason string) string {
	if w.Kind.Injects {
		switch strings.ToLower(reason) {
		case "inplaceonly", "notinjected":
			return "delete the pods: new ones have the newest containers"
		case "ondelete":
			return "delete the pods, or set spec.updateStrategy.type to RollingUpdate"
		}
	}
	switch strings.ToLower(reason) {
	case "paused":
		return "kubectl holdfast rollout resume " + w.ref()
	case "partition":
		return "lower partition when the updated pods are good"
	case "budget":
		return "wait for the unavailable pods, or raise maxUnavailable (or the budget that guards the pods)"
	case "ondelete":
		return "delete the pods, or set the update strategy to RollingUpdate"
	case "hook":
		return "whoever watches the hook must take its label or finalizer off the pod, or set it"
	case "update", "turn", "grace", "surge", "termination", "deleting":
		return "wait"
	case "scalestrategy":
		return "wait for the pods that start, or raise spec.scaleStrategy.maxUnavailable"
	case "inplaceonly":
		return "take back the change of the fields that need a new pod, or set podUpdatePolicy to InPlaceIfPossible"
	case "scheduling", "image", "pvc", "container":
		return "kubectl holdfast why POD says more about each pod"
	}
	return ""
}

// ofChange words what keeps the change of a pod back.
func ofChange(w Workload, c Change) (Finding, bool) {
	if c.State == ChangeCreated || c.State == ChangeInPlace {
		return Finding{}, false
	}
	reason := c.Reason
	if reason == "" {
		reason = map[string]string{ChangeDeleting: "Deleting", ChangeUpdating: "Update"}[c.State]
	}
	why := c.Message
	for _, prefix := range []string{"waiting: ", "kept: ", "updating in place: "} {
		why = strings.TrimPrefix(why, prefix) // what it does is said in What
	}
	if message, more := strings.CutPrefix(why, lowerFirst(reason)+" ("); more {
		why = strings.TrimSuffix(message, ")")
	} else if why == lowerFirst(reason) {
		why = ""
	}
	what := "waiting at the old revision"
	switch {
	case reason == "NotInjected":
		what, why = "it lacks the containers", strings.TrimPrefix(why, "not injected: ")
	case c.State == ChangeKept:
		what = "kept at the old revision on purpose"
	case c.State == ChangeDeleting:
		what = "to be deleted"
	case c.State == ChangeUpdating:
		what = "being updated in place"
	case reason == "Hook":
		what = "held by a hook of its lifecycle"
	}
	return Finding{Cause: reason, What: what, Why: why, Do: heldHint(w, reason)}, true
}
