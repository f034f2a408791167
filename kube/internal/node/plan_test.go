package node

import (
	"net/netip"
	"testing"
)

func TestChoose(t *testing.T) {
	prefixes := func(texts ...string) []netip.Prefix {
		var all []netip.Prefix
		for _, text := range texts {
			all = append(all, netip.MustParsePrefix(text))
		}
		return all
	}
	kept := plan{netip.MustParsePrefix("10.70.0.0/16")}
	tests := []struct {
		reason string
		kept   plan
		taken  []netip.Prefix
		want   string
	}{
		{"nothing is taken", plan{}, nil, "10.244.0.0/16"},
		{"a default route takes nothing", plan{}, prefixes("0.0.0.0/0"), "10.244.0.0/16"},
		{"another cluster has the first one", plan{}, prefixes("10.244.3.0/24"), "10.64.0.0/16"},
		{"a wide route takes what is in it", plan{}, prefixes("10.244.0.0/16", "10.64.0.0/12"), "10.80.0.0/16"},
		{"Services are left alone", plan{}, prefixes("10.244.0.0/16", "10.64.0.0/11"), "10.112.0.0/16"},
		{"the last run's addresses are kept", kept, prefixes("192.0.2.0/24"), "10.70.0.0/16"},
		{"unless something took them meanwhile", kept, prefixes("10.70.1.0/24"), "10.244.0.0/16"},
	}
	for _, test := range tests {
		t.Run(test.reason, func(t *testing.T) {
			got, err := choose(test.kept, test.taken)
			if err != nil {
				t.Fatal(err)
			}
			if got.Prefix.String() != test.want {
				t.Errorf("chose %s, want %s", got.Prefix, test.want)
			}
		})
	}
	if _, err := choose(kept, prefixes("10.0.0.0/8")); err == nil {
		t.Error("all of 10.0.0.0/8 is taken, and yet an address range was chosen")
	}
}

func TestAddressesDoNotMeet(t *testing.T) {
	p := plan{netip.MustParsePrefix("10.244.0.0/16")}
	seen := map[netip.Addr]bool{p.hub(): true, p.machine(): true}
	for i := range maxNodes {
		if seen[p.node(i)] || !p.nodes().Contains(p.node(i)) {
			t.Fatalf("node %d has address %s: taken, or outside %s", i, p.node(i), p.nodes())
		}
		seen[p.node(i)] = true
		if p.podCIDR(i).Overlaps(p.nodes()) || !p.Prefix.Overlaps(p.podCIDR(i)) {
			t.Fatalf("pods of node %d are in %s: among the nodes, or outside %s", i, p.podCIDR(i), p.Prefix)
		}
	}
}

func TestSimulatedPodsMeetNoNode(t *testing.T) {
	p := plan{netip.MustParsePrefix("10.244.0.0/16")}
	first, last := p.simulated()
	if !p.Prefix.Contains(first) || !p.Prefix.Contains(last) || !first.Less(last) {
		t.Errorf("range %s to %s of %s", first, last, p.Prefix)
	}
	if p.nodes().Contains(last) || !last.Less(p.nodes().Addr()) {
		t.Errorf("the last one, %s, is among the nodes, %s", last, p.nodes())
	}
	if taken := p.podCIDR(maxNodes - 1); taken.Contains(first) || !taken.Addr().Less(first) {
		t.Errorf("the first one, %s, is among the last node's pods, %s", first, taken)
	}
}
