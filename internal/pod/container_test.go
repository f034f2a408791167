package pod_test

import (
	"testing"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"

	"github.com/holdfast-io/holdfast/internal/pod"
	"github.com/holdfast-io/holdfast/internal/testkit"
)

// list reads "cpu memory"; "-" leaves one out.
func list(cpu, memory string) corev1.ResourceList {
	l := corev1.ResourceList{}
	for name, text := range map[corev1.ResourceName]string{corev1.ResourceCPU: cpu, corev1.ResourceMemory: memory} {
		if text != "-" {
			l[name] = resource.MustParse(text)
		}
	}
	return l
}

func TestResizingComparesRequestsAndLimits(t *testing.T) {
	both := func(requests, limits corev1.ResourceList) *corev1.ResourceRequirements {
		return &corev1.ResourceRequirements{Requests: requests, Limits: limits}
	}
	storage := list("1", "1Gi")
	storage[corev1.ResourceEphemeralStorage] = resource.MustParse("1Gi")
	for _, test := range []struct {
		reason     string
		asked, has *corev1.ResourceRequirements
		waits      bool
	}{
		{"the kubelet does not say", both(list("1", "1Gi"), nil), nil, false},
		{"nothing is asked for", both(nil, nil), both(list("1", "-"), nil), false},
		{
			"as asked, written another way", both(list("0.5", "1Gi"), list("1", "2Gi")),
			both(list("500m", "1024Mi"), list("1000m", "2048Mi")), false,
		},
		{"the request is not there yet", both(list("2", "1Gi"), nil), both(list("1", "1Gi"), nil), true},
		{"the cpu limit is not there yet", both(list("1", "1Gi"), list("2", "2Gi")), both(list("1", "1Gi"), list("1", "2Gi")), true},
		{"the memory limit is not there yet", both(nil, list("-", "2Gi")), both(nil, list("-", "1Gi")), true},
		{"a limit that is added", both(list("1", "-"), list("2", "-")), both(list("1", "-"), nil), true},
		{"a request below what the kernel knows", both(list("1m", "-"), nil), both(list("2m", "-"), nil), false},
		{"a limit below what the kernel knows", both(nil, list("5m", "-")), both(nil, list("10m", "-")), false},
		{"parts of a thousandth", both(list("100500u", "-"), nil), both(list("101m", "-"), nil), false},
		{"what no resize can change", both(storage, nil), both(list("1", "1Gi"), nil), false},
	} {
		t.Run(test.reason, func(t *testing.T) {
			p := testkit.Pod(func(p *corev1.Pod) {
				p.Spec.Containers = []corev1.Container{{Name: "main", Resources: *test.asked}}
				p.Status.ContainerStatuses = []corev1.ContainerStatus{{Name: "main", Resources: test.has}}
			})
			if why := pod.Resizing(p); (why != "") != test.waits {
				t.Errorf("got %q", why)
			}
		})
	}
}
