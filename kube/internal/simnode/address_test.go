package simnode

import (
	"net/netip"
	"testing"

	"k8s.io/apimachinery/pkg/types"
)

func TestPool(t *testing.T) {
	p := newPool(Range{First: netip.MustParseAddr("10.244.200.0"), Last: netip.MustParseAddr("10.244.200.2")})
	for _, step := range []struct {
		reason, pod, has, want string
		put                    bool
	}{
		{reason: "the first one", pod: "a", want: "10.244.200.0"},
		{reason: "the same one again", pod: "a", want: "10.244.200.0"},
		{reason: "one from an earlier run", pod: "b", has: "10.244.200.1", want: "10.244.200.1"},
		{reason: "one from another range", pod: "c", has: "10.160.0.9", want: "10.160.0.9"},
		{reason: "past those that are taken", pod: "d", want: "10.244.200.2"},
		{reason: "given back", pod: "b", put: true},
		{reason: "round to what is free", pod: "e", want: "10.244.200.1"},
		{reason: "shared when all are taken", pod: "f", want: "10.244.200.0"},
	} {
		if step.put {
			p.put(types.UID(step.pod))
			continue
		}
		if got := p.get(types.UID(step.pod), step.has); got != step.want {
			t.Errorf("%s: %s, want %s", step.reason, got, step.want)
		}
	}
}
