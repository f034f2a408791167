package uniteddeployment

import (
	"slices"
	"strconv"
	"strings"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/utils/ptr"

	appsv1beta1 "github.com/holdfast-io/holdfast/api/apps/v1beta1"
	"github.com/holdfast-io/holdfast/internal/pod"
	"github.com/holdfast-io/holdfast/internal/workload/report"
)

const (
	defaultCritical = 30
	defaultClosed   = 300
)

func isAdaptive(ud *appsv1beta1.UnitedDeployment) bool {
	return ud.Spec.Topology.ScheduleStrategy.Type == appsv1beta1.AdaptiveUnitedDeploymentScheduleStrategyType
}

// tuning is the adaptive strategy with its defaults.
type tuning struct {
	critical, closed time.Duration
	reserve          bool
}

func tuningOf(ud *appsv1beta1.UnitedDeployment) tuning {
	a := ptr.Deref(ud.Spec.Topology.ScheduleStrategy.Adaptive, appsv1beta1.AdaptiveUnitedDeploymentStrategy{})
	return tuning{
		critical: time.Duration(ptr.Deref(a.RescheduleCriticalSeconds, defaultCritical)) * time.Second,
		closed:   time.Duration(ptr.Deref(a.UnschedulableDuration, defaultClosed)) * time.Second,
		reserve:  a.ReserveUnschedulablePods,
	}
}

// room is what is known of a subset's room for pods.
type room struct {
	// stuck are pods that have found no node for too long, and waiting those that may still.
	stuck   []*corev1.Pod
	waiting int
	// movable is how many pods its workload can be asked less for without losing one that has a node.
	movable int32
	// again is when one that waits has waited too long; 0: none waits.
	again time.Duration
}

// look judges the pods of a subset.
func look(pods []*corev1.Pod, t tuning, now time.Time) room {
	var r room
	for _, p := range pods {
		if !pod.Active(p) || pod.Ready(p) {
			continue
		}
		cause, _ := pod.Waiting(p)
		reserved := t.reserve && p.Labels[appsv1beta1.ReservedPod] == "true"
		switch {
		case reserved:
			r.stuck = append(r.stuck, p)
		case cause != pod.Scheduling:
		default:
			since := pod.Condition(p, corev1.PodScheduled).LastTransitionTime.Time
			if left := t.critical - now.Sub(since); left > 0 {
				r.waiting++
				r.again = report.Sooner(r.again, left)
			} else {
				r.stuck = append(r.stuck, p)
			}
		}
	}
	slices.SortFunc(r.stuck, func(a, b *corev1.Pod) int { return strings.Compare(a.Name, b.Name) })
	r.movable = int32(len(r.stuck)) //nolint:gosec // at most as many as there are pods
	return r
}

// tail is how many of the last pods of a workload whose pods have ordinals find no node, or do not exist because one before them finds
// none: only those can go without one that runs.
func tail(asked int32, pods, stuck []*corev1.Pod) int32 {
	type numbered struct {
		number int
		stuck  bool
	}
	var alive []numbered
	for _, p := range pods {
		if n, err := strconv.Atoi(p.Name[strings.LastIndex(p.Name, "-")+1:]); err == nil && pod.Active(p) {
			alive = append(alive, numbered{n, slices.Contains(stuck, p)})
		}
	}
	slices.SortFunc(alive, func(a, b numbered) int { return b.number - a.number })
	count := int32(0)
	for _, one := range alive {
		if !one.stuck {
			break
		}
		count++
	}
	whole := len(alive) > 0 && alive[0].number-alive[len(alive)-1].number+1 == len(alive) // what is missing comes after these
	if count > 0 && whole {
		count += max(asked-int32(len(alive)), 0) //nolint:gosec // at most as many as there are pods
	}
	return count
}
