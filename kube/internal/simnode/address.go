package simnode

import (
	"net/netip"
	"sync"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/types"
)

// Addresses are those of a pod.
type Addresses struct{ Host, Pod string }

func (a Addresses) fill(status *corev1.PodStatus) {
	if status.HostIP == "" {
		status.HostIP, status.HostIPs = a.Host, []corev1.HostIP{{IP: a.Host}}
	}
	if status.PodIP == "" && a.Pod != "" {
		status.PodIP, status.PodIPs = a.Pod, []corev1.PodIP{{IP: a.Pod}}
	}
}

// Range is a range of addresses.
type Range struct{ First, Last netip.Addr }

// DefaultPods is where pods have their addresses on a machine without real nodes, which have a range that is checked.
func DefaultPods() Range {
	return Range{First: netip.AddrFrom4([4]byte{10, 160, 0, 1}), Last: netip.AddrFrom4([4]byte{10, 175, 255, 254})}
}

// pool hands out pod addresses, each to one pod at a time. Nobody answers at them.
type pool struct {
	mu    sync.Mutex
	all   Range
	next  netip.Addr
	byIP  map[netip.Addr]types.UID
	byPod map[types.UID]netip.Addr
}

func newPool(all Range) *pool {
	return &pool{all: all, next: all.First, byIP: map[netip.Addr]types.UID{}, byPod: map[types.UID]netip.Addr{}}
}

// get returns the address of a pod: the one that it has, else a free one.
func (p *pool) get(pod types.UID, has string) string {
	p.mu.Lock()
	defer p.mu.Unlock()
	if ip, ok := p.byPod[pod]; ok {
		return ip.String()
	}
	ip, err := netip.ParseAddr(has)
	if err != nil {
		ip = p.free()
	}
	p.byIP[ip], p.byPod[pod] = pod, ip
	return ip.String()
}

// free is the next address in turn, so that one that was given back stays unused for long.
// When all are taken two pods have one: nobody answers there in any case.
func (p *pool) free() netip.Addr {
	ip := p.next
	for range len(p.byIP) + 1 {
		ip = p.next
		p.next = ip.Next()
		if p.all.Last.Less(p.next) {
			p.next = p.all.First
		}
		if _, taken := p.byIP[ip]; !taken {
			break
		}
	}
	return ip
}

func (p *pool) put(pod types.UID) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if ip, ok := p.byPod[pod]; ok && p.byIP[ip] == pod {
		delete(p.byIP, ip)
	}
	delete(p.byPod, pod)
}
