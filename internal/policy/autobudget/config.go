package autobudget

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"time"

	"github.com/go-logr/logr"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/util/intstr"
	"k8s.io/client-go/tools/record"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/yaml"
)

const (
	// ConfigName is the ConfigMap in the operator's namespace that says which budgets are made by default.
	ConfigName = "holdfast-budgets"
	// ConfigKey is the key in it.
	ConfigKey = "defaults.yaml"
	// ConfigInterval is how often it is read again. It is not watched: that would need the right to see every ConfigMap.
	ConfigInterval = 15 * time.Second
)

// Rule says which workloads of which namespaces get which budgets by default.
type Rule struct {
	// NamespaceSelector picks the namespaces by their labels; default: all but kube-system, kube-public, kube-node-lease and
	// the operator's own.
	NamespaceSelector *metav1.LabelSelector `json:"namespaceSelector,omitempty"`
	// Kinds of workloads; default: all five.
	Kinds []string `json:"kinds,omitempty"`
	// Pub is the PodUnavailableBudget to be made; without limits it takes the workload's own maxUnavailable.
	Pub *Default `json:"pub,omitempty"`
	// Pdb is the PodDisruptionBudget to be made.
	Pdb *Default `json:"pdb,omitempty"`

	name     string
	selector labels.Selector
}

// Default are the limits of a budget that is made; neither: those of the workload's rollout strategy.
type Default struct {
	MaxUnavailable *intstr.IntOrString `json:"maxUnavailable,omitempty"`
	MinAvailable   *intstr.IntOrString `json:"minAvailable,omitempty"`
}

// titles are the kinds that rules can name.
func titles() []string {
	return []string{Deployments().Title, StatefulSets().Title, CloneSets().Title, AdvancedStatefulSets().Title, UnitedDeployments().Title}
}

// Parse reads the rules. The first one that matches a workload counts.
func Parse(text string) ([]Rule, error) {
	var file struct {
		Rules []Rule `json:"rules"`
	}
	if err := yaml.UnmarshalStrict([]byte(text), &file); err != nil {
		return nil, fmt.Errorf("%s: %w", ConfigKey, err)
	}
	for i := range file.Rules {
		r := &file.Rules[i]
		r.name = fmt.Sprintf("rule %d of ConfigMap %s", i+1, ConfigName)
		if err := r.check(); err != nil {
			return nil, fmt.Errorf("rules[%d]: %w", i, err)
		}
	}
	return file.Rules, nil
}

var (
	errBoth  = errors.New("maxUnavailable and minAvailable exclude one another: keep one of them")
	errEmpty = errors.New("it makes neither a pub nor a pdb: write pub: {} for one with each workload's own maxUnavailable")
)

func (r *Rule) check() error {
	for _, kind := range r.Kinds {
		if !slices.Contains(titles(), kind) {
			return fmt.Errorf("kinds: there is no kind %q; known are %v", kind, titles())
		}
	}
	if r.Pub == nil && r.Pdb == nil {
		return errEmpty
	}
	if r.NamespaceSelector != nil {
		selector, err := metav1.LabelSelectorAsSelector(r.NamespaceSelector)
		if err != nil {
			return fmt.Errorf("namespaceSelector: %w", err)
		}
		r.selector = selector
	}
	for name, d := range map[string]*Default{"pub": r.Pub, "pdb": r.Pdb} {
		if d == nil {
			continue
		}
		if d.MaxUnavailable != nil && d.MinAvailable != nil {
			return fmt.Errorf("%s: %w", name, errBoth)
		}
		for field, value := range map[string]*intstr.IntOrString{"maxUnavailable": d.MaxUnavailable, "minAvailable": d.MinAvailable} {
			if value == nil {
				continue
			}
			if _, err := parse(value.String()); err != nil {
				return fmt.Errorf("%s.%s is %q: %w", name, field, value.String(), err)
			}
		}
	}
	return nil
}

// first is the first rule for a kind in a namespace; the zero Rule when there is none.
func first(rules []Rule, title string, namespace *corev1.Namespace) Rule {
	for _, r := range rules {
		if len(r.Kinds) > 0 && !slices.Contains(r.Kinds, title) {
			continue
		}
		if r.selector == nil || r.selector.Matches(labels.Set(namespace.Labels)) {
			return r
		}
	}
	return Rule{}
}

// Config is the cluster's configuration as it was read last.
type Config struct {
	Live      client.Reader
	Namespace string
	Log       logr.Logger
	Recorder  record.EventRecorder

	mu      sync.Mutex
	rules   []Rule
	version string
}

// Rules are those read last that made sense.
func (c *Config) Rules() []Rule {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.rules
}

// Read reads the configuration anew, and reports whether it changed. One that makes no sense changes nothing: what held
// before goes on, and an event says what is wrong.
func (c *Config) Read(ctx context.Context) (changed bool, err error) {
	var stored corev1.ConfigMap
	err = c.Live.Get(ctx, types.NamespacedName{Namespace: c.Namespace, Name: ConfigName}, &stored)
	if client.IgnoreNotFound(err) != nil {
		return false, fmt.Errorf("read ConfigMap %s/%s: %w", c.Namespace, ConfigName, err)
	}
	version := stored.ResourceVersion
	if apierrors.IsNotFound(err) {
		version = "none"
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if version == c.version {
		return false, nil
	}
	c.version = version
	rules, err := Parse(stored.Data[ConfigKey])
	if err != nil {
		c.Log.Error(err, "the configuration of budgets cannot be read; the one before goes on", "configmap", c.Namespace+"/"+ConfigName)
		if c.Recorder != nil {
			c.Recorder.Eventf(&stored, corev1.EventTypeWarning, "InvalidBudgetDefaults", "%v; what held before goes on", err)
		}
		return false, nil
	}
	for i := range rules {
		if rules[i].selector == nil {
			rules[i].selector = c.ordinary()
		}
	}
	c.rules = rules
	return true, nil
}

// ordinary are the namespaces of applications.
func (c *Config) ordinary() labels.Selector {
	selector, err := metav1.LabelSelectorAsSelector(&metav1.LabelSelector{MatchExpressions: []metav1.LabelSelectorRequirement{{
		Key: corev1.LabelMetadataName, Operator: metav1.LabelSelectorOpNotIn,
		Values: []string{metav1.NamespaceSystem, metav1.NamespacePublic, corev1.NamespaceNodeLease, c.Namespace},
	}}})
	if err != nil {
		return labels.Nothing()
	}
	return selector
}

// Version tells one configuration from another.
func (c *Config) Version() string {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.version
}
