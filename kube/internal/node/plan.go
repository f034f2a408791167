package node

import (
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"net/netip"
	"path/filepath"
)

// ID is the short name of a data directory, in every link, namespace and cgroup made for it, so that two
// directories on one machine never meet.
func ID(dir string) (string, error) {
	abs, err := filepath.Abs(dir)
	if err != nil {
		return "", fmt.Errorf("find the absolute path of %s: %w", dir, err)
	}
	if resolved, err := filepath.EvalSymlinks(abs); err == nil {
		abs = resolved
	}
	sum := sha256.Sum256([]byte(abs))
	return hex.EncodeToString(sum[:4]), nil
}

// maxNodes keeps the nodes' pod ranges clear of the range of the nodes themselves.
const maxNodes = 200

// plan is the addresses of one data directory's network: a /16, whose i-th /24 holds the pods of node i and whose
// last /24 holds the nodes and the machine. Pods of simulated nodes have addresses from what is between.
type plan struct {
	Prefix netip.Prefix `json:"prefix"`
}

func (p plan) addr(third, fourth int) netip.Addr {
	b := p.Prefix.Addr().As4()
	return netip.AddrFrom4([4]byte{b[0], b[1], byte(third), byte(fourth)}) //nolint:gosec // maxNodes keeps both below 256
}

func (p plan) hub() netip.Addr            { return p.addr(255, 1) }
func (p plan) machine() netip.Addr        { return p.addr(255, 2) }
func (p plan) node(i int) netip.Addr      { return p.addr(255, 10+i) }
func (p plan) nodes() netip.Prefix        { return netip.PrefixFrom(p.addr(255, 0), 24) }
func (p plan) podCIDR(i int) netip.Prefix { return netip.PrefixFrom(p.addr(i, 0), 24) }

// simulated is behind the ranges of as many nodes as there can be, not as there are: pods keep their addresses when
// a node is added.
func (p plan) simulated() (first, last netip.Addr) { return p.addr(maxNodes, 0), p.addr(254, 255) }

// choose picks the network's /16: the one kept from the last run if it is still free, else the first free one.
func choose(kept plan, taken []netip.Prefix) (plan, error) {
	candidates := []plan{}
	if kept.Prefix.IsValid() {
		candidates = append(candidates, kept)
	}
	for _, second := range append([]int{244}, between(64, 127)...) {
		if second >= 96 && second <= 111 {
			continue // Services live in 10.96.0.0/12 by custom
		}
		first := netip.AddrFrom4([4]byte{10, byte(second), 0, 0}) //nolint:gosec // the numbers stand above
		candidates = append(candidates, plan{netip.PrefixFrom(first, 16)})
	}
	for _, c := range candidates {
		if !overlaps(c.Prefix, taken) {
			return c, nil
		}
	}
	return plan{}, fmt.Errorf("choose addresses for nodes and pods: this machine's routes take all of 10.64.0.0/10 and 10.244.0.0/16; " +
		"remove one, or run in a network namespace of its own")
}

func overlaps(p netip.Prefix, taken []netip.Prefix) bool {
	for _, t := range taken {
		if t.Bits() > 0 && t.Overlaps(p) { // a default route takes nothing
			return true
		}
	}
	return false
}

func between(from, to int) []int {
	var all []int
	for i := from; i <= to; i++ {
		all = append(all, i)
	}
	return all
}
