package autobudget

import (
	"fmt"
	"strings"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/util/intstr"
)

// facts are what matters of a workload.
type facts struct {
	kind            schema.GroupVersionKind
	namespace, name string
	annotations     map[string]string
	// selector of its pods, and the labels they are made with.
	selector  *metav1.LabelSelector
	podLabels map[string]string
	// strategy is the maxUnavailable of its rollouts, with the default of its kind.
	strategy intstr.IntOrString
}

func (f facts) budgetName(title string) string {
	return f.name + "-" + strings.ToLower(title)
}

// limits of a budget: one of the two.
type limits struct{ maxUnavailable, minAvailable *intstr.IntOrString }

func (l limits) String() string {
	if l.minAvailable != nil {
		return "minAvailable " + l.minAvailable.String()
	}
	return "maxUnavailable " + l.maxUnavailable.String()
}

// verdict is what budget a workload is to have: none, or one with these limits and the reason for it.
type verdict struct {
	limits *limits
	why    string
	// mistake is what the user wrote and cannot be obeyed.
	mistake string
}

// wish reads it from the annotations, and where they say nothing from the configuration. It is pure. An annotation that
// cannot be read still asks for protection: the workload's own strategy counts then.
func wish(f facts, family family, rule Rule) verdict {
	asks, isAsked := f.annotations[family.prefix]
	most, hasMost := f.annotations[family.prefix+"-maxUnavailable"]
	least, hasLeast := f.annotations[family.prefix+"-minAvailable"]
	key := family.prefix
	switch {
	case asks == "false":
		return verdict{}
	case isAsked && asks != "true":
		return f.mistaken(fmt.Sprintf(`annotation %s is %q: write "true" or "false"`, key, asks))
	case hasMost && hasLeast:
		return f.mistaken(fmt.Sprintf("annotations %s-maxUnavailable and %s-minAvailable exclude one another: keep one of them", key, key))
	case hasMost:
		return f.written(key+"-maxUnavailable", most, func(v intstr.IntOrString) limits { return limits{maxUnavailable: &v} })
	case hasLeast:
		return f.written(key+"-minAvailable", least, func(v intstr.IntOrString) limits { return limits{minAvailable: &v} })
	case isAsked:
		return f.byStrategy("annotation " + key)
	default:
		return f.byRule(family.of(rule), rule.name)
	}
}

func (f facts) written(key, text string, as func(intstr.IntOrString) limits) verdict {
	value, err := parse(text)
	if err != nil {
		return f.mistaken(fmt.Sprintf("annotation %s is %q: %v", key, text, err))
	}
	l := as(value)
	return verdict{limits: &l, why: "annotation " + key}
}

func (f facts) mistaken(mistake string) verdict {
	v := f.byStrategy("the annotation cannot be read")
	v.mistake = mistake + "; until then, the rollout strategy's maxUnavailable counts"
	return v
}

// byStrategy takes what a rollout may take away. A rollout that takes nothing away because it makes new pods first says
// nothing about drains, which cannot: one pod at a time may go then.
func (f facts) byStrategy(why string) verdict {
	value := f.strategy
	if n, err := intstr.GetScaledValueFromIntOrPercent(&value, 100, true); err != nil || n == 0 {
		value = intstr.FromInt32(1)
	}
	return verdict{limits: &limits{maxUnavailable: &value}, why: why + ", with the rollout strategy's maxUnavailable"}
}

func (f facts) byRule(d *Default, name string) verdict {
	if d == nil {
		return verdict{}
	}
	why := "the cluster's configuration, " + name
	switch {
	case d.MaxUnavailable != nil:
		return verdict{limits: &limits{maxUnavailable: d.MaxUnavailable}, why: why}
	case d.MinAvailable != nil:
		return verdict{limits: &limits{minAvailable: d.MinAvailable}, why: why}
	default:
		return f.byStrategy(why)
	}
}

// parse reads a number of pods or a percentage of them.
func parse(text string) (intstr.IntOrString, error) {
	value := intstr.Parse(strings.TrimSpace(text))
	n, err := intstr.GetScaledValueFromIntOrPercent(&value, 100, true)
	if err != nil || n < 0 || value.Type == intstr.String && n > 100 {
		return value, errLimit
	}
	return value, nil
}
