package inject

import (
	"cmp"
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	jsonmerge "github.com/evanphx/json-patch/v5"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	appsv1beta1 "github.com/holdfast-io/holdfast/api/apps/v1beta1"
)

// Injection is a SidecarSet that a pod gets, at one of its revisions.
type Injection struct {
	// Set is the name of the SidecarSet.
	Set string
	// Revision is the name of the ControllerRevision.
	Revision string
	// Base is the SidecarSet that this one is the canary of; "" when it is none.
	Base string
	Plan *Plan
}

// Edit is what a pod gets.
type Edit struct {
	// Before and After are added to the containers, InitBefore and InitAfter to the init containers.
	Before, After, InitBefore, InitAfter []corev1.Container
	// Replaced and InitReplaced take the place of containers that a pod brought along from an earlier injection, by index.
	Replaced, InitReplaced map[int]corev1.Container
	Volumes                []corev1.Volume
	PullSecrets            []corev1.LocalObjectReference
	Annotations            map[string]string
	// Warnings tell the user what was left out.
	Warnings []string

	// texts are the JSON of containers that are as they were compiled, by name.
	texts map[string]json.RawMessage
}

// Into works out what a pod gets of the SidecarSets. The pod stays as it is.
func Into(p *corev1.Pod, injections []Injection, now time.Time) (*Edit, error) {
	injections = slices.SortedFunc(slices.Values(injections), func(a, b Injection) int { return cmp.Compare(a.Set, b.Set) })
	e := &Edit{
		Annotations: map[string]string{}, Replaced: map[int]corev1.Container{}, InitReplaced: map[int]corev1.Container{},
		texts: map[string]json.RawMessage{},
	}
	i := &injector{pod: p, edit: e, own: ownContainers(p), taken: map[string]string{}, working: map[string]string{}}
	hashes, fixed := Records{}, Records{}
	names := make([]string, 0, len(injections))
	for _, in := range injections {
		if err := i.add(in); err != nil {
			return nil, fmt.Errorf("SidecarSet %s: %w", in.Set, err)
		}
		record := Record{
			UpdateTimestamp: metav1.NewTime(now), Hash: in.Plan.Hash, SidecarSetName: in.Set,
			SidecarList: in.Plan.Names, ControllerRevision: in.Revision,
		}
		hashes[in.Set] = record
		record.Hash = in.Plan.HashWithoutImage
		fixed[in.Set] = record
		names = append(names, in.Set)
	}
	byName := func(a, b corev1.Container) int { return cmp.Compare(a.Name, b.Name) }
	for _, added := range [][]corev1.Container{e.Before, e.After, e.InitBefore, e.InitAfter} {
		slices.SortStableFunc(added, byName)
	}
	e.Annotations[appsv1beta1.SidecarSetHash] = Text(hashes)
	e.Annotations[appsv1beta1.SidecarSetHashWithoutImage] = Text(fixed)
	e.Annotations[appsv1beta1.SidecarSetInjectedList] = strings.Join(names, ",")
	if len(i.working) > 0 {
		e.Annotations[appsv1beta1.SidecarSetWorkingHotUpgrade] = Text(i.working)
	}
	return e, nil
}

// injector works on one pod.
type injector struct {
	pod  *corev1.Pod
	edit *Edit
	// own are the containers of the pod itself.
	own []*corev1.Container
	// taken are the names of containers that were put in, with their SidecarSet.
	taken   map[string]string
	working map[string]string
}

// ownContainers are the pod's containers and restartable init containers, without those of an earlier injection.
func ownContainers(p *corev1.Pod) []*corev1.Container {
	var own []*corev1.Container
	for i := range p.Spec.Containers {
		if c := &p.Spec.Containers[i]; !injected(c) {
			own = append(own, c)
		}
	}
	for i := range p.Spec.InitContainers {
		if c := &p.Spec.InitContainers[i]; Restartable(c) && !injected(c) {
			own = append(own, c)
		}
	}
	return own
}

func injected(c *corev1.Container) bool {
	return slices.ContainsFunc(c.Env, func(e corev1.EnvVar) bool { return e.Name == appsv1beta1.SidecarInjectedEnv && e.Value == "true" })
}

func (i *injector) add(in Injection) error {
	e := i.edit
	for _, group := range []struct {
		sidecars []sidecar
		into     *[]corev1.Container
		there    []corev1.Container
		replaced map[int]corev1.Container
	}{
		{in.Plan.initBefore, &e.InitBefore, i.pod.Spec.InitContainers, e.InitReplaced},
		{in.Plan.initAfter, &e.InitAfter, i.pod.Spec.InitContainers, e.InitReplaced},
		{in.Plan.before, &e.Before, i.pod.Spec.Containers, e.Replaced},
		{in.Plan.after, &e.After, i.pod.Spec.Containers, e.Replaced},
	} {
		for n := range group.sidecars {
			c, err := i.build(in, &group.sidecars[n])
			if err != nil {
				return err
			}
			if at := slices.IndexFunc(group.there, func(o corev1.Container) bool { return o.Name == c.Name }); at >= 0 {
				group.replaced[at] = c // it came along from an earlier injection: build has made sure of that
			} else {
				*group.into = append(*group.into, c)
			}
		}
	}
	i.volumes(in.Plan.Template.Volumes)
	i.secrets(in.Plan.Template.ImagePullSecrets)
	if in.Base != "" {
		e.Annotations[appsv1beta1.SidecarSetCanary], e.Annotations[appsv1beta1.SidecarSetBase] = in.Set, in.Base
	}
	return i.metadata(in.Plan.Template.PatchPodMetadata)
}

// build makes the container for this pod.
func (i *injector) build(in Injection, s *sidecar) (corev1.Container, error) {
	c := s.container
	if other, taken := i.taken[c.Name]; taken {
		return c, fmt.Errorf("its container %s has the name of one of SidecarSet %s; rename one, or make their selectors disjoint", c.Name, other)
	}
	if i.isOwn(c.Name) {
		return c, fmt.Errorf("its container %s has the name of one of the pod's own containers; rename one of the two", c.Name)
	}
	i.taken[c.Name] = in.Set
	extra := append(i.transfer(s), i.share(&c, s.options)...)
	if len(extra) > 0 {
		c.Env = withEnv(c.Env, extra)
	}
	if own := &s.container; len(extra) == 0 && s.resources == nil &&
		len(c.VolumeMounts) == len(own.VolumeMounts) && len(c.VolumeDevices) == len(own.VolumeDevices) {
		i.edit.texts[c.Name] = s.text // nothing of it depends on the pod
	}
	if s.resources != nil {
		var err error
		if c.Resources, err = i.resources(s.resources); err != nil {
			return c, fmt.Errorf("resourcesPolicy of its container %s: %w", c.Name, err)
		}
	}
	if s.twin != "" {
		i.edit.Annotations[appsv1beta1.SidecarSetVersionPrefix+c.Name] = s.version
		i.edit.Annotations[appsv1beta1.SidecarSetVersionAltPrefix+s.twin] = s.version
		if s.version == firstVersion {
			i.working[s.name] = c.Name
		}
	}
	return c, nil
}

// isOwn reports whether the pod itself has a container of that name, of whatever kind.
func (i *injector) isOwn(name string) bool {
	for _, list := range [][]corev1.Container{i.pod.Spec.Containers, i.pod.Spec.InitContainers} {
		for n := range list {
			if list[n].Name == name && !injected(&list[n]) {
				return true
			}
		}
	}
	return false
}

// volumes adds volumes, where the pod has none of the name: its own is then the one that is mounted.
func (i *injector) volumes(all []corev1.Volume) {
	for n := range all {
		same := func(v corev1.Volume) bool { return v.Name == all[n].Name }
		if !slices.ContainsFunc(i.pod.Spec.Volumes, same) && !slices.ContainsFunc(i.edit.Volumes, same) {
			i.edit.Volumes = append(i.edit.Volumes, all[n])
		}
	}
}

func (i *injector) secrets(all []corev1.LocalObjectReference) {
	for _, s := range all {
		if !slices.Contains(i.pod.Spec.ImagePullSecrets, s) && !slices.Contains(i.edit.PullSecrets, s) {
			i.edit.PullSecrets = append(i.edit.PullSecrets, s)
		}
	}
}

// metadata adds annotations as their policies say.
func (i *injector) metadata(all []appsv1beta1.SidecarSetPatchPodMetadata) error {
	for n := range all {
		for _, key := range slices.Sorted(maps.Keys(all[n].Annotations)) {
			have, has := i.edit.Annotations[key]
			if !has {
				have, has = i.pod.Annotations[key]
			}
			value, err := Patched(all[n].PatchPolicy, have, has, all[n].Annotations[key])
			if err != nil {
				i.edit.Warnings = append(i.edit.Warnings, fmt.Sprintf("metadata.annotations[%s] stays as it is: %v", key, err))
			} else if !has || value != have {
				i.edit.Annotations[key] = value
			}
		}
	}
	return nil
}

// Patched is the value of an annotation after a patch by the policy.
func Patched(policy appsv1beta1.SidecarSetPatchPolicyType, have string, has bool, want string) (string, error) {
	switch {
	case !has || policy == appsv1beta1.SidecarSetOverwritePatchPolicy:
		return want, nil
	case policy != appsv1beta1.SidecarSetMergePatchJSONPatchPolicy:
		return have, nil
	}
	var object map[string]any
	if err := json.Unmarshal([]byte(have), &object); err != nil {
		return have, fmt.Errorf("its value is no JSON object, so nothing can be merged into it")
	}
	merged, err := jsonmerge.MergePatch([]byte(have), []byte(want))
	if err != nil {
		return have, fmt.Errorf("merge %s into it: %w", want, err)
	}
	return string(merged), nil
}
