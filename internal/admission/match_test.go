package admission_test

import (
	"context"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	admissionregistrationv1 "k8s.io/api/admissionregistration/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"
	"sigs.k8s.io/controller-runtime/pkg/client"
	ctrl "sigs.k8s.io/controller-runtime/pkg/webhook/admission"

	"github.com/holdfast-io/holdfast/internal/admission"
	"github.com/holdfast-io/holdfast/internal/testkit"
)

func TestMatches(t *testing.T) {
	const has = `has(object.metadata.labels)`
	for _, tc := range []struct {
		reason, labels, namespace string
		selector                  *metav1.LabelSelector
	}{
		{reason: "no selector"},
		{reason: "an empty one", selector: &metav1.LabelSelector{}},
		{reason: "one that cannot be read", selector: &metav1.LabelSelector{MatchExpressions: []metav1.LabelSelectorRequirement{{Key: "a", Operator: "Like"}}}},
		{
			reason: "labels, in the order of their keys", selector: &metav1.LabelSelector{MatchLabels: map[string]string{"b": "2", "a.io/x": ""}},
			labels: has + ` && "a.io/x" in object.metadata.labels && object.metadata.labels["a.io/x"] == ""` +
				` && "b" in object.metadata.labels && object.metadata.labels["b"] == "2"`,
		},
		{
			reason: "values, in their order",
			selector: &metav1.LabelSelector{MatchExpressions: []metav1.LabelSelectorRequirement{
				{Key: "a", Operator: metav1.LabelSelectorOpIn, Values: []string{"2", "1", "2"}},
				{Key: "a", Operator: metav1.LabelSelectorOpExists},
			}},
			labels: has + ` && "a" in object.metadata.labels && "a" in object.metadata.labels && object.metadata.labels["a"] in ["1", "2"]`,
		},
		{
			reason: "what an object without labels meets, too",
			selector: &metav1.LabelSelector{MatchExpressions: []metav1.LabelSelectorRequirement{
				{Key: "a", Operator: metav1.LabelSelectorOpDoesNotExist},
				{Key: "b", Operator: metav1.LabelSelectorOpNotIn, Values: []string{"x"}},
			}},
			labels: `!(` + has + ` && "a" in object.metadata.labels) && !(` + has +
				` && "b" in object.metadata.labels && object.metadata.labels["b"] == "x")`,
		},
		{
			reason: "of a namespace only its name", selector: &metav1.LabelSelector{
				MatchLabels:      map[string]string{"team": "shop"},
				MatchExpressions: []metav1.LabelSelectorRequirement{{Key: corev1.LabelMetadataName, Operator: metav1.LabelSelectorOpNotIn, Values: []string{"x"}}},
			},
			labels: has + ` && !("kubernetes.io/metadata.name" in object.metadata.labels && object.metadata.labels["kubernetes.io/metadata.name"] == "x")` +
				` && "team" in object.metadata.labels && object.metadata.labels["team"] == "shop"`,
			namespace: `!(request.namespace == "x")`,
		},
	} {
		t.Run(tc.reason, func(t *testing.T) {
			if got := admission.MatchesLabels(tc.selector); got != tc.labels {
				t.Errorf("labels: got %s\nwant %s", got, tc.labels)
			}
			if got := admission.MatchesNamespace(tc.selector); got != tc.namespace {
				t.Errorf("namespace: got %s\nwant %s", got, tc.namespace)
			}
		})
	}
}

// chosen makes selectors, labels and names of which many meet.
type chosen struct{ *rand.Rand }

func (c chosen) one(of ...string) string { return of[c.IntN(len(of))] }

func (c chosen) key() string   { return c.one("app", "x.io/tier", "a_b") }
func (c chosen) value() string { return c.one("", "web", "db-1", "A.b_C") }

func (c chosen) selector(key func() string, value func() string) *metav1.LabelSelector {
	s := &metav1.LabelSelector{}
	for range c.IntN(2) {
		metav1.AddLabelToSelector(s, key(), value())
	}
	for range 1 + c.IntN(2) {
		r := metav1.LabelSelectorRequirement{Key: key(), Operator: metav1.LabelSelectorOperator(c.one("In", "NotIn", "Exists", "DoesNotExist"))}
		if r.Operator == metav1.LabelSelectorOpIn || r.Operator == metav1.LabelSelectorOpNotIn {
			for range 1 + c.IntN(3) {
				r.Values = append(r.Values, value())
			}
		}
		s.MatchExpressions = append(s.MatchExpressions, r)
	}
	return s
}

func (c chosen) labels() map[string]string {
	all := map[string]string{}
	for range c.IntN(4) {
		all[c.key()] = c.value()
	}
	return all
}

// asked counts which hooks the API server has asked about a pod.
type asked struct {
	mu    sync.Mutex
	hooks []int
}

func (a *asked) handler(n int) ctrl.Handler {
	return ctrl.HandlerFunc(func(context.Context, ctrl.Request) ctrl.Response {
		a.mu.Lock()
		defer a.mu.Unlock()
		a.hooks = append(a.hooks, n)
		return ctrl.Allowed("")
	})
}

func (a *asked) take() []int {
	a.mu.Lock()
	defer a.mu.Unlock()
	hooks := slices.Sorted(slices.Values(a.hooks))
	a.hooks = nil
	return hooks
}

// What a selector says and what its CEL says to the API server is the same, for selectors and labels by chance.
func TestMatchesAsTheSelectorDoes(t *testing.T) {
	env := testkit.APIServer(t)
	spaces := []string{env.Namespace(t), env.Namespace(t)}
	seed := uint64(time.Now().UnixNano())
	t.Logf("seed %d", seed)
	c := chosen{rand.New(rand.NewPCG(seed, 1))} //nolint:gosec // the seed is told, to play it again
	a := &asked{}
	const selectors, pods = 40, 60
	var objects, names []*metav1.LabelSelector
	hooks := []admission.Hook{podHook("always", "true", spaces, a.handler(-1))}
	for i := range selectors {
		objects = append(objects, c.selector(c.key, c.value))
		names = append(names, nil)
		condition := admission.MatchesLabels(objects[i])
		if c.IntN(2) == 0 {
			names[i] = c.selector(
				func() string { return c.one(corev1.LabelMetadataName, "team") }, func() string { return c.one(append(spaces, "shop")...) })
			if name := admission.MatchesNamespace(names[i]); name != "" {
				condition = name + " && " + condition
			}
		}
		hooks = append(hooks, podHook(fmt.Sprintf("s%d", i), condition, spaces, a.handler(i)))
	}
	env.ServeHooks(t, "holdfast-test-match", hooks)
	testkit.Eventually(t, 10*time.Second, "the API server asks", func(ctx context.Context) error {
		if err := try(ctx, env.Client, spaces[0], nil); err != nil || len(a.take()) == 0 {
			return fmt.Errorf("it does not: %w", err)
		}
		return nil
	})
	met := 0
	for range pods {
		space, have := c.one(spaces...), c.labels()
		if err := try(t.Context(), env.Client, space, have); err != nil {
			t.Fatal(err)
		}
		want := []int{-1}
		for i := range selectors {
			if selects(t, objects[i], have) && selects(t, nameOnly(names[i]), map[string]string{corev1.LabelMetadataName: space}) {
				want = append(want, i)
			}
		}
		met += len(want) - 1
		if got := a.take(); !slices.Equal(got, want) {
			t.Errorf("labels %v in %s: asked %v, want %v", have, space, got, want)
		}
	}
	if met < pods {
		t.Errorf("only %d of %d pairs meet: the test says little", met, selectors*pods)
	}
}

func podHook(name, condition string, spaces []string, handler ctrl.Handler) admission.Hook {
	return admission.Hook{
		Name: name + ".match.holdfast.io", Path: "/" + name, Mutating: true, Handler: handler,
		Rules: []admissionregistrationv1.RuleWithOperations{{
			Operations: []admissionregistrationv1.OperationType{admissionregistrationv1.Create},
			Rule:       admissionregistrationv1.Rule{APIGroups: []string{""}, APIVersions: []string{"v1"}, Resources: []string{"pods"}},
		}},
		NamespaceSelector: &metav1.LabelSelector{MatchExpressions: []metav1.LabelSelectorRequirement{
			{Key: corev1.LabelMetadataName, Operator: metav1.LabelSelectorOpIn, Values: spaces},
		}},
		MatchConditions: []admissionregistrationv1.MatchCondition{{Name: "it", Expression: condition}},
	}
}

// try makes a pod, and does not.
func try(ctx context.Context, c client.Client, namespace string, have map[string]string) error {
	p := &corev1.Pod{ObjectMeta: metav1.ObjectMeta{Namespace: namespace, GenerateName: "p-", Labels: have}}
	p.Spec.Containers = []corev1.Container{{Name: "c", Image: "i"}}
	return c.Create(ctx, p, client.DryRunAll)
}

func selects(t *testing.T, selector *metav1.LabelSelector, have map[string]string) bool {
	t.Helper()
	if selector == nil {
		return true
	}
	s, err := metav1.LabelSelectorAsSelector(selector)
	if err != nil {
		t.Fatal(err)
	}
	return s.Matches(labels.Set(have))
}

// nameOnly is what of a namespace selector a condition can ask.
func nameOnly(s *metav1.LabelSelector) *metav1.LabelSelector {
	if s == nil {
		return nil
	}
	s = s.DeepCopy()
	delete(s.MatchLabels, "team")
	s.MatchExpressions = slices.DeleteFunc(s.MatchExpressions, func(r metav1.LabelSelectorRequirement) bool { return r.Key == "team" })
	return s
}

// Names and values that no label can have are quoted nevertheless.
func TestQuoting(t *testing.T) {
	got := admission.MatchesNamespace(&metav1.LabelSelector{MatchLabels: map[string]string{corev1.LabelMetadataName: "a\"b\\c\nd" + strings.Repeat("é", 1)}})
	if want := `request.namespace == "a\"b\\c\ndé"`; got != want {
		t.Errorf("got %s, want %s", got, want)
	}
}
