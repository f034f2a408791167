package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"strings"
	"text/tabwriter"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/util/intstr"
	"k8s.io/utils/ptr"
	"sigs.k8s.io/controller-runtime/pkg/client"

	appsv1beta1 "github.com/holdfast-io/holdfast/api/apps/v1beta1"
	"github.com/holdfast-io/holdfast/e2e/cluster"
)

const (
	namespace = "default"
	name      = "web"
	nginx1    = "registry.local/nginx:1"
	nginx2    = "registry.local/nginx:2"
	busybox   = "registry.local/busybox:1"
)

// stage is where the demo plays.
type stage struct {
	cluster *cluster.Local
	client  client.WithWatch
}

func newStage(c *cluster.Local) (*stage, error) {
	client, err := c.Client()
	return &stage{cluster: c, client: client}, err
}

// cloneSet is the workload of the demo: a web server and, beside it, a container that an update of the server must not touch.
func cloneSet() *appsv1beta1.CloneSet {
	labels := map[string]string{"app": name}
	return &appsv1beta1.CloneSet{
		ObjectMeta: metav1.ObjectMeta{Namespace: namespace, Name: name},
		Spec: appsv1beta1.CloneSetSpec{
			Replicas: ptr.To[int32](3),
			Selector: &metav1.LabelSelector{MatchLabels: labels},
			Template: corev1.PodTemplateSpec{
				ObjectMeta: metav1.ObjectMeta{Labels: labels},
				Spec: corev1.PodSpec{
					TerminationGracePeriodSeconds: ptr.To[int64](2),
					Containers: []corev1.Container{
						{
							Name: "nginx", Image: nginx1, Ports: []corev1.ContainerPort{{ContainerPort: 80}},
							ReadinessProbe: &corev1.Probe{
								ProbeHandler:  corev1.ProbeHandler{HTTPGet: &corev1.HTTPGetAction{Path: "/", Port: intstr.FromInt32(80)}},
								PeriodSeconds: 1,
							},
						},
						{Name: "side", Image: busybox, Command: []string{"sh", "-c", "trap exit TERM; while true; do sleep 1; done"}},
					},
				},
			},
			UpdateStrategy: appsv1beta1.CloneSetUpdateStrategy{
				RollingUpdate: &appsv1beta1.RollingUpdateCloneSetStrategy{
					PodUpdatePolicy: appsv1beta1.InPlaceIfPossiblePodUpdatePolicy,
					MaxUnavailable:  ptr.To(intstr.FromInt32(1)),
				},
			},
		},
	}
}

// create applies the CloneSet and waits for its pods.
func (s *stage) create(ctx context.Context) error {
	cluster.Say("Creating CloneSet %s: 3 pods, each with nginx (%s) and a second container.", name, nginx1)
	old := cloneSet()
	if err := s.client.Delete(ctx, old, client.PropagationPolicy(metav1.DeletePropagationForeground)); client.IgnoreNotFound(err) != nil {
		return fmt.Errorf("delete the CloneSet of an earlier run: %w", err)
	}
	if err := s.until(ctx, "the CloneSet of an earlier run is gone", func() (bool, error) {
		err := s.client.Get(ctx, client.ObjectKeyFromObject(old), old)
		return apierrors.IsNotFound(err), client.IgnoreNotFound(err)
	}); err != nil {
		return err
	}
	begun := time.Now()
	// An operator that starts beside the cluster takes a moment to be asked.
	if err := s.until(ctx, "the CloneSet is accepted", func() (bool, error) {
		err := s.client.Create(ctx, cloneSet())
		if apierrors.IsInvalid(err) || apierrors.IsForbidden(err) {
			return false, err //nolint:wrapcheck // until says what for
		}
		return err == nil || apierrors.IsAlreadyExists(err), nil
	}); err != nil {
		return err
	}
	if err := s.settled(ctx); err != nil {
		return err
	}
	cluster.Saw("all 3 pods are available after %s", cluster.Since(begun))
	return s.table(ctx)
}

// updateInPlace changes the image and holds each pod against what it was.
func (s *stage) updateInPlace(ctx context.Context) error {
	cluster.Say("Updating the image of nginx in place: %s -> %s, one pod away at a time.", nginx1, nginx2)
	before, err := s.pods(ctx)
	if err != nil {
		return err
	}
	away, err := watchAway(ctx, s.client)
	if err != nil {
		return err
	}
	defer away.stop()
	begun := time.Now()
	if err := s.patch(ctx, fmt.Sprintf(`[{"op":"replace","path":"/spec/template/spec/containers/0/image","value":%q}]`, nginx2)); err != nil {
		return err
	}
	if err := s.settled(ctx); err != nil {
		return err
	}
	took := cluster.Since(begun)
	after, err := s.pods(ctx)
	if err != nil {
		return err
	}
	if err := changedInPlace(before, after, nginx2); err != nil {
		return err
	}
	cluster.Saw("every pod kept its uid, its IP and its node; only its container nginx restarted, once; done after %s", took)
	away.print(after)
	if most := away.most(); most > 1 {
		return fmt.Errorf("%d pods were away at a time, although maxUnavailable is 1", most)
	}
	cluster.Saw("never was more than one pod away")
	return s.served(ctx, after, "version 2")
}

func (s *stage) scale(ctx context.Context) error {
	cluster.Say("Scaling to 5.")
	before, err := s.pods(ctx)
	if err != nil {
		return err
	}
	if err := s.cluster.Holdfast(ctx, "scale", "cloneset/web", "--replicas", "5"); err != nil {
		return err
	}
	if err := s.settled(ctx); err != nil {
		return err
	}
	after, err := s.pods(ctx)
	if err != nil {
		return err
	}
	if len(after) != 5 {
		return fmt.Errorf("there are %d pods, want 5", len(after))
	}
	for uid, p := range before {
		if _, stayed := after[uid]; !stayed {
			return fmt.Errorf("pod %s is gone, although only pods were to be added", p.Name)
		}
	}
	cluster.Saw("5 pods are available, the 3 from before among them")
	return nil
}

func (s *stage) rollBack(ctx context.Context) error {
	cluster.Say("Rolling back, in place again.")
	before, err := s.pods(ctx)
	if err != nil {
		return err
	}
	if err := s.cluster.Holdfast(ctx, "rollout", "undo", "cloneset/web"); err != nil {
		return err
	}
	if err := s.cluster.Holdfast(ctx, "rollout", "status", "cloneset/web", "--timeout", "1m"); err != nil {
		return err
	}
	after, err := s.pods(ctx)
	if err != nil {
		return err
	}
	if err := changedInPlace(before, after, nginx1); err != nil {
		return err
	}
	cluster.Saw("all 5 pods run %s again, and are the same pods", nginx1)
	return s.served(ctx, after, "version 1")
}

// deleteOne names one pod to go.
func (s *stage) deleteOne(ctx context.Context) error {
	before, err := s.pods(ctx)
	if err != nil {
		return err
	}
	var chosen *corev1.Pod
	for _, p := range before {
		if chosen == nil || p.Name < chosen.Name {
			chosen = p
		}
	}
	cluster.Say("Deleting one chosen pod, %s, by the label %s: it counts against maxUnavailable as an update does.",
		chosen.Name, appsv1beta1.SpecifiedDelete)
	body := fmt.Appendf(nil, `{"metadata":{"labels":{%q:"true"}}}`, appsv1beta1.SpecifiedDelete)
	if err := s.client.Patch(ctx, chosen, client.RawPatch(types.MergePatchType, body)); err != nil {
		return fmt.Errorf("label pod %s: %w", chosen.Name, err)
	}
	var after map[types.UID]*corev1.Pod
	if err := s.until(ctx, "the chosen pod is replaced", func() (bool, error) {
		if after, err = s.pods(ctx); err != nil {
			return false, err
		}
		_, there := after[chosen.UID]
		return !there && len(after) == 5, nil
	}); err != nil {
		return err
	}
	if err := s.settled(ctx); err != nil {
		return err
	}
	kept := 0
	for uid := range after {
		if _, was := before[uid]; was {
			kept++
		}
	}
	if kept != 4 {
		return fmt.Errorf("%d pods stayed, want the 4 that were not chosen", kept)
	}
	cluster.Saw("it is gone, another took its place, and the 4 others stayed")
	return nil
}

func (s *stage) show(ctx context.Context) error {
	cluster.Say("How it stands:")
	return s.cluster.Holdfast(ctx, "get", "cloneset/web")
}

// changedInPlace checks that each pod is the one it was, but for one restart of nginx with the image.
func changedInPlace(before, after map[types.UID]*corev1.Pod, image string) error {
	var wrong []error
	for uid, old := range before {
		now := after[uid]
		if now == nil {
			wrong = append(wrong, fmt.Errorf("pod %s was made anew", old.Name))
			continue
		}
		if now.Status.PodIP != old.Status.PodIP || now.Spec.NodeName != old.Spec.NodeName {
			wrong = append(wrong, fmt.Errorf("pod %s moved: %s on %s was %s on %s",
				now.Name, now.Status.PodIP, now.Spec.NodeName, old.Status.PodIP, old.Spec.NodeName))
		}
		changed, was := container(now, "nginx"), container(old, "nginx")
		if changed.RestartCount != was.RestartCount+1 || changed.ImageID == was.ImageID ||
			!strings.HasSuffix(now.Spec.Containers[0].Image, image) {
			wrong = append(wrong, fmt.Errorf("pod %s: container nginx has %d restarts and image id %s, was %d and %s",
				now.Name, changed.RestartCount, changed.ImageID, was.RestartCount, was.ImageID))
		}
		if side, wasSide := container(now, "side"), container(old, "side"); side.ContainerID != wasSide.ContainerID {
			wrong = append(wrong, fmt.Errorf("pod %s: container side was restarted too", now.Name))
		}
	}
	return errors.Join(wrong...)
}

// table prints the pods.
func (s *stage) table(ctx context.Context) error {
	pods, err := s.pods(ctx)
	if err != nil {
		return err
	}
	w := tabwriter.NewWriter(os.Stdout, 0, 0, 2, ' ', 0)
	fmt.Fprintln(w, "  POD\tUID\tIP\tNODE\tNGINX\tRESTARTS")
	for _, p := range cluster.Sorted(pods) {
		fmt.Fprintf(w, "  %s\t%s\t%s\t%s\t%s\t%d\n",
			p.Name, p.UID, p.Status.PodIP, p.Spec.NodeName, p.Spec.Containers[0].Image, container(p, "nginx").RestartCount)
	}
	return w.Flush() //nolint:wrapcheck // standard output
}
