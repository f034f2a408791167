package main

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"time"

	coordinationv1 "k8s.io/api/coordination/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/utils/ptr"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/holdfast-io/holdfast/e2e/cluster"
)

const systemNamespace = "holdfast-system"

// process is a program in a pod, seen from the machine: real nodes share its kernel.
type process struct {
	name string // of its pod
	pid  int
}

// kill ends the process at once, like a crash. That it has ended already makes no difference.
func (v process) kill() { _ = syscall.Kill(v.pid, syscall.SIGKILL) }

// operatorPods are the replicas of the operator.
func (t *theatre) operatorPods(ctx context.Context) ([]corev1.Pod, error) {
	var pods corev1.PodList
	if err := t.client.List(ctx, &pods, client.InNamespace(systemNamespace)); err != nil {
		return nil, fmt.Errorf("list the replicas of the operator: %w", err)
	}
	return slices.DeleteFunc(pods.Items, func(p corev1.Pod) bool { return p.DeletionTimestamp != nil }), nil
}

// operatorProcesses finds the process of each replica of the operator.
func (t *theatre) operatorProcesses(ctx context.Context) ([]process, error) {
	pods, err := t.operatorPods(ctx)
	if err != nil {
		return nil, err
	}
	var found []process
	for _, p := range pods {
		pid, err := pidInPod(string(p.UID), "holdfast")
		if err != nil {
			return nil, fmt.Errorf("find the process of pod %s: %w", p.Name, err)
		}
		found = append(found, process{name: p.Name, pid: pid})
	}
	return found, nil
}

// pidInPod finds a program by its name and by the pod in its cgroup's path.
func pidInPod(uid, program string) (int, error) {
	files, err := filepath.Glob("/proc/[0-9]*/cgroup")
	if err != nil {
		return 0, fmt.Errorf("list the processes: %w", err)
	}
	for _, file := range files {
		groups, err := os.ReadFile(file)
		if err != nil || !strings.Contains(strings.ReplaceAll(string(groups), "_", "-"), uid) {
			continue // it has ended, or belongs to somebody else
		}
		name, err := os.ReadFile(filepath.Join(filepath.Dir(file), "comm"))
		if err == nil && strings.TrimSpace(string(name)) == program {
			return strconv.Atoi(filepath.Base(filepath.Dir(file))) //nolint:wrapcheck // the pattern says that it is a number
		}
	}
	return 0, fmt.Errorf("no process %s has pod %s in its cgroup", program, uid)
}

// ownerFirst puts the replica first that hands out the permits, as the lease says once there is a policy.
func (p *play) ownerFirst(ctx context.Context, all []process) ([]process, error) {
	lease := &coordinationv1.Lease{ObjectMeta: metav1.ObjectMeta{Namespace: systemNamespace, Name: "holdfast-deletions"}}
	holder := ""
	err := p.until(ctx, 30*time.Second, "a replica hands out the permits", func(ctx context.Context) (bool, error) {
		err := p.client.Get(ctx, client.ObjectKeyFromObject(lease), lease)
		holder = ptr.Deref(lease.Spec.HolderIdentity, "")
		return holder != "", client.IgnoreNotFound(err)
	})
	if err != nil {
		return nil, err
	}
	slices.SortStableFunc(all, func(a, b process) int {
		return strings.Count(holder, b.name) - strings.Count(holder, a.name)
	})
	cluster.Saw("the permits are handed out by %s", holder)
	return all, nil
}
