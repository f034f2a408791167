package node

import (
	"os"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

func TestNextBackoff(t *testing.T) {
	tests := []struct {
		reason            string
		last, lived, want time.Duration
	}{
		{"the first death", 0, time.Second, firstBackoff},
		{"again at once", firstBackoff, time.Second, 2 * firstBackoff},
		{"no longer than the last one", lastBackoff, time.Second, lastBackoff},
		{"after a healthy time it counts anew", lastBackoff, healthyTime, firstBackoff},
	}
	for _, test := range tests {
		if got := nextBackoff(test.last, test.lived); got != test.want {
			t.Errorf("%s: %s, want %s", test.reason, got, test.want)
		}
	}
}

func TestStartTime(t *testing.T) {
	const rest = " 1 1 1 0 -1 4194560 1 2 3 4 5 6 7 8 20 0 9 0 4711 0 0"
	tests := []struct {
		reason, stat, want string
		fails              bool
	}{
		{"a plain name", "42 (init) S" + rest, "4711", false},
		{"a name with spaces and parentheses", "42 (a) b (c) S" + rest, "4711", false},
		{"a dead process that nobody collected", "42 (init) Z" + rest, "", true},
		{"cut short", "42 (init) S 1 1", "", true},
	}
	for _, test := range tests {
		got, err := startTime(test.stat)
		if got != test.want || (err != nil) != test.fails {
			t.Errorf("%s: %q, %v", test.reason, got, err)
		}
	}
}

func TestProcessIsNamedForGood(t *testing.T) {
	p, err := describe(os.Getpid())
	if err != nil {
		t.Fatal(err)
	}
	if !p.alive() {
		t.Error("this process is not seen as alive")
	}
	p.Start += "0"
	if p.alive() {
		t.Error("another process with the same pid is taken for the one meant")
	}
}

func TestHasCapability(t *testing.T) {
	const all, without = "Name:\tx\nCapEff:\t000001ffffffffff\n", "CapEff:\t000001fffeffffff\n"
	if !maySetLimits(all) || maySetLimits(without) || maySetLimits("") {
		t.Error("CAP_SYS_RESOURCE is read wrongly")
	}
}

func TestMountsBelow(t *testing.T) {
	const mountinfo = "1 0 8:1 / / rw - ext4 a rw\n2 1 0:4 net:[1] /run/netns/a rw - nsfs n rw\n3 1 0:4 net:[2] /run/netns/b rw - nsfs n rw\n4 1 0:5 / /run/netnsx rw - tmpfs t rw\n"
	if diff := cmp.Diff([]string{"/run/netns/b", "/run/netns/a"}, mountsBelow(mountinfo, netnsDir)); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}

func TestDigests(t *testing.T) {
	const table = `REF                     TYPE                                      DIGEST       SIZE    PLATFORMS   LABELS
registry.local/pause:1  application/vnd.oci.image.manifest.v1+json sha256:aa    1.4 MiB linux/amd64 io.cri-containerd.image=managed
sha256:bb               application/vnd.oci.image.manifest.v1+json sha256:bb    1.4 MiB linux/amd64 -
`
	has := digests(table)
	if !hasAll(has, map[string]string{"registry.local/pause:1": "sha256:aa"}) {
		t.Error("an image that is there is imported again")
	}
	if hasAll(has, map[string]string{"registry.local/pause:1": "sha256:cc"}) || hasAll(has, map[string]string{"registry.local/new:1": "sha256:aa"}) {
		t.Error("a changed or new image is not imported")
	}
}

func TestStatus(t *testing.T) {
	if s := (status{Containerd: true, Proxy: true}); s.Ready() || s.waitsFor() != "images, kubelet" {
		t.Errorf("waits for %q", s.waitsFor())
	}
	if s := (status{Containerd: true, Images: true, Kubelet: true, Proxy: true}); !s.Ready() {
		t.Errorf("is not ready, waits for %q", s.waitsFor())
	}
}
