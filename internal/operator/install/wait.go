package install

import (
	"context"
	"errors"
	"fmt"
	"io"
	"strings"
	"time"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"
)

const pollInterval = 500 * time.Millisecond

// poll asks until done, telling on w whenever the state changes. What was still missing is part of the error. An API server
// that does not answer for a moment, as while it is rolled itself, is asked again; what it refuses for good ends the wait.
func poll(ctx context.Context, w io.Writer, what string, ask func(context.Context) (done bool, state string, err error)) error {
	told := ""
	for {
		done, state, err := ask(ctx)
		if err != nil && ctx.Err() == nil {
			if apierrors.IsForbidden(err) || apierrors.IsUnauthorized(err) || apierrors.IsNotFound(err) {
				return fmt.Errorf("wait for %s: %w", what, err)
			}
			done, state, err = false, fmt.Sprintf("asked again: %v", err), nil
		}
		if err == nil && state != told {
			told = state
			if _, err := fmt.Fprintf(w, "%s: %s\n", what, state); err != nil {
				return fmt.Errorf("tell the progress: %w", err)
			}
		}
		if done {
			return nil
		}
		select {
		case <-ctx.Done():
			if errors.Is(ctx.Err(), context.DeadlineExceeded) {
				return fmt.Errorf("%s: not ready in time; last seen: %s", what, told)
			}
			return fmt.Errorf("wait for %s: %w", what, ctx.Err())
		case <-time.After(pollInterval):
		}
	}
}

// waitRollout waits until every replica is of the new revision and ready.
func waitRollout(ctx context.Context, c client.Client, o Options, w io.Writer) error {
	if !o.Wait || o.DryRun || !o.does(stepOperator) {
		return nil
	}
	return poll(ctx, w, "operator", func(ctx context.Context) (bool, string, error) {
		d := &appsv1.Deployment{}
		if err := c.Get(ctx, types.NamespacedName{Namespace: o.SystemNamespace, Name: name}, d); err != nil {
			return false, "", fmt.Errorf("read its Deployment: %w", err)
		}
		if d.Status.ObservedGeneration < d.Generation {
			return false, "rolling out", nil // the figures are those of the revision before
		}
		done := d.Status.UpdatedReplicas == o.Replicas && d.Status.Replicas == o.Replicas && d.Status.AvailableReplicas >= o.Replicas
		former := d.Status.Replicas - d.Status.UpdatedReplicas
		state := fmt.Sprintf("%d of %d replicas ready", max(d.Status.AvailableReplicas-former, 0), o.Replicas)
		if done {
			return true, state, nil
		}
		return false, state + complaint(ctx, c, o), nil
	})
}

// complaint is why the first Pod that is not ready is not.
func complaint(ctx context.Context, c client.Client, o Options) string {
	pods := &corev1.PodList{}
	if err := c.List(ctx, pods, client.InNamespace(o.SystemNamespace), client.MatchingLabels(selector())); err != nil {
		return ""
	}
	for _, pod := range pods.Items {
		for _, status := range pod.Status.ContainerStatuses {
			if waiting := status.State.Waiting; waiting != nil && waiting.Message != "" {
				return fmt.Sprintf("; pod %s: %s: %s", pod.Name, waiting.Reason, lastWords(status, waiting.Message))
			}
		}
		for _, condition := range pod.Status.Conditions {
			if condition.Type == corev1.PodScheduled && condition.Status == corev1.ConditionFalse {
				return fmt.Sprintf("; pod %s: %s", pod.Name, condition.Message)
			}
		}
	}
	return ""
}

// lastWords are what a container that ended said last, or else what the kubelet says.
func lastWords(status corev1.ContainerStatus, otherwise string) string {
	ended := status.LastTerminationState.Terminated
	if ended == nil || strings.TrimSpace(ended.Message) == "" {
		return otherwise
	}
	lines := strings.Split(strings.TrimSpace(ended.Message), "\n")
	return fmt.Sprintf("ended with code %d: %s", ended.ExitCode, lines[len(lines)-1])
}

// waitNamespaceGone waits for the end of a namespace that an uninstallation deleted just before: nothing can be made in it.
func waitNamespaceGone(ctx context.Context, c client.Client, name string, w io.Writer) error {
	leaving := func(ctx context.Context) (bool, error) {
		namespace := &corev1.Namespace{}
		if err := c.Get(ctx, types.NamespacedName{Name: name}, namespace); client.IgnoreNotFound(err) != nil {
			return false, fmt.Errorf("read namespace %s: %w", name, err)
		}
		return namespace.DeletionTimestamp != nil, nil
	}
	if is, err := leaving(ctx); err != nil || !is {
		return err
	}
	return poll(ctx, w, "namespace "+name, func(ctx context.Context) (bool, string, error) {
		is, err := leaving(ctx)
		if err != nil || is {
			return false, "being deleted", err
		}
		return true, "gone", nil
	})
}

// waitInjected waits until the API server was told to trust the operator's certificate, and serves the new kinds.
func waitInjected(ctx context.Context, c client.Client, o Options, w io.Writer, manifests []Manifest) error {
	if !o.Wait || o.DryRun {
		return nil
	}
	return poll(ctx, w, "API", func(ctx context.Context) (bool, string, error) {
		for _, m := range manifests {
			missing, err := unready(ctx, c, m.Object, o.does(stepOperator))
			if err != nil {
				return false, "", err
			}
			if missing != "" {
				return false, missing, nil
			}
		}
		return true, "ready", nil
	})
}
