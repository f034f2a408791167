package node

import (
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"runtime"

	"github.com/vishvananda/netlink"
	vns "github.com/vishvananda/netns"
	"golang.org/x/sys/unix"
)

const (
	netnsDir   = "/run/netns" // where `ip netns` looks
	bridgeName = "br0"
)

// netns is one network namespace, open for changes.
type netns struct {
	handle vns.NsHandle
	*netlink.Handle
}

func openNetns(path string) (*netns, error) {
	h, err := vns.GetFromPath(path)
	if err != nil {
		return nil, fmt.Errorf("open the network namespace %s: %w", path, err)
	}
	nl, err := netlink.NewHandleAt(h, unix.NETLINK_ROUTE)
	if err != nil {
		return nil, errors.Join(fmt.Errorf("open netlink in %s: %w", path, err), h.Close())
	}
	return &netns{handle: h, Handle: nl}, nil
}

// Close ends the handles; the namespace stays.
func (n *netns) Close() {
	n.Handle.Close()
	_ = n.handle.Close()
}

// onThread runs f on a thread of its own, which is thrown away afterwards, so no other work of this process can land
// in the namespace that f entered. The process's first thread is spared: it cannot be thrown away, and /proc/self
// shows its namespaces as the process's.
func onThread(f func() error) error {
	done := make(chan error, 1)
	go func() {
		runtime.LockOSThread() // never unlocked on the way out: the runtime ends the thread with this goroutine
		if unix.Gettid() == os.Getpid() {
			done <- onThread(f) // a second goroutine cannot be on this thread while it is locked
			runtime.UnlockOSThread()
			return
		}
		done <- f()
	}()
	return <-done
}

// inNetns runs f on a thread inside the namespace.
func inNetns(path string, f func() error) error {
	return onThread(func() error {
		h, err := vns.GetFromPath(path)
		if err != nil {
			return fmt.Errorf("open the network namespace %s: %w", path, err)
		}
		defer func() { _ = h.Close() }()
		if err := vns.Set(h); err != nil {
			return fmt.Errorf("enter the network namespace %s: %w", path, err)
		}
		return f()
	})
}

// ensureNetns makes a named namespace with loopback up and forwarding on, unless it is there.
func ensureNetns(path string) error {
	if isNetns(path) {
		return nil
	}
	if err := os.MkdirAll(netnsDir, 0o755); err != nil { //nolint:gosec // the machine's own folder, as `ip netns` makes it
		return fmt.Errorf("make %s: %w", netnsDir, err)
	}
	if err := os.WriteFile(path, nil, 0o400); err != nil {
		return fmt.Errorf("make the network namespace %s: %w", path, err)
	}
	if err := onThread(func() error { return newNetns(path) }); err != nil {
		return errors.Join(fmt.Errorf("make the network namespace %s: %w", path, err), os.Remove(path))
	}
	return nil
}

func newNetns(path string) error {
	if err := unix.Unshare(unix.CLONE_NEWNET); err != nil {
		return fmt.Errorf("leave the machine's: %w", err)
	}
	if err := os.WriteFile("/proc/sys/net/ipv4/ip_forward", []byte("1"), 0o600); err != nil {
		return fmt.Errorf("let it forward: %w", err)
	}
	lo, err := netlink.LinkByName("lo")
	if err == nil {
		err = netlink.LinkSetUp(lo)
	}
	if err != nil {
		return fmt.Errorf("set its loopback up: %w", err)
	}
	if err := unix.Mount("/proc/thread-self/ns/net", path, "", unix.MS_BIND, ""); err != nil {
		return fmt.Errorf("give it its name: %w", err)
	}
	return nil
}

func isNetns(path string) bool {
	var fs unix.Statfs_t
	return unix.Statfs(path, &fs) == nil && fs.Type == unix.NSFS_MAGIC
}

// removeNetns deletes a named namespace and its links.
func removeNetns(path string) error {
	if isNetns(path) {
		if err := removeLinks(path); err != nil {
			return err
		}
		if err := unix.Unmount(path, unix.MNT_DETACH); err != nil {
			return fmt.Errorf("unmount %s: %w", path, err)
		}
	}
	if err := os.Remove(path); err != nil && !errors.Is(err, os.ErrNotExist) {
		return fmt.Errorf("remove the network namespace: %w", err)
	}
	return nil
}

func removeLinks(path string) error {
	ns, err := openNetns(path)
	if err != nil {
		return err
	}
	defer ns.Close()
	links, err := ns.LinkList()
	if err != nil {
		return fmt.Errorf("list the links of %s: %w", path, err)
	}
	for _, l := range links {
		if l.Type() == "veth" || l.Type() == "bridge" {
			_ = ns.LinkDel(l) // the other end of a veth may have taken it along
		}
	}
	return nil
}

// bridge makes the hub's bridge.
func (n *netns) bridge(p plan) error {
	if _, err := n.LinkByName(bridgeName); err != nil {
		if err := n.LinkAdd(&netlink.Bridge{LinkAttrs: netlink.LinkAttrs{Name: bridgeName}}); err != nil {
			return fmt.Errorf("add the bridge: %w", err)
		}
	}
	return n.address(bridgeName, netip.PrefixFrom(p.hub(), 24))
}

// join links this namespace to the hub's bridge: name is the link here, port its other end on the bridge.
func (n *netns) join(hub *netns, name, port string, address netip.Prefix) error {
	if _, err := n.LinkByName(name); err != nil {
		if err := n.veth(hub, name, port); err != nil {
			return fmt.Errorf("join %s to the bridge: %w", name, err)
		}
	}
	return n.address(name, address)
}

func (n *netns) veth(hub *netns, name, port string) error {
	bridge, err := hub.LinkByName(bridgeName)
	if err != nil {
		return fmt.Errorf("find the bridge: %w", err)
	}
	if old, err := hub.LinkByName(port); err == nil {
		_ = hub.LinkDel(old) // left by a namespace that went away
	}
	attrs := netlink.LinkAttrs{Name: port, MasterIndex: bridge.Attrs().Index}
	veth := &netlink.Veth{LinkAttrs: attrs, PeerName: name, PeerNamespace: netlink.NsFd(n.handle)}
	if err := hub.LinkAdd(veth); err != nil {
		return fmt.Errorf("make the link: %w", err)
	}
	end, err := hub.LinkByName(port)
	if err == nil {
		err = hub.LinkSetUp(end)
	}
	if err != nil {
		return fmt.Errorf("set the bridge's end of the link up: %w", err)
	}
	return nil
}

// address gives the link its address and sets it up.
func (n *netns) address(link string, address netip.Prefix) error {
	l, err := n.LinkByName(link)
	if err != nil {
		return fmt.Errorf("find link %s: %w", link, err)
	}
	if err := n.AddrReplace(l, &netlink.Addr{IPNet: ipNet(address)}); err != nil {
		return fmt.Errorf("give %s the address %s: %w", link, address, err)
	}
	if err := n.LinkSetUp(l); err != nil {
		return fmt.Errorf("set %s up: %w", link, err)
	}
	return nil
}

func (n *netns) route(to netip.Prefix, via netip.Addr, link string) error {
	l, err := n.LinkByName(link)
	if err != nil {
		return fmt.Errorf("find link %s: %w", link, err)
	}
	r := &netlink.Route{LinkIndex: l.Attrs().Index, Dst: ipNet(to), Gw: net.IP(via.AsSlice())}
	if err := n.RouteReplace(r); err != nil {
		return fmt.Errorf("route %s via %s: %w", to, via, err)
	}
	return nil
}
