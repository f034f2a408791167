package pull

import (
	"fmt"
	"maps"
	"slices"
	"strings"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

var epoch = time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC) //nolint:gochecknoglobals // Go has no constant of this type

func waiting(reason, message string) corev1.ContainerState {
	return corev1.ContainerState{Waiting: &corev1.ContainerStateWaiting{Reason: reason, Message: message}}
}

func ended(reason string) corev1.ContainerState {
	return corev1.ContainerState{Terminated: &corev1.ContainerStateTerminated{Reason: reason}}
}

// seen are the statuses that the words of a test stand for.
func seen(t *testing.T, word string) corev1.PodStatus {
	t.Helper()
	status := func(phase corev1.PodPhase, s corev1.ContainerStatus) corev1.PodStatus {
		s.Name = container
		return corev1.PodStatus{Phase: phase, ContainerStatuses: []corev1.ContainerStatus{s}}
	}
	switch word {
	case "new":
		return corev1.PodStatus{Phase: corev1.PodPending}
	case "creating":
		return status(corev1.PodPending, corev1.ContainerStatus{State: waiting("ContainerCreating", "")})
	case "error":
		return status(corev1.PodPending, corev1.ContainerStatus{State: waiting("ErrImagePull", "no such tag")})
	case "backoff":
		return status(corev1.PodPending, corev1.ContainerStatus{State: waiting("ImagePullBackOff", "back-off 10s")})
	case "badname":
		return status(corev1.PodPending, corev1.ContainerStatus{State: waiting("InvalidImageName", "")})
	case "root": // the image says to run as root, which the pod does not allow
		return status(corev1.PodPending, corev1.ContainerStatus{State: waiting("CreateContainerConfigError", "image will run as root")})
	case "running":
		return status(corev1.PodRunning, corev1.ContainerStatus{ImageID: "sha256:1", State: corev1.ContainerState{Running: &corev1.ContainerStateRunning{}}})
	case "nocommand": // the image lacks /bin/true
		return status(corev1.PodFailed, corev1.ContainerStatus{State: ended("StartError")})
	case "succeeded":
		return corev1.PodStatus{Phase: corev1.PodSucceeded}
	case "refused": // by the kubelet's admission
		return corev1.PodStatus{Phase: corev1.PodFailed, Reason: "OutOfpods", Message: "too many"}
	case "expired": // the kubelet gave up a container that it had never made
		s := status(corev1.PodFailed, corev1.ContainerStatus{State: ended("ContainerStatusUnknown")})
		s.Reason = "DeadlineExceeded"
		return s
	}
	t.Fatalf("what is a pod that is %q?", word)
	return corev1.PodStatus{}
}

// pods reads "n1/web:v2:creating:30 n2/..." : a pull pod each, its node, its image, what is seen of it, its age in seconds.
// A word with "!" is being deleted.
func pods(t *testing.T, text string) (all []*corev1.Pod) {
	t.Helper()
	for word := range strings.FieldsSeq(text) {
		word, terminating := strings.CutSuffix(word, "!")
		var node, image, tag, state string
		var age int
		if _, err := fmt.Sscanf(strings.NewReplacer("/", " ", ":", " ").Replace(word), "%s %s %s %s %d", &node, &image, &tag, &state, &age); err != nil {
			t.Fatalf("read %q: %v", word, err)
		}
		p := &corev1.Pod{
			ObjectMeta: metav1.ObjectMeta{Name: node + "/" + image + ":" + tag, CreationTimestamp: metav1.NewTime(epoch.Add(time.Duration(-age) * time.Second))},
			Spec:       corev1.PodSpec{NodeName: node, Containers: []corev1.Container{{Name: "injected", Image: "mesh:v1"}, {Name: container, Image: image + ":" + tag}}},
			Status:     seen(t, state),
		}
		if terminating {
			p.DeletionTimestamp = &metav1.Time{Time: epoch}
		}
		all = append(all, p)
	}
	return all
}

func pulls(text string) (all []Pull) {
	for word := range strings.FieldsSeq(text) {
		node, image, _ := strings.Cut(word, "/")
		all = append(all, Pull{Node: node, Image: image})
	}
	return all
}

// outcomes reads "n1/web:v2=done n2/web:v2=over:why n3/web:v2=trying:why".
func outcomes(text string) Outcomes {
	all := Outcomes{}
	for word := range strings.FieldsSeq(text) {
		what, how, _ := strings.Cut(word, "=")
		how, why, _ := strings.Cut(how, ":")
		all[pulls(what)[0]] = Outcome{Over: how != "trying", Trouble: why}
	}
	return all
}

func say(p Plan) string {
	var words []string
	for _, at := range p.Create {
		words = append(words, "create "+at.Node+"/"+at.Image)
	}
	for _, pod := range p.Delete {
		words = append(words, "delete "+pod.Name)
	}
	for _, at := range slices.SortedFunc(maps.Keys(p.Learned), compare) {
		switch o := p.Learned[at]; {
		case o.Over && o.Trouble == "":
			words = append(words, "done "+at.Node+"/"+at.Image)
		case o.Over:
			words = append(words, "failed "+at.Node+"/"+at.Image+": "+o.Trouble)
		default:
			words = append(words, "trouble "+at.Node+"/"+at.Image+": "+o.Trouble)
		}
	}
	if p.Again > 0 {
		words = append(words, "again "+p.Again.String())
	}
	return strings.Join(words, "; ")
}

func TestDecide(t *testing.T) {
	for _, test := range []struct {
		reason string
		// needs of a wish for web:v2 and side:v2, with a timeout of 600 s; "none" is no wish at all.
		needs    string
		parallel int
		pods     string
		known    string
		want     string
	}{
		{"nothing wished, nothing there", "none", 0, "", "", ""},
		{"as many as are allowed, in the order of need", "n2/web:v2 n1/web:v2 n3/web:v2", 2, "", "", "create n2/web:v2; create n1/web:v2"},
		{"those under way count", "n1/web:v2 n2/web:v2 n3/web:v2", 2, "n1/web:v2:creating:30", "", "create n2/web:v2; again 9m30s"},
		{"none is begun before its time", "n1/web:v2", 0, "", "", ""},
		{"one that was begun goes on", "n1/web:v2", 0, "n1/web:v2:new:0", "", "again 10m0s"},
		{"one whose node has the image by now goes on", "n2/web:v2", 1, "n1/web:v2:creating:1", "", "again 9m59s"},
		{"two images of a node", "n1/side:v2 n1/web:v2", 2, "n1/side:v2:creating:60", "", "create n1/web:v2; again 9m0s"},
		{
			"a container that runs has its image", "n1/web:v2 n2/web:v2", 1, "n1/web:v2:running:5", "",
			"create n2/web:v2; delete n1/web:v2; done n1/web:v2",
		},
		{"an image without the command is there", "n1/web:v2", 1, "n1/web:v2:nocommand:5", "", "delete n1/web:v2; done n1/web:v2"},
		{"an image that runs as root is there", "n1/web:v2", 1, "n1/web:v2:root:5", "", "delete n1/web:v2; done n1/web:v2"},
		{"a pod that succeeded", "n1/web:v2", 1, "n1/web:v2:succeeded:5", "", "delete n1/web:v2; done n1/web:v2"},
		{"what is done is not done again", "n1/web:v2", 1, "", "n1/web:v2=done", ""},
		{"a cache that still shows what is done", "n1/web:v2 n2/web:v2", 1, "n1/web:v2:running:5", "n1/web:v2=done", "create n2/web:v2; delete n1/web:v2"},
		{"trouble is told at once, and it goes on", "n1/web:v2", 1, "n1/web:v2:error:100", "", "trouble n1/web:v2: no such tag; again 8m20s"},
		{"the first words of the trouble stay", "n1/web:v2", 1, "n1/web:v2:backoff:100", "n1/web:v2=trying:first", "again 8m20s"},
		{"trouble while another attempt is made", "n1/web:v2", 1, "n1/web:v2:creating:100", "n1/web:v2=trying:first", "again 8m20s"},
		{"trouble that ended well", "n1/web:v2", 1, "n1/web:v2:running:100", "n1/web:v2=trying:first", "delete n1/web:v2; done n1/web:v2"},
		{
			"an error that lasts until the deadline", "n1/web:v2", 1, "n1/web:v2:backoff:600", "n1/web:v2=trying:first",
			"delete n1/web:v2; failed n1/web:v2: first",
		},
		{"an error seen only at the deadline", "n1/web:v2", 1, "n1/web:v2:badname:601", "", "delete n1/web:v2; failed n1/web:v2: InvalidImageName"},
		{
			"a node that does nothing", "n1/web:v2", 1, "n1/web:v2:new:600", "",
			"delete n1/web:v2; failed n1/web:v2: it was not there after imagePreDownloadTimeoutSeconds (10m0s)",
		},
		{
			"a node that takes no pods", "n1/web:v2", 1, "n1/web:v2:refused:1", "",
			"delete n1/web:v2; failed n1/web:v2: the node gave the pull up: OutOfpods too many",
		},
		{
			"a container that was never made is no image", "n1/web:v2", 1, "n1/web:v2:expired:590", "n1/web:v2=trying:first",
			"delete n1/web:v2; failed n1/web:v2: first",
		},
		{"what failed is not tried again", "n1/web:v2 n2/web:v2", 1, "", "n1/web:v2=over:first", "create n2/web:v2"},
		{"a pod that is being deleted counts for nothing", "n1/web:v2 n2/web:v2", 1, "n1/web:v2:running:5!", "n1/web:v2=done", "create n2/web:v2"},
		{"its name is taken until it is gone", "n1/web:v2", 1, "n1/web:v2:creating:5!", "", ""},
		{"another image is wanted now", "n1/web:v2", 1, "n1/web:v1:creating:5", "", "create n1/web:v2; delete n1/web:v1"},
		{
			"the update is over, or taken back", "none", 0, "n1/web:v2:creating:5 n2/web:v2:error:9 n3/web:v2:new:1!", "",
			"delete n1/web:v2; delete n2/web:v2",
		},
	} {
		t.Run(test.reason, func(t *testing.T) {
			w := Wish{}
			if test.needs != "none" {
				w = Wish{
					Revision: "v2", Images: map[string]bool{"web:v2": true, "side:v2": true}, Needs: pulls(test.needs),
					Parallel: test.parallel, Timeout: 600 * time.Second,
				}
			}
			if got := say(Decide(w, pods(t, test.pods), outcomes(test.known), epoch)); got != test.want {
				t.Errorf("got  %s\nwant %s", got, test.want)
			}
		})
	}
}

func TestDecideIsBounded(t *testing.T) {
	w := Wish{Images: map[string]bool{"web:v2": true}, Parallel: 1000, Timeout: time.Minute}
	var old []*corev1.Pod
	for i := range 200 {
		w.Needs = append(w.Needs, Pull{Node: fmt.Sprint("n", i), Image: "web:v2"})
		old = append(old, pods(t, fmt.Sprintf("m%d/web:v1:creating:1", i))...)
	}
	if plan := Decide(w, old, nil, epoch); len(plan.Create) != batch || len(plan.Delete) != batch {
		t.Errorf("%d pods are made and %d deleted in one pass, want %d each", len(plan.Create), len(plan.Delete), batch)
	}
}

func TestHeld(t *testing.T) {
	for _, test := range []struct{ reason, needs, known, refused, want string }{
		{"all is well", "n1/web:v2", "n1/web:v2=done", "", ""},
		{"one node", "n1/web:v2 n2/web:v2", "n1/web:v2=trying:denied", "", "image web:v2 cannot be pulled ahead of the update on n1: denied"},
		{
			"many nodes", "n5/web:v2 n4/web:v2 n3/web:v2 n2/web:v2", "n2/web:v2=over:b n3/web:v2=over:a n4/web:v2=over:a n5/web:v2=over:a", "",
			"image web:v2 cannot be pulled ahead of the update on n2, n3, n4 and 1 more: b",
		},
		{"a node whose pods have changed meanwhile", "n2/web:v2", "n1/web:v2=over:denied", "", ""},
		{
			"two images", "n1/web:v2 n1/side:v2", "n1/web:v2=over:x n1/side:v2=over:y", "",
			"image side:v2 cannot be pulled ahead of the update on n1: y; image web:v2 cannot be pulled ahead of the update on n1: x",
		},
		{"a quota", "n1/web:v2", "", "exceeded quota", "the API server takes no pod that pulls an image ahead: exceeded quota"},
	} {
		t.Run(test.reason, func(t *testing.T) {
			var words []string
			for _, h := range held(Wish{Needs: pulls(test.needs)}, &memory{outcomes: outcomes(test.known), refused: test.refused}) {
				words = append(words, h.Message)
			}
			if got := strings.Join(words, "; "); got != test.want {
				t.Errorf("got  %s\nwant %s", got, test.want)
			}
		})
	}
}
