package sidecarset

import (
	"cmp"
	"context"
	"encoding/json"
	"fmt"
	"hash/fnv"
	"maps"
	"math"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/util/intstr"
	"k8s.io/apimachinery/pkg/util/validation/field"
	"k8s.io/utils/ptr"
	"sigs.k8s.io/controller-runtime/pkg/client"

	appsv1beta1 "github.com/holdfast-io/holdfast/api/apps/v1beta1"
	"github.com/holdfast-io/holdfast/internal/admission"
	"github.com/holdfast-io/holdfast/internal/apps/sidecarset/inject"
	"github.com/holdfast-io/holdfast/internal/workload"
	"github.com/holdfast-io/holdfast/internal/workload/revision"
)

// book remembers what was read of SidecarSets and their revisions, so that no pod waits for it twice.
type book struct {
	client client.Reader
	// live reads from the API server itself what the cache does not show yet; nil: it is waited for.
	live client.Reader
	// namespace is where the revisions are.
	namespace string

	mu        sync.Mutex
	looked    time.Time
	sets      map[types.UID]*entry
	revisions map[types.UID]*inject.Plan
}

func newBook(c, live client.Reader, namespace string) *book {
	return &book{client: c, live: live, namespace: namespace, sets: map[types.UID]*entry{}, revisions: map[types.UID]*inject.Plan{}}
}

// How many revisions are remembered; beyond it, which needs hundreds of sets, all are read again.
const maxRevisions = 1024

// entry is a SidecarSet as it was read at a generation.
type entry struct {
	generation int64
	collisions int32
	selector   labels.Selector
	namespaces labels.Selector // nil: all
	byName     bool            // namespaces asks for nothing but names
	updated    labels.Selector // nil: all
	plan       *inject.Plan
	latest     string
	err        error
}

// of returns what was read of a set, reading it when it has changed.
func (b *book) of(set *appsv1beta1.SidecarSet) *entry {
	b.mu.Lock()
	defer b.mu.Unlock()
	collisions := ptr.Deref(set.Status.CollisionCount, 0)
	if e := b.sets[set.UID]; e != nil && e.generation == set.Generation && e.collisions == collisions {
		return e
	}
	e := read(set, b.namespace)
	e.generation, e.collisions = set.Generation, collisions
	b.sets[set.UID] = e
	return e
}

// forget drops a set that is gone.
func (b *book) forget(uid types.UID) {
	b.mu.Lock()
	defer b.mu.Unlock()
	delete(b.sets, uid)
}

func read(set *appsv1beta1.SidecarSet, namespace string) *entry {
	e := &entry{}
	for _, s := range []struct {
		name string
		from *metav1.LabelSelector
		into *labels.Selector
	}{
		{"selector", set.Spec.Selector, &e.selector},
		{"namespaceSelector", set.Spec.NamespaceSelector, &e.namespaces},
		{"updateStrategy.selector", set.Spec.UpdateStrategy.Selector, &e.updated},
	} {
		if s.from == nil {
			continue
		}
		selector, err := metav1.LabelSelectorAsSelector(s.from)
		if err != nil {
			e.err = fmt.Errorf("spec.%s: %w", s.name, err)
			return e
		}
		*s.into = selector
	}
	e.byName = !slices.ContainsFunc(admission.Requirements(set.Spec.NamespaceSelector), func(r metav1.LabelSelectorRequirement) bool {
		return r.Key != corev1.LabelMetadataName
	})
	if e.selector == nil || e.selector.Empty() {
		e.err = fmt.Errorf("spec.selector is empty and would match every pod of the cluster; name at least one label")
		return e
	}
	plan, errs := inject.Compile(inject.TemplateOf(&set.Spec), field.NewPath("spec"))
	if len(errs) > 0 {
		e.err = errs.ToAggregate()
		return e
	}
	rev, err := newRevision(set, namespace, ptr.Deref(set.Status.CollisionCount, 0))
	if err != nil {
		e.err = err
		return e
	}
	e.plan, e.latest = plan, rev.Name
	return e
}

// content is what a ControllerRevision of a SidecarSet holds; clients read it as a patch of the set.
type content struct {
	Spec struct {
		inject.Template `json:",inline"`

		Patch string `json:"$patch"`
	} `json:"spec"`
}

func newRevision(set *appsv1beta1.SidecarSet, namespace string, collisions int32) (*appsv1.ControllerRevision, error) {
	var c content
	c.Spec.Template, c.Spec.Patch = inject.TemplateOf(&set.Spec), "replace"
	return revision.Of(set, kind(), namespace, c, revisionLabels(set), collisions)
}

func revisionLabels(set *appsv1beta1.SidecarSet) map[string]string {
	all := map[string]string{appsv1beta1.SidecarSetName: set.Name}
	if set.Spec.CustomVersion != "" {
		all[appsv1beta1.SidecarSetCustomVersion] = set.Spec.CustomVersion
	}
	return all
}

// planOf reads a revision once.
func (b *book) planOf(rev *appsv1.ControllerRevision) (*inject.Plan, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if plan := b.revisions[rev.UID]; plan != nil {
		return plan, nil
	}
	var c content
	if err := json.Unmarshal(rev.Data.Raw, &c); err != nil {
		return nil, fmt.Errorf("read ControllerRevision %s/%s: %w", rev.Namespace, rev.Name, err)
	}
	plan, errs := inject.Compile(c.Spec.Template, field.NewPath("data", "spec"))
	if len(errs) > 0 {
		return nil, fmt.Errorf("read ControllerRevision %s/%s: %w", rev.Namespace, rev.Name, errs.ToAggregate())
	}
	if len(b.revisions) >= maxRevisions {
		clear(b.revisions)
	}
	b.revisions[rev.UID] = plan
	return plan, nil
}

// history are the revisions of a set.
func history(ctx context.Context, c client.Reader, namespace string, set types.UID) ([]*appsv1.ControllerRevision, error) {
	var list appsv1.ControllerRevisionList
	err := c.List(ctx, &list, client.InNamespace(namespace), client.MatchingFields{workload.OwnerIndex: string(set)},
		client.UnsafeDisableDeepCopy)
	if err != nil {
		return nil, fmt.Errorf("list the revisions of the SidecarSet in namespace %s: %w", namespace, err)
	}
	all := make([]*appsv1.ControllerRevision, 0, len(list.Items))
	for i := range list.Items {
		all = append(all, &list.Items[i])
	}
	return all, nil
}

// named finds the revision that injectionStrategy asks for: the newest of its custom version.
func named(history []*appsv1.ControllerRevision, set string, wanted *appsv1beta1.SidecarSetInjectRevision) *appsv1.ControllerRevision {
	var found *appsv1.ControllerRevision
	for _, rev := range history {
		hit := wanted.RevisionName != "" && (rev.Name == wanted.RevisionName || rev.Name == set+"-"+wanted.RevisionName) ||
			wanted.CustomVersion != "" && rev.Labels[appsv1beta1.SidecarSetCustomVersion] == wanted.CustomVersion
		if hit && (found == nil || rev.Revision > found.Revision) {
			found = rev
		}
	}
	return found
}

// wantedName is how the user named the revision.
func wantedName(wanted *appsv1beta1.SidecarSetInjectRevision) string {
	if wanted.RevisionName != "" {
		return wanted.RevisionName
	}
	return "customVersion " + strconv.Quote(wanted.CustomVersion)
}

// matches reports whether a set is meant for a pod.
func (b *book) matches(ctx context.Context, e *entry, p *corev1.Pod, namespace string) (bool, error) {
	if !e.selector.Matches(labels.Set(p.Labels)) {
		return false, nil
	}
	if e.namespaces == nil || e.namespaces.Empty() {
		return true, nil
	}
	if e.byName {
		return e.namespaces.Matches(labels.Set{corev1.LabelMetadataName: namespace}), nil // the API server sees to that label
	}
	var ns corev1.Namespace
	err := b.client.Get(ctx, client.ObjectKey{Name: namespace}, &ns, client.UnsafeDisableDeepCopy)
	if apierrors.IsNotFound(err) && b.live != nil {
		err = b.live.Get(ctx, client.ObjectKey{Name: namespace}, &ns) // it may be newer than the cache
	}
	if err != nil {
		return false, fmt.Errorf("read the labels of namespace %s, which a SidecarSet's namespaceSelector asks for: %w", namespace, err)
	}
	return e.namespaces.Matches(labels.Set(ns.Labels)), nil
}

// giving are the sets that give new pods something. They belong to the cache.
func (b *book) giving(ctx context.Context, from client.Reader) ([]*appsv1beta1.SidecarSet, error) {
	var sets appsv1beta1.SidecarSetList
	err := from.List(ctx, &sets, client.UnsafeDisableDeepCopy)
	if meta.IsNoMatchError(err) {
		return nil, nil // the definition is not installed, so there is none
	}
	if err != nil {
		return nil, fmt.Errorf("list SidecarSets: %w", err)
	}
	b.trim(sets.Items)
	giving := make([]*appsv1beta1.SidecarSet, 0, len(sets.Items))
	for i := range sets.Items {
		if set := &sets.Items[i]; set.DeletionTimestamp == nil && !set.Spec.InjectionStrategy.Paused {
			giving = append(giving, set)
		}
	}
	return giving, nil
}

// lookInterval is how often the API server is asked for the sets of a pod that none in the cache is meant for.
const lookInterval = time.Second

// mayLook tells whether to ask the API server for the sets themselves. It asks us about pods that some set selects: where the
// cache shows none it may be behind, as in the moments after a start or while a definition changes.
func (b *book) mayLook(now time.Time) bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.live == nil || !b.looked.IsZero() && now.Sub(b.looked) < lookInterval {
		return false
	}
	b.looked = now
	return true
}

// trim drops sets that are gone, once there are many of them: nobody tells of them where no controller runs.
func (b *book) trim(there []appsv1beta1.SidecarSet) {
	const most = 16
	b.mu.Lock()
	defer b.mu.Unlock()
	if len(b.sets) <= len(there)+most {
		return
	}
	kept := make(map[types.UID]bool, len(there))
	for i := range there {
		kept[there[i].UID] = true
	}
	maps.DeleteFunc(b.sets, func(uid types.UID, _ *entry) bool { return !kept[uid] })
}

// forPod finds what a new pod gets of the sets. request is an id of its creation, by which chance is decided.
func (b *book) forPod(
	ctx context.Context, sets []*appsv1beta1.SidecarSet, p *corev1.Pod, namespace, request string,
) ([]inject.Injection, error) {
	var all []inject.Injection
	for _, set := range sets {
		e := b.of(set)
		if e.err != nil {
			continue // its status says so; one broken set must not stop the pods of a cluster
		}
		hit, err := b.matches(ctx, e, p, namespace)
		if err != nil {
			return nil, err
		}
		if !hit {
			continue
		}
		one, err := b.at(ctx, set, e, p, request)
		if err != nil {
			return nil, err
		}
		all = append(all, one)
	}
	return withoutBases(all), nil
}

// withoutBases leaves out the sets that a canary stands in for.
func withoutBases(all []inject.Injection) []inject.Injection {
	replaced := map[string]bool{}
	for _, in := range all {
		replaced[in.Base] = true
	}
	return slices.DeleteFunc(all, func(in inject.Injection) bool { return replaced[in.Set] && in.Base != in.Set })
}

// baseOf is the set that a canary stands in for; "" for one that is none.
func baseOf(set *appsv1beta1.SidecarSet) string {
	if set.Annotations[appsv1beta1.SidecarSetCanary] != "true" {
		return ""
	}
	return set.Annotations[appsv1beta1.SidecarSetBase]
}

// at finds the revision of a set that a new pod gets.
func (b *book) at(ctx context.Context, set *appsv1beta1.SidecarSet, e *entry, p *corev1.Pod, request string) (inject.Injection, error) {
	in := inject.Injection{Set: set.Name, Base: baseOf(set), Revision: e.latest, Plan: e.plan}
	wanted := set.Spec.InjectionStrategy.Revision
	if wanted == nil || !older(set, e, p, request) {
		return in, nil
	}
	all, err := history(ctx, b.client, b.namespace, set.UID)
	if err != nil {
		return in, err
	}
	rev := named(all, set.Name, wanted)
	if wanted.RevisionName == "" && wanted.CustomVersion == "" {
		if rev, err = b.usual(ctx, set, e, all); rev == nil {
			return in, err // there is no older one
		}
	}
	if rev == nil {
		return in, fmt.Errorf("SidecarSet %s: spec.injectionStrategy.revision asks for %s, which is not there any more; "+
			"name another one, or take the field out", set.Name, wantedName(wanted))
	}
	in.Revision = rev.Name
	in.Plan, err = b.planOf(rev)
	return in, err
}

// usual is the older revision that most of the set's pods have, or where they have none the one before the newest: what new
// pods get that the update does not reach, where the user has named none. nil: there is no older one. A revision that was
// tried on few pods and given up again is not spread by that.
func (b *book) usual(
	ctx context.Context, set *appsv1beta1.SidecarSet, e *entry, all []*appsv1.ControllerRevision,
) (*appsv1.ControllerRevision, error) {
	var pods corev1.PodList
	if err := b.client.List(ctx, &pods, client.MatchingFields{Index: set.Name}, client.UnsafeDisableDeepCopy); err != nil {
		return nil, fmt.Errorf("list the pods of SidecarSet %s: %w", set.Name, err)
	}
	has := map[string]int{}
	for i := range pods.Items {
		has[inject.Read(&pods.Items[i], appsv1beta1.SidecarSetHash)[set.Name].ControllerRevision]++
	}
	var found *appsv1.ControllerRevision
	for _, rev := range all {
		if rev.Name != e.latest && (found == nil || cmp.Or(has[rev.Name]-has[found.Name], cmp.Compare(rev.Revision, found.Revision)) > 0) {
			found = rev
		}
	}
	return found, nil
}

// older reports whether a new pod gets the revision that injectionStrategy names: always, or when the update would not reach
// it either.
func older(set *appsv1beta1.SidecarSet, e *entry, p *corev1.Pod, request string) bool {
	if set.Spec.InjectionStrategy.Revision.Policy != appsv1beta1.PartialSidecarSetInjectRevisionPolicy {
		return true
	}
	if e.updated != nil && !e.updated.Matches(labels.Set(p.Labels)) {
		return true
	}
	return chance(set.Name+"/"+request) < kept(set.Spec.UpdateStrategy.Partition)
}

// kept is the share of pods that a partition keeps at the old revision; a whole number says nothing about a new pod.
func kept(partition *intstr.IntOrString) float64 {
	if partition == nil || partition.Type != intstr.String {
		return 0
	}
	percent, err := strconv.ParseFloat(strings.TrimSuffix(partition.StrVal, "%"), 64)
	if err != nil {
		return 0
	}
	return percent / 100
}

// chance is a number from 0 to 1 that is as good as random for each id, and the same for the same.
func chance(id string) float64 {
	sum := fnv.New64a()
	_, _ = sum.Write([]byte(id)) // a hash never fails to take bytes
	mixed := sum.Sum64()
	mixed = (mixed ^ mixed>>33) * 0xff51afd7ed558ccd
	mixed = (mixed ^ mixed>>33) * 0xc4ceb9fe1a85ec53
	mixed ^= mixed >> 33
	return float64(mixed) / (math.MaxUint64 + 1.0)
}
