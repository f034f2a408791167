package simnode

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	coordinationv1 "k8s.io/api/coordination/v1"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/types"
	component "k8s.io/component-base/version"
	"k8s.io/klog/v2"
)

const (
	// A node is called lost when its lease was not renewed for 50 s, the controller-manager's grace.
	leaseDuration = 40 * time.Second
	renewEvery    = 20 * time.Second
	renewTurns    = 20 // the leases are spread over so many turns of each interval
)

// ensureNodes makes the nodes that are missing, calls the others Ready again after a stop, and
// removes those that are too many.
func (s *Simulator) ensureNodes(ctx context.Context) error {
	existing, err := s.labelled()
	if err != nil {
		return err
	}
	have := map[string]bool{}
	var work []func(context.Context) error
	for _, node := range existing {
		have[node.Name] = true
		if i, ours := index(node.Name); ours && i >= s.Count {
			work = append(work, func(ctx context.Context) error { return s.deleteNode(ctx, node.Name) })
		} else {
			work = append(work, func(ctx context.Context) error { return s.revive(ctx, node) })
		}
	}
	for i := range s.Count {
		if name := namePrefix + strconv.Itoa(i); !have[name] {
			work = append(work, func(ctx context.Context) error { return s.createNode(ctx, name, i) })
		}
	}
	return parallel(ctx, work)
}

// parallel does the pieces of work a few at a time.
func parallel(ctx context.Context, work []func(context.Context) error) error {
	queue := make(chan func(context.Context) error)
	errs := make([]error, nodeWorkers)
	var workers sync.WaitGroup
	for i := range nodeWorkers {
		workers.Go(func() {
			for do := range queue {
				if err := do(ctx); err != nil {
					errs[i] = err
				}
			}
		})
	}
	for _, do := range work {
		queue <- do
	}
	close(queue)
	workers.Wait()
	return errors.Join(errs...)
}

func (s *Simulator) labelled() ([]*corev1.Node, error) {
	nodes, err := s.nodes.List(labels.SelectorFromSet(labels.Set{Label: "true"}))
	if err != nil {
		return nil, fmt.Errorf("list simulated nodes: %w", err)
	}
	// The lister's order is that of a map: by it, a node's turn to renew its lease would be a matter of luck.
	slices.SortFunc(nodes, func(a, b *corev1.Node) int { return strings.Compare(a.Name, b.Name) })
	return nodes, nil
}

// index is the number in the name of a node that we made.
func index(name string) (int, bool) {
	digits, ok := strings.CutPrefix(name, namePrefix)
	i, err := strconv.Atoi(digits)
	return i, ok && err == nil
}

func (s *Simulator) createNode(ctx context.Context, name string, i int) error {
	node := &corev1.Node{ObjectMeta: metav1.ObjectMeta{Name: name, Labels: map[string]string{
		Label: "true", corev1.LabelHostname: name, corev1.LabelArchStable: "amd64", corev1.LabelOSStable: "linux",
	}}}
	if s.Taint {
		node.Spec.Taints = []corev1.Taint{{Key: Label, Value: "true", Effect: corev1.TaintEffectNoSchedule}}
	}
	s.describe(node, fmt.Sprintf("10.176.%d.%d", i/250, i%250+1))
	if err := s.renew(ctx, name); err != nil {
		return err
	}
	if _, err := s.client.CoreV1().Nodes().Create(ctx, node, metav1.CreateOptions{}); err != nil && !apierrors.IsAlreadyExists(err) {
		return fmt.Errorf("create the simulated node %s: %w", name, err)
	}
	return nil
}

// revive brings a node back: one of an earlier run, or one that somebody else made.
func (s *Simulator) revive(ctx context.Context, old *corev1.Node) error {
	if err := s.renew(ctx, old.Name); err != nil {
		return err
	}
	node := old.DeepCopy()
	s.describe(node, or(nodeIP(old), "10.177.0.1"))
	before, err := json.Marshal(corev1.Node{Status: old.Status})
	if err != nil {
		return fmt.Errorf("encode node %s: %w", old.Name, err)
	}
	after, err := json.Marshal(corev1.Node{Status: node.Status})
	if err != nil {
		return fmt.Errorf("encode node %s: %w", old.Name, err)
	}
	if string(before) == string(after) {
		return nil
	}
	patch, err := json.Marshal(map[string]any{"status": node.Status})
	if err != nil {
		return fmt.Errorf("encode node %s: %w", old.Name, err)
	}
	_, err = s.client.CoreV1().Nodes().Patch(ctx, old.Name, types.StrategicMergePatchType, patch, metav1.PatchOptions{}, "status")
	if err != nil && !apierrors.IsNotFound(err) {
		return fmt.Errorf("update the simulated node %s: %w", old.Name, err)
	}
	return nil
}

func (s *Simulator) deleteNode(ctx context.Context, name string) error {
	if err := s.client.CoreV1().Nodes().Delete(ctx, name, metav1.DeleteOptions{}); err != nil && !apierrors.IsNotFound(err) {
		return fmt.Errorf("delete the simulated node %s: %w", name, err)
	}
	return nil
}

// describe fills a node's status: Ready, and large enough to be no limit. What is set already stays.
func (s *Simulator) describe(node *corev1.Node, ip string) {
	status := &node.Status
	if len(status.Addresses) == 0 {
		status.Addresses = []corev1.NodeAddress{{Type: corev1.NodeInternalIP, Address: ip}, {Type: corev1.NodeHostName, Address: node.Name}}
	}
	if len(status.Capacity) == 0 {
		status.Capacity = corev1.ResourceList{
			corev1.ResourceCPU: resource.MustParse("64"), corev1.ResourceMemory: resource.MustParse("256Gi"),
			corev1.ResourcePods: resource.MustParse("500"), corev1.ResourceEphemeralStorage: resource.MustParse("1Ti"),
		}
	}
	if len(status.Allocatable) == 0 {
		status.Allocatable = status.Capacity
	}
	if status.NodeInfo.KubeletVersion == "" {
		status.NodeInfo = corev1.NodeSystemInfo{
			Architecture: "amd64", OperatingSystem: "linux", OSImage: "simulated", KernelVersion: "simulated",
			ContainerRuntimeVersion: "simulated://1", KubeletVersion: component.Get().GitVersion,
		}
	}
	now := metav1.NewTime(s.Now())
	for _, condition := range []corev1.NodeCondition{
		{Type: corev1.NodeReady, Status: corev1.ConditionTrue, Reason: "KubeletReady", Message: "simulated"},
		{Type: corev1.NodeMemoryPressure, Status: corev1.ConditionFalse, Reason: "KubeletHasSufficientMemory"},
		{Type: corev1.NodeDiskPressure, Status: corev1.ConditionFalse, Reason: "KubeletHasNoDiskPressure"},
		{Type: corev1.NodePIDPressure, Status: corev1.ConditionFalse, Reason: "KubeletHasSufficientPID"},
	} {
		condition.LastHeartbeatTime, condition.LastTransitionTime = now, now
		setNode(status, condition)
	}
}

func setNode(status *corev1.NodeStatus, condition corev1.NodeCondition) {
	for i, old := range status.Conditions {
		if old.Type != condition.Type {
			continue
		}
		if old.Status != condition.Status {
			status.Conditions[i] = condition
		}
		return
	}
	status.Conditions = append(status.Conditions, condition)
}

func nodeIP(node *corev1.Node) string {
	for _, address := range node.Status.Addresses {
		if address.Type == corev1.NodeInternalIP {
			return address.Address
		}
	}
	return ""
}

// heartbeats renews the leases, spread over the interval, and takes in nodes that others made.
func (s *Simulator) heartbeats(ctx context.Context) {
	tick := time.NewTicker(renewEvery / renewTurns)
	defer tick.Stop()
	for turn := 0; ; turn++ {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
		nodes, err := s.labelled()
		if err != nil {
			continue
		}
		var work []func(context.Context) error
		for i, node := range nodes {
			switch {
			case !TakesPods(node):
				work = append(work, func(ctx context.Context) error { return s.revive(ctx, node) })
			case i%renewTurns == turn%renewTurns:
				work = append(work, func(ctx context.Context) error { return s.renew(ctx, node.Name) })
			}
		}
		if err := parallel(ctx, work); err != nil && ctx.Err() == nil {
			klog.FromContext(ctx).Error(err, "Simulated nodes missed a heartbeat")
		}
	}
}

// renew writes a node's lease. It belongs to the node, whichever process keeps it: there is no
// holder to wait for after a restart.
func (s *Simulator) renew(ctx context.Context, node string) error {
	leases := s.client.CoordinationV1().Leases(corev1.NamespaceNodeLease)
	now := metav1.NewMicroTime(s.Now())
	patch, err := json.Marshal(map[string]any{"spec": map[string]any{"renewTime": now}})
	if err != nil {
		return fmt.Errorf("encode the lease of %s: %w", node, err)
	}
	_, err = leases.Patch(ctx, node, types.MergePatchType, patch, metav1.PatchOptions{})
	if apierrors.IsNotFound(err) {
		seconds := int32(leaseDuration / time.Second)
		_, err = leases.Create(ctx, &coordinationv1.Lease{
			ObjectMeta: metav1.ObjectMeta{Name: node, Namespace: corev1.NamespaceNodeLease},
			Spec:       coordinationv1.LeaseSpec{HolderIdentity: &node, LeaseDurationSeconds: &seconds, RenewTime: &now},
		}, metav1.CreateOptions{})
	}
	if err != nil {
		return fmt.Errorf("renew the lease of %s: %w", node, err)
	}
	return nil
}

func or(s, fallback string) string {
	if s == "" {
		return fallback
	}
	return s
}
