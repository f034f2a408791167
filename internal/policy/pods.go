package policy

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"time"

	admissionv1 "k8s.io/api/admission/v1"
	admissionregistrationv1 "k8s.io/api/admissionregistration/v1"
	corev1 "k8s.io/api/core/v1"
	policyv1 "k8s.io/api/policy/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/utils/ptr"
	"sigs.k8s.io/controller-runtime/pkg/client"
	ctrl "sigs.k8s.io/controller-runtime/pkg/webhook/admission"

	"github.com/holdfast-io/holdfast/internal/admission"
	"github.com/holdfast-io/holdfast/internal/disruption"
	"github.com/holdfast-io/holdfast/internal/pod"
)

// HookTimeout is how many seconds a guard's webhook may take: a user waits for it.
const HookTimeout = 3

// Scope is whom and where the guards leave alone, so that they cannot lock the cluster out.
type Scope struct {
	// SystemNamespace is ours: whoever has to mend the operator must not need it for that.
	SystemNamespace string
	// Account of the operator, which has asked the guards before it acts.
	Account string
}

// Namespaces are those that are guarded.
func (s Scope) Namespaces() *metav1.LabelSelector {
	return &metav1.LabelSelector{MatchExpressions: []metav1.LabelSelectorRequirement{{
		Key: corev1.LabelMetadataName, Operator: metav1.LabelSelectorOpNotIn, Values: s.unguarded(),
	}}}
}

func (s Scope) unguarded() []string { return []string{metav1.NamespaceSystem, s.SystemNamespace} }

// Guards reports whether a namespace is guarded.
func (s Scope) Guards(namespace string) bool { return !slices.Contains(s.unguarded(), namespace) }

// users are the conditions that keep those out who only finish what was decided, or have asked already. The API server
// checks them without calling us: a kubelet must be able to finish its pods while we are away.
func (s Scope) users() []admissionregistrationv1.MatchCondition {
	return []admissionregistrationv1.MatchCondition{
		{Name: "not-by-a-kubelet", Expression: `!request.userInfo.username.startsWith("system:node:")`},
		{Name: "not-by-pod-gc", Expression: `request.userInfo.username != "system:serviceaccount:kube-system:pod-garbage-collector"`},
		{Name: "not-by-the-operator", Expression: "request.userInfo.username != " + strconv.Quote(s.Account)},
	}
}

// running are the conditions that keep pods out that are gone already, or going.
func running() []admissionregistrationv1.MatchCondition {
	return []admissionregistrationv1.MatchCondition{
		{Name: "not-terminating", Expression: `!has(oldObject.metadata.deletionTimestamp)`},
		{
			Name: "not-finished",
			Expression: `!(has(oldObject.status) && has(oldObject.status.phase) && ` +
				`(oldObject.status.phase == "Succeeded" || oldObject.status.phase == "Failed"))`,
		},
	}
}

// images tells whether containers get other images. An init container that has run does not run again, but a sidecar does.
const images = `object.spec.containers.exists(c, !oldObject.spec.containers.exists(o, o.name == c.name && o.image == c.image)) || ` +
	`(has(object.spec.initContainers) && object.spec.initContainers.exists(c, ` +
	`has(c.restartPolicy) && c.restartPolicy == "Always" && ` +
	`!(has(oldObject.spec.initContainers) && oldObject.spec.initContainers.exists(o, o.name == c.name && o.image == c.image))))`

// Pods answers admission about pods that are taken away.
type Pods struct {
	// Gate decides.
	Gate *Gate
	// Live reads the pod of an eviction from the API server itself: a cache may still show a former pod of the same name.
	Live client.Reader
}

// Hooks are the webhooks of the guards of pods. A nil p makes hooks that can be registered, not asked.
func (p *Pods) Hooks(s Scope) []admission.Hook {
	hook := func(verb, resource string, operation admissionregistrationv1.OperationType, handler ctrl.Handler,
		conditions ...admissionregistrationv1.MatchCondition,
	) admission.Hook {
		return admission.Hook{
			Name: verb + ".pods.policy.holdfast.io",
			Path: "/guard/pods/" + verb,
			Rules: []admissionregistrationv1.RuleWithOperations{{
				Operations: []admissionregistrationv1.OperationType{operation},
				Rule: admissionregistrationv1.Rule{
					APIGroups: []string{""}, APIVersions: []string{"v1"}, Resources: []string{resource},
					Scope: ptr.To(admissionregistrationv1.NamespacedScope),
				},
			}},
			MatchConditions: slices.Concat(s.users(), conditions), NamespaceSelector: s.Namespaces(), TimeoutSeconds: HookTimeout,
			// What is allowed is written into a ledger; a dry run is not.
			SideEffects: admissionregistrationv1.SideEffectClassNoneOnDryRun,
			Handler:     handler,
		}
	}
	changes := admissionregistrationv1.MatchCondition{Name: "changes-images", Expression: images}
	return []admission.Hook{
		hook("delete", "pods", admissionregistrationv1.Delete, deletion{p}, running()...),
		hook("evict", "pods/eviction", admissionregistrationv1.Create, inTime(p.evicted)),
		hook("update", "pods", admissionregistrationv1.Update, inTime(p.updated(disruption.Update)), append(running(), changes)...),
		hook("resize", "pods/resize", admissionregistrationv1.Update, inTime(p.updated(disruption.Resize)), running()...),
	}
}

// enough is how long a decision may take, which ends it before the API server gives up on it: that would answer with an error
// that no drain tries again after.
const enough = HookTimeout*time.Second - 500*time.Millisecond

func inTime(handle ctrl.HandlerFunc) ctrl.HandlerFunc {
	return func(ctx context.Context, req ctrl.Request) ctrl.Response {
		ctx, cancel := context.WithTimeout(ctx, enough)
		defer cancel()
		return handle(ctx, req)
	}
}

// evicted is asked before the API server looks at PodDisruptionBudgets, again for each try. It is told of the eviction only.
func (p *Pods) evicted(ctx context.Context, req ctrl.Request) ctrl.Response {
	eviction := &policyv1.Eviction{}
	if err := decode(req.Object.Raw, eviction); err != nil {
		return unreadable(req, err)
	}
	key := client.ObjectKey{Namespace: req.Namespace, Name: req.Name}
	if key.Name == "" {
		key.Name = eviction.Name
	}
	if key.Name == "" || key.Namespace == "" {
		return unreadable(req, errors.New("the eviction names no pod"))
	}
	evicted := &corev1.Pod{}
	err := p.Live.Get(ctx, key, evicted)
	if apierrors.IsNotFound(err) {
		return ctrl.Allowed("") // the API server says so itself
	}
	if err != nil {
		return later(fmt.Errorf("read pod %s, which is to be evicted: %w", key, err))
	}
	if o := eviction.DeleteOptions; o != nil && slices.Contains(o.DryRun, metav1.DryRunAll) {
		req.DryRun = ptr.To(true)
	}
	return p.decide(ctx, req, disruption.Request{Operation: disruption.Evict, Pod: evicted})
}

func (p *Pods) updated(operation disruption.Operation) ctrl.HandlerFunc {
	return func(ctx context.Context, req ctrl.Request) ctrl.Response {
		old, changed := &corev1.Pod{}, &corev1.Pod{}
		if err := decode(req.OldObject.Raw, old); err != nil {
			return unreadable(req, err)
		}
		if err := decode(req.Object.Raw, changed); err != nil {
			return unreadable(req, err)
		}
		return p.decide(ctx, req, disruption.Request{Operation: operation, Pod: old, Changed: changed})
	}
}

// decide asks the guards about a pod that is really there.
func (p *Pods) decide(ctx context.Context, req ctrl.Request, r disruption.Request) ctrl.Response {
	if err := fits(req, r.Pod); err != nil {
		return unreadable(req, err)
	}
	if !pod.Active(r.Pod) {
		return ctrl.Allowed("")
	}
	r.User, r.DryRun = req.UserInfo, ptr.Deref(req.DryRun, false)
	v, d, err := p.Gate.Decide(ctx, r)
	if err != nil {
		err = fmt.Errorf("%s is not decided, and so not done: %w", r, err)
		if r.Operation == disruption.Evict {
			return Annotated(later(err), d)
		}
		return Annotated(ctrl.Errored(http.StatusInternalServerError, err), d)
	}
	if v.Outcome == disruption.Allow {
		response := ctrl.Allowed("")
		if d.BreakGlass != "" {
			response = response.WithWarnings(v.Message)
		}
		return Annotated(response, d)
	}
	return Annotated(denied(r.Operation, fmt.Sprintf("%s (decision %s)", v.Message, d.ID)), d)
}

// denied is 403, but for evictions 429: that is what kubectl drain tries again after. There is no retryAfterSeconds in it:
// client-go would sleep inside of the caller's one request instead of letting it go on with the next pod.
func denied(operation disruption.Operation, message string) ctrl.Response {
	status := metav1.Status{
		Status: metav1.StatusFailure, Code: http.StatusForbidden, Reason: metav1.StatusReasonForbidden, Message: message,
	}
	if operation == disruption.Evict {
		status.Code, status.Reason = http.StatusTooManyRequests, metav1.StatusReasonTooManyRequests
	}
	return ctrl.Response{AdmissionResponse: admissionv1.AdmissionResponse{Result: &status}}
}

// later refuses an eviction that could not be judged, in the way that drains try again after.
func later(err error) ctrl.Response {
	return denied(disruption.Evict, err.Error())
}

// Annotated puts the decision into the audit log of the API server, which knows the addresses.
func Annotated(response ctrl.Response, d Decision) ctrl.Response {
	notes := map[string]string{"decision": d.ID, "outcome": string(d.Outcome)}
	for key, value := range map[string]string{
		"guard": d.Guard, "reason": d.Reason, "message": d.Message, "break-glass": d.BreakGlass, "workload": d.Workload,
	} {
		if value != "" {
			notes[key] = value
		}
	}
	for key, value := range d.Notes {
		if key = noteKey(key); key != "" {
			notes[key] = value
		}
	}
	response.AuditAnnotations = notes
	return response
}

// noteKey makes a guard's key fit for an annotation: the API server drops the others.
func noteKey(key string) string {
	key = strings.Map(func(r rune) rune {
		switch {
		case r >= 'a' && r <= 'z', r >= 'A' && r <= 'Z', r >= '0' && r <= '9', r == '-', r == '_', r == '.':
			return r
		}
		return '-'
	}, "note."+key)
	return strings.TrimRight(key[:min(len(key), 63)], "-_.")
}

func decode(raw []byte, into any) error {
	if len(raw) == 0 {
		return errors.New("the request holds no object")
	}
	if err := json.Unmarshal(raw, into); err != nil {
		return fmt.Errorf("decode the object: %w", err)
	}
	return nil
}

// fits makes sure that the object is the pod that the request is about: what is not must not be taken for one that nobody
// guards.
func fits(req ctrl.Request, p *corev1.Pod) error {
	switch {
	case p.Name == "" || p.Namespace == "":
		return errors.New("the object is no pod: it lacks a name or a namespace")
	case req.Name != "" && p.Name != req.Name, req.Namespace != "" && p.Namespace != req.Namespace:
		return fmt.Errorf("the object is pod %s/%s, the request names %s/%s", p.Namespace, p.Name, req.Namespace, req.Name)
	}
	return nil
}

func unreadable(req ctrl.Request, err error) ctrl.Response {
	return ctrl.Errored(http.StatusBadRequest, fmt.Errorf("%s %s: %w", strings.ToLower(string(req.Operation)), req.Resource.Resource, err))
}
