package sidecarset_test

import (
	"context"
	"fmt"
	"slices"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/utils/clock"
	"sigs.k8s.io/controller-runtime/pkg/cache"
	"sigs.k8s.io/controller-runtime/pkg/client"

	appsv1beta1 "github.com/holdfast-io/holdfast/api/apps/v1beta1"
	"github.com/holdfast-io/holdfast/internal/apps/sidecarset"
	"github.com/holdfast-io/holdfast/internal/disruption"
	"github.com/holdfast-io/holdfast/internal/testkit"
	"github.com/holdfast-io/holdfast/internal/workload"
)

// Until a set has been looked at after a start or a change, nobody knows whether its limit is tighter than a workload's own.
func TestWorkloadsWaitUntilTheLimitsOfSetsAreKnown(t *testing.T) {
	env := testkit.APIServer(t)
	ns, turns := env.Namespace(t), disruption.NewTurns()
	c, reader := cached(t, env), env.Cache(t, cache.Options{})
	room := sidecarset.New(workload.Deps{
		Client: c, Live: env.Client, Position: &workload.CachePosition{Cache: reader}, Clock: clock.RealClock{}, Turns: turns,
	}, ns)
	set := made(t, env, c, ns)
	given, other := podOf(ns, nil), podOf(ns, nil)
	given.Annotations = map[string]string{appsv1beta1.SidecarSetInjectedList: "another," + set.Name}
	waited := func(reason string, want bool) {
		t.Helper()
		wanted := ""
		if want {
			wanted = "SidecarSet " + set.Name
		}
		if who := turns.Unsettled(t.Context(), slices.Values([]*corev1.Pod{other, given})); who != wanted {
			t.Errorf("%s: waits for %q, want %q", reason, who, wanted)
		}
		if who := turns.Unsettled(t.Context(), slices.Values([]*corev1.Pod{other})); who != "" {
			t.Errorf("%s: pods without its containers wait for %q", reason, who)
		}
	}
	waited("a new set", true)
	pass := func() {
		t.Helper()
		now := &appsv1beta1.SidecarSet{}
		if err := c.Get(t.Context(), client.ObjectKeyFromObject(set), now); err != nil {
			t.Fatal(err)
		}
		// The cache of this test has no index of pods by their sets: a pass that fails must not stop the workloads for good.
		if _, err := room.Reconcile(t.Context(), now); err == nil {
			t.Fatal("the pass did not fail")
		}
	}
	pass()
	waited("after its pass", false)
	image("v2")(set)
	if err := env.Client.Update(t.Context(), set); err != nil {
		t.Fatal(err)
	}
	shown(t, c, set)
	waited("a changed set", true)
	pass()
	waited("after the next pass", false)
	room.Forget(client.ObjectKeyFromObject(set))
	waited("a controller that has started anew", true)
	if err := env.Client.Delete(t.Context(), set); err != nil {
		t.Fatal(err)
	}
	testkit.Eventually(t, 10*time.Second, "the cache shows no set", func(ctx context.Context) error {
		if err := c.Get(ctx, client.ObjectKeyFromObject(set), &appsv1beta1.SidecarSet{}); !apierrors.IsNotFound(err) {
			return fmt.Errorf("it is there: %w", err)
		}
		return nil
	})
	waited("a set that is gone", false)
}
