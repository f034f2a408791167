package testkit_test

import (
	"context"
	"errors"
	"fmt"
	"testing"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	appsv1beta1 "github.com/holdfast-io/holdfast/api/apps/v1beta1"
	"github.com/holdfast-io/holdfast/internal/testkit"
)

// fill is the smallest controller there is: it creates the pods that are missing, by name, and so is right whatever goes
// wrong. With forgetful names it is wrong after a lost answer.
func fill(c client.Client, set *appsv1beta1.CloneSet, generate bool) func(context.Context) error {
	return func(ctx context.Context) error {
		var pods corev1.PodList
		if err := c.List(ctx, &pods, client.InNamespace(set.Namespace)); err != nil {
			return fmt.Errorf("list: %w", err)
		}
		there := map[string]bool{}
		for i := range pods.Items {
			there[pods.Items[i].Name] = true
		}
		for i := range int(*set.Spec.Replicas) {
			name := fmt.Sprintf("%s-%d", set.Name, i)
			if there[name] || generate && len(there) > i {
				continue
			}
			pod := newPod(set.Namespace, name)
			if generate {
				pod.Name, pod.GenerateName = "", set.Name+"-"
			}
			pod.OwnerReferences = []metav1.OwnerReference{*metav1.NewControllerRef(set, appsv1beta1.SchemeGroupVersion.WithKind("CloneSet"))}
			if err := c.Create(ctx, pod); err != nil {
				return fmt.Errorf("create: %w", err)
			}
		}
		return nil
	}
}

// live runs the controller to its end under faults and a lagging cache.
func live(t *testing.T, f *testkit.Faults, behind int, generate bool) *testkit.Oracle {
	t.Helper()
	env := testkit.APIServer(t)
	set := testkit.CloneSet()
	set.Namespace = env.Namespace(t)
	create(t, env, set)
	writer := env.Through(t, f)
	lag := testkit.NewLagCache(t, env, set.Namespace, &corev1.Pod{})
	lag.Behind = behind
	oracle := testkit.NewOracle(t, env, set, set.Spec.Selector, testkit.Limits{Replicas: 3, MaxUnavailable: 1})
	harness := &testkit.Harness{
		New:     func() func(context.Context) error { return fill(lag.Client(writer), set, generate) },
		Kubelet: &testkit.Kubelet{Client: env.Client, Namespace: set.Namespace},
		Faults:  f, Lag: lag, Rounds: 60,
	}
	harness.Run(t, func(ctx context.Context) error {
		var pods corev1.PodList
		if err := env.Client.List(ctx, &pods, client.InNamespace(set.Namespace)); err != nil {
			return fmt.Errorf("list: %w", err)
		}
		for i := range pods.Items {
			if !ready(&pods.Items[i]) {
				return errors.New(pods.Items[i].Name + " is not ready")
			}
		}
		if len(pods.Items) < 3 {
			return fmt.Errorf("%d pods", len(pods.Items))
		}
		return nil
	})
	if err := oracle.Sync(t.Context()); err != nil {
		t.Fatal(err)
	}
	return oracle
}

func TestAFaithfulControllerSurvivesTheMatrix(t *testing.T) {
	testkit.Matrix(t, func(t *testing.T, f *testkit.Faults) {
		t.Helper()
		live(t, f, 4, false).Done(t)
	})
}

func TestTheMatrixFindsAForgetfulController(t *testing.T) {
	for _, test := range []struct {
		reason string
		plan   map[int]testkit.Fault
		behind int
	}{
		{"a create whose answer is lost is made twice under a stale cache", map[int]testkit.Fault{1: testkit.Lost}, 6},
		{"so it is after a stale read alone", nil, 6},
	} {
		t.Run(test.reason, func(t *testing.T) {
			oracle := live(t, testkit.NewFaults(test.plan), test.behind, true)
			if len(oracle.Crossed()) == 0 {
				t.Error("the oracle saw no pod too many")
			}
		})
	}
}
