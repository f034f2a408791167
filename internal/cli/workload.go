package cli

import (
	"cmp"
	"encoding/json"
	"fmt"
	"math"
	"strconv"
	"strings"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/util/intstr"
)

// Workload reads the facts of one workload out of its object, by the paths of
// its kind's row, so that one view serves every kind and every served version.
type Workload struct {
	Kind   Kind
	Object *unstructured.Unstructured
	Held   []Held // what the controller says it holds back; read once, as every pod asks for it
}

// newWorkload takes an object of a kind.
func newWorkload(k Kind, object *unstructured.Unstructured) Workload {
	w := Workload{Kind: k, Object: object}
	w.decode("status.held", &w.Held)
	return w
}

// Condition is a condition of any workload.
type Condition struct {
	Type    string `json:"type"`
	Status  string `json:"status"`
	Reason  string `json:"reason,omitempty"`
	Message string `json:"message,omitempty"`
}

// Held is a number of changes that the controller holds back, and why.
type Held struct {
	Reason  string   `json:"reason"`
	Message string   `json:"message,omitempty"`
	Count   int64    `json:"count,omitempty"`
	Pods    []string `json:"pods,omitempty"`
}

// ref names the workload as a user types it: cloneset/web.
func (w Workload) ref() string { return w.Kind.short() + "/" + w.Object.GetName() }

// at returns the value at a dotted path.
func (w Workload) at(path string) (any, bool) {
	value, found, err := unstructured.NestedFieldNoCopy(w.Object.Object, strings.Split(path, ".")...)
	return value, found && err == nil && value != nil
}

// number returns the number at path, or otherwise.
func (w Workload) number(path string, otherwise int64) int64 {
	value, found := w.at(path)
	if !found {
		return otherwise
	}
	switch n := value.(type) {
	case int64:
		return n
	case float64:
		return int64(n)
	}
	return otherwise
}

// text returns the string at path, or "".
func (w Workload) text(path string) string {
	value, _ := w.at(path)
	s, _ := value.(string)
	return s
}

// desired is the number of pods wanted.
func (w Workload) desired() int64 {
	otherwise := int64(1) // the default of spec.replicas
	if !w.Kind.Scalable {
		otherwise = 0
	}
	for _, path := range w.Kind.Desired {
		if n := w.number(path, -1); n >= 0 {
			return n
		}
	}
	return otherwise
}

// rolling returns a setting of the rollout, wherever this version keeps it.
func (w Workload) rolling(field string) (intstr.IntOrString, bool) {
	for _, path := range w.Kind.Rolling {
		switch v, _ := w.at(path + "." + field); n := v.(type) {
		case int64:
			return intstr.Parse(strconv.FormatInt(n, 10)), true
		case string:
			return intstr.FromString(n), true
		}
	}
	return intstr.IntOrString{}, false
}

// policy returns a word of the rollout's settings, such as podUpdatePolicy.
func (w Workload) policy(fields ...string) string {
	for _, path := range w.Kind.Rolling {
		for _, field := range fields {
			if s := w.text(path + "." + field); s != "" {
				return s
			}
		}
	}
	return ""
}

// strategy is the type of the update: RollingUpdate, OnDelete, Recreate; of a job, how it ends.
func (w Workload) strategy() string {
	if w.Kind.Parts != "" {
		return cmp.Or(w.text("spec.topology.scheduleStrategy.type"), "Fixed") + " over its subsets"
	}
	if w.Kind.Podless {
		return strings.TrimSpace(fmt.Sprintf("%s %s", w.text("spec.schedule"), w.text("spec.timeZone")))
	}
	if w.Kind.Ends != "" {
		return fmt.Sprintf("completion %s, on failure %s", w.text("spec.completionPolicy.type"), w.text("spec.failurePolicy.type"))
	}
	if t := w.text(w.Kind.TypeAt); t == "OnDelete" || t == "Recreate" || t == "NotUpdate" {
		return t
	}
	return "RollingUpdate"
}

// updatePolicy is how a pod is changed: ReCreate, InPlaceIfPossible, InPlaceOnly; "" when the kind has no choice.
func (w Workload) updatePolicy() string {
	if !w.Kind.Ours || w.Kind.Ends != "" || w.Kind.Podless || w.Kind.Injects || w.Kind.Parts != "" {
		return "" // or its subsets' workloads say so
	}
	if t := w.policy("podUpdatePolicy", "rollingUpdateType"); t != "" {
		return t
	}
	if t := w.text(w.Kind.TypeAt); t != "" && t != "RollingUpdate" && t != "OnDelete" {
		return t // v1alpha1 keeps the policy in type
	}
	return "ReCreate"
}

// pausedAt is the path of the switch that pauses this object's rollout, or "".
func (w Workload) pausedAt() string {
	if len(w.Kind.Paused) == 0 {
		return ""
	}
	version := w.Object.GroupVersionKind().Version
	for i, v := range w.Kind.Versions {
		if v == version && i < len(w.Kind.Paused) {
			return w.Kind.Paused[i]
		}
	}
	return w.Kind.Paused[0]
}

// paused tells whether the rollout is paused.
func (w Workload) paused() bool {
	value, _ := w.at(w.pausedAt())
	on, _ := value.(bool)
	return on
}

// kept is the number of pods that partition keeps at their old revision.
func (w Workload) kept() int64 {
	if w.Kind.Parts != "" {
		return w.keptBySubsets()
	}
	partition, found := w.rolling("partition")
	if !found {
		return 0
	}
	kept := scaled(partition, w.desired(), math.Ceil)
	if partition.Type == intstr.String && partition.StrVal != "100%" && kept >= w.desired() && w.desired() > 1 {
		kept = w.desired() - 1 // below 100% at least one pod is updated
	}
	if w.Kind.OrdinalCut {
		kept -= w.number("spec.ordinals.start", 0)
	}
	return min(max(kept, 0), w.desired())
}

// toUpdate is the number of pods that should reach the update revision.
func (w Workload) toUpdate() int64 {
	for _, path := range []string{"status.expectedUpdatedReplicas", "status.expectedUpdatedNumber"} {
		if n := w.number(path, -1); n >= 0 && w.observed() {
			return n
		}
	}
	return w.desired() - w.kept()
}

// budget is how many pods may be unavailable, as written and as a number.
func (w Workload) budget() (written string, pods int64) {
	value, found := w.rolling("maxUnavailable")
	if !found {
		value = intstr.Parse(w.Kind.Budget)
	}
	surge, surges := w.rolling("maxSurge")
	round := math.Ceil
	if surges && scaled(surge, w.desired(), math.Ceil) > 0 {
		round = math.Floor
	}
	return value.String(), scaled(value, w.desired(), round)
}

// scaled resolves a percentage of total.
func scaled(value intstr.IntOrString, total int64, round func(float64) float64) int64 {
	if value.Type == intstr.Int {
		return int64(value.IntVal)
	}
	var percent float64
	if _, err := fmt.Sscanf(value.StrVal, "%f%%", &percent); err != nil {
		return 0
	}
	return int64(round(percent * float64(total) / 100))
}

// observed tells whether the controller has seen the current spec.
func (w Workload) observed() bool {
	return w.number("status.observedGeneration", 0) >= w.Object.GetGeneration()
}

// conditions returns the conditions of the status.
func (w Workload) conditions() []Condition {
	var list []Condition
	w.decode("status.conditions", &list)
	return list
}

// condition returns the condition of a type; its Status is "" when there is none.
func (w Workload) condition(kind string) Condition {
	for _, c := range w.conditions() {
		if c.Type == kind {
			return c
		}
	}
	return Condition{Type: kind}
}

// decode reads what stands at path into a Go value; a field that does not fit is left out.
func (w Workload) decode(path string, into any) {
	value, found := w.at(path)
	if !found {
		return
	}
	raw, err := json.Marshal(value)
	if err != nil {
		return
	}
	_ = json.Unmarshal(raw, into) // a status of another version: show what fits
}

// selector returns the selector of the workload's pods.
func (w Workload) selector() (labels.Selector, error) {
	if w.Kind.SelectBy != "" {
		return labels.SelectorFromSet(labels.Set{w.Kind.SelectBy: string(w.uid())}), nil
	}
	var s metav1.LabelSelector
	w.decode("spec.selector", &s)
	selector, err := metav1.LabelSelectorAsSelector(&s)
	if err != nil {
		return nil, fmt.Errorf("read spec.selector of %s: %w", w.ref(), err)
	}
	return selector, nil
}

// template returns spec.template as it stands, or what pods are given.
func (w Workload) template() map[string]any {
	if w.Kind.Injects {
		return w.containers()
	}
	value, _ := w.at("spec.template")
	template, _ := value.(map[string]any)
	return template
}

// uid identifies the workload.
func (w Workload) uid() types.UID { return w.Object.GetUID() }
