package sidecarset

import (
	"maps"
	"slices"
	"strconv"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	appsv1beta1 "github.com/holdfast-io/holdfast/api/apps/v1beta1"
	"github.com/holdfast-io/holdfast/internal/apps/sidecarset/inject"
	"github.com/holdfast-io/holdfast/internal/pod"
	"github.com/holdfast-io/holdfast/internal/workload/inplace"
)

// change is what is written to a pod.
type change struct {
	// images by container.
	images map[string]string
	// annotations beside the records.
	annotations map[string]string
	// record says that the pod is of the newest revision from now on.
	record bool
}

// disturbs reports whether containers start again.
func (c change) disturbs() bool { return len(c.images) > 0 }

// imageOf is the image that a container of the pod has; "" when there is none of the name.
func imageOf(p *corev1.Pod, name string) string {
	for _, list := range [][]corev1.Container{p.Spec.Containers, p.Spec.InitContainers} {
		for i := range list {
			if list[i].Name == name {
				return list[i].Image
			}
		}
	}
	return ""
}

// changeOf is how an outdated pod gets to the newest revision: at once, or for a hot upgrade by its first half.
func (d *decision) changeOf(m *member) change {
	c := change{images: map[string]string{}, annotations: map[string]string{}, record: true}
	working := inject.Working(m.Pod)
	for _, s := range d.entry.plan.Template.Running() {
		if inject.Hot(s) {
			hotChange(&c, m.Pod, s, working, m.hot)
			continue
		}
		if have := imageOf(m.Pod, s.Name); have != "" && have != s.Image {
			c.images[s.Name] = s.Image
		}
	}
	for _, patch := range d.entry.plan.Template.Following() {
		for _, key := range slices.Sorted(maps.Keys(patch.Annotations)) {
			have, has := m.Pod.Annotations[key]
			value, err := inject.Patched(patch.PatchPolicy, have, has, patch.Annotations[key])
			if err == nil && (!has || value != have) {
				c.annotations[key] = value
			}
		}
	}
	return c
}

// pair are the two containers of a hot upgrade in a pod.
type pair struct{ working, idle string }

func pairOf(p *corev1.Pod, s *appsv1beta1.SidecarContainer) pair {
	names := inject.Pair(s.Name)
	if inject.Working(p)[s.Name] == names[1] {
		return pair{names[1], names[0]}
	}
	return pair{names[0], names[1]}
}

// hotChange gives the idle container the new image, and makes it the one that works. Where that has begun already and is
// overtaken by a newer image, the container that was to take over gets that one.
func hotChange(c *change, p *corev1.Pod, s *appsv1beta1.SidecarContainer, working map[string]string, begun bool) {
	both := pairOf(p, s)
	switch idle := imageOf(p, both.idle); {
	case imageOf(p, both.working) == "" || idle == "":
		return // the pod has not got the two
	case imageOf(p, both.working) == s.Image:
		if !begun && idle != s.UpgradeStrategy.HotUpgradeEmptyImage {
			c.images[both.idle] = s.UpgradeStrategy.HotUpgradeEmptyImage
		}
		return
	}
	to, from := both.idle, both.working
	if begun && version(p, both.idle) > 0 {
		to, from = both.working, both.idle
	}
	c.images[to] = s.Image
	next := strconv.Itoa(max(version(p, to), version(p, from)) + 1)
	working[s.Name] = to
	c.annotations[appsv1beta1.SidecarSetWorkingHotUpgrade] = inject.Text(working)
	c.annotations[appsv1beta1.SidecarSetVersionPrefix+to] = next
	c.annotations[appsv1beta1.SidecarSetVersionAltPrefix+from] = next
	c.annotations[appsv1beta1.SidecarSetVersionAltPrefix+to] = strconv.Itoa(version(p, from))
}

func version(p *corev1.Pod, container string) int {
	n, err := strconv.Atoi(p.Annotations[appsv1beta1.SidecarSetVersionPrefix+container])
	if err != nil {
		return 0
	}
	return n
}

// former are the containers of hot upgrades that should be idle by now and still work.
func former(p *corev1.Pod, plan *inject.Plan) (all []*appsv1beta1.SidecarContainer) {
	for _, s := range plan.Template.Running() {
		if inject.Hot(s) && version(p, pairOf(p, s).idle) > 0 {
			all = append(all, s)
		}
	}
	return all
}

// takingOver tells what the containers that take over wait for; "" when they work: lifecycle.postStart has ended, and they
// are ready.
func takingOver(p *corev1.Pod, plan *inject.Plan) string {
	for _, s := range former(p, plan) {
		name := pairOf(p, s).working
		if status := pod.Container(p, name); status == nil || !status.Ready {
			return "container " + name + " has not taken over yet: it is not ready"
		}
	}
	return ""
}

// reset is the second half of a hot upgrade: the former container becomes idle.
func reset(p *corev1.Pod, plan *inject.Plan) change {
	c := change{images: map[string]string{}, annotations: map[string]string{}}
	for _, s := range former(p, plan) {
		const none = "0"
		both := pairOf(p, s)
		c.images[both.idle] = s.UpgradeStrategy.HotUpgradeEmptyImage
		c.annotations[appsv1beta1.SidecarSetVersionPrefix+both.idle] = none
		c.annotations[appsv1beta1.SidecarSetVersionAltPrefix+both.working] = none
		c.annotations[appsv1beta1.SidecarSetVersionAltPrefix+both.idle] = strconv.Itoa(version(p, both.working))
	}
	return c
}

// apply is the pod after a change, as far as it is written: the images, and all annotations.
func (c change) apply(p *corev1.Pod, set string, e *entry, now time.Time) *corev1.Pod {
	after := p.DeepCopy()
	for _, list := range [][]corev1.Container{after.Spec.Containers, after.Spec.InitContainers} {
		for i := range list {
			if image, changes := c.images[list[i].Name]; changes {
				list[i].Image = image
			}
		}
	}
	if after.Annotations == nil {
		after.Annotations = map[string]string{}
	}
	maps.Copy(after.Annotations, c.annotations)
	if c.record {
		for key, hash := range map[string]string{
			appsv1beta1.SidecarSetHash: e.plan.Hash, appsv1beta1.SidecarSetHashWithoutImage: e.plan.HashWithoutImage,
		} {
			records := inject.Read(p, key)
			records[set] = inject.Record{
				UpdateTimestamp: metav1.NewTime(now), Hash: hash, SidecarSetName: set,
				SidecarList: e.plan.Names, ControllerRevision: e.latest,
			}
			after.Annotations[key] = inject.Text(records)
		}
	}
	if c.disturbs() {
		states := inplace.ReadSidecars(p)
		if states == nil {
			states = inplace.Sidecars{}
		}
		states[set] = inplace.BeginSidecar(p, states[set], c.images, e.latest, now)
		after.Annotations[appsv1beta1.SidecarSetInPlaceUpdateState] = inject.Text(states)
	}
	return after
}
