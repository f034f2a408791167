package node

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
)

// Network joins the nodes and the machine: a hub namespace with a bridge, one namespace per node, and one veth into
// the machine's own namespace with routes to nodes and pods. The hub keeps the machine's firewall, forwarding and
// sysctls out of it: nothing of them is needed and nothing of them is changed.
type Network struct {
	id    string
	plan  plan
	nodes int
}

// NewNetwork makes the network of the data directory dir for that many nodes, or adopts it when it is still there.
func NewNetwork(ctx context.Context, dir string, nodes int) (*Network, error) {
	if nodes > maxNodes {
		return nil, fmt.Errorf("make the network: %d real nodes are more than the %d that one machine's address range holds; "+
			"use --simulated for more", nodes, maxNodes)
	}
	id, err := ID(dir)
	if err != nil {
		return nil, err
	}
	n := &Network{id: id, nodes: nodes}
	unlock, err := lockMachine(ctx)
	if err != nil {
		return nil, err
	}
	defer unlock()
	if n.plan, err = keptOrNew(dir, n.link()); err != nil {
		return nil, err
	}
	if err := n.build(); err != nil {
		return nil, fmt.Errorf("make the network of %s: %w", dir, err)
	}
	return n, nil
}

// lockMachine lets one process at a time choose and make a network: two that look at the routes together would choose
// the same addresses. An abstract socket is a lock that leaves no file, and is free again when its holder dies.
func lockMachine(ctx context.Context) (unlock func(), err error) {
	ctx, cancel := context.WithTimeout(ctx, 15*time.Second)
	defer cancel()
	for {
		held, err := new(net.ListenConfig).Listen(ctx, "unix", "@holdfast-network")
		if err == nil {
			return func() { _ = held.Close() }, nil
		}
		if !errors.Is(err, unix.EADDRINUSE) || pause(ctx, 10*time.Millisecond) != nil {
			return nil, fmt.Errorf("wait for another cluster on this machine to make its network: %w", err)
		}
	}
}

// keptOrNew returns the addresses of the last run where they are free, so that nodes keep their addresses and
// certificates.
func keptOrNew(dir, ownLink string) (plan, error) {
	file := filepath.Join(dir, "network.json")
	var kept plan
	if raw, err := os.ReadFile(file); err == nil {
		if err := json.Unmarshal(raw, &kept); err != nil {
			return plan{}, fmt.Errorf("read %s: %w; remove the file to choose new addresses", file, err)
		}
	}
	taken, err := routes(ownLink)
	if err != nil {
		return plan{}, err
	}
	p, err := choose(kept, taken)
	if err != nil {
		return plan{}, err
	}
	return p, writeJSON(file, p)
}

// routes lists what the machine's routes already reach, without those of our own link.
func routes(ownLink string) ([]netip.Prefix, error) {
	own := -1
	if l, err := netlink.LinkByName(ownLink); err == nil {
		own = l.Attrs().Index
	}
	all, err := netlink.RouteListFiltered(netlink.FAMILY_V4, &netlink.Route{Table: unix.RT_TABLE_UNSPEC}, netlink.RT_FILTER_TABLE)
	if err != nil {
		return nil, fmt.Errorf("list the machine's routes: %w", err)
	}
	var taken []netip.Prefix
	for _, r := range all {
		if r.Dst == nil || r.LinkIndex == own {
			continue
		}
		addr, ok := netip.AddrFromSlice(r.Dst.IP.To4())
		ones, _ := r.Dst.Mask.Size()
		if ok {
			taken = append(taken, netip.PrefixFrom(addr, ones))
		}
	}
	return taken, nil
}

func (n *Network) link() string        { return "hf" + n.id }
func (n *Network) hubNS() string       { return netnsDir + "/hf-" + n.id + "-hub" }
func (n *Network) nodeNS(i int) string { return fmt.Sprintf("%s/hf-%s-n%d", netnsDir, n.id, i) }

// ControlPlaneIP is the address at which nodes and pods reach the API server: --advertise-address, and a name in
// the API server's certificate.
func (n *Network) ControlPlaneIP() string { return n.plan.hub().String() }

// Server is the API server's URL for the kubeconfigs of kubelet and kube-proxy; it changes only with network.json.
func (n *Network) Server() string {
	return "https://" + net.JoinHostPort(n.plan.hub().String(), strconv.Itoa(serverPort))
}

// ClusterCIDR holds all pods, those of simulated nodes too.
func (n *Network) ClusterCIDR() string { return n.plan.Prefix.String() }

// SimulatedPods is the part of ClusterCIDR that no real node can have.
func (n *Network) SimulatedPods() (first, last netip.Addr) { return n.plan.simulated() }

// NodeIP is the address of the i-th node; its kubelet serves there on port 10250.
func (n *Network) NodeIP(i int) string { return n.plan.node(i).String() }

// PodCIDR is the range of the i-th node's pods.
func (n *Network) PodCIDR(i int) string { return n.plan.podCIDR(i).String() }

// build makes each piece unless it is there, so that a control plane that was killed finds its nodes again.
func (n *Network) build() error {
	if err := ensureNetns(n.hubNS()); err != nil {
		return err
	}
	hub, err := openNetns(n.hubNS())
	if err != nil {
		return err
	}
	defer hub.Close()
	if err := hub.bridge(n.plan); err != nil {
		return err
	}
	machine, err := openNetns("/proc/thread-self/ns/net")
	if err != nil {
		return err
	}
	defer machine.Close()
	if err := machine.join(hub, n.link(), "machine", netip.PrefixFrom(n.plan.machine(), 24)); err != nil {
		return err
	}
	for i := range n.nodes {
		if err := n.buildNode(hub, i); err != nil {
			return fmt.Errorf("node %d: %w", i, err)
		}
	}
	for i := range n.nodes {
		for _, from := range []struct {
			ns   *netns
			link string
		}{{hub, bridgeName}, {machine, n.link()}} {
			if err := from.ns.route(n.plan.podCIDR(i), n.plan.node(i), from.link); err != nil {
				return err
			}
		}
	}
	return nil
}

// buildNode makes one node's namespace, its link to the hub, and its routes to the other nodes' pods.
func (n *Network) buildNode(hub *netns, i int) error {
	if err := ensureNetns(n.nodeNS(i)); err != nil {
		return err
	}
	ns, err := openNetns(n.nodeNS(i))
	if err != nil {
		return err
	}
	defer ns.Close()
	if err := ns.join(hub, "eth0", fmt.Sprintf("n%d", i), netip.PrefixFrom(n.plan.node(i), 24)); err != nil {
		return err
	}
	// The hub answers "unreachable" for what is outside, so that a pod need not wait for a time-out.
	if err := ns.route(netip.MustParsePrefix("0.0.0.0/0"), n.plan.hub(), "eth0"); err != nil {
		return err
	}
	for other := range n.nodes {
		if other == i {
			continue
		}
		if err := ns.route(n.plan.podCIDR(other), n.plan.node(other), "eth0"); err != nil {
			return err
		}
	}
	return nil
}

// Close removes all namespaces, links, routes and cgroups of the network, and ends what still runs in them.
func (n *Network) Close(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, 20*time.Second)
	defer cancel()
	return errors.Join(cleanCgroups(ctx, n.id), removeNetwork(n.id))
}

// removeNetwork deletes the links before the namespaces: a namespace that something else still holds would keep
// them. The machine's routes go with its link.
func removeNetwork(id string) error {
	var errs []error
	if l, err := netlink.LinkByName("hf" + id); err == nil {
		errs = append(errs, netlink.LinkDel(l))
	}
	for _, path := range namespacesOf(id) {
		errs = append(errs, removeNetns(path))
	}
	if err := errors.Join(errs...); err != nil {
		return fmt.Errorf("remove the network hf-%s: %w", id, err)
	}
	return nil
}

// namespacesOf lists the named network namespaces of a data directory.
func namespacesOf(id string) []string {
	entries, err := os.ReadDir(netnsDir)
	if err != nil {
		return nil // never made: nothing is there
	}
	var all []string
	for _, e := range entries {
		if strings.HasPrefix(e.Name(), "hf-"+id+"-") {
			all = append(all, filepath.Join(netnsDir, e.Name()))
		}
	}
	return all
}

func ipNet(p netip.Prefix) *net.IPNet {
	return &net.IPNet{IP: p.Addr().AsSlice(), Mask: net.CIDRMask(p.Bits(), 32)}
}
