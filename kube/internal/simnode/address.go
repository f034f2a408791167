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

// pool hands out pod addresses, each to one pod at a time. Nobody answers at them.
type pool struct {
	mu     sync.Mutex
	prefix netip.Prefix
	next   netip.Addr
	byIP   map[netip.Addr]types.UID
	byPod  map[types.UID]netip.Addr
}

func newPool(prefix netip.Prefix) *pool {
	return &pool{prefix: prefix, next: prefix.Addr().Next(), byIP: map[netip.Addr]types.UID{}, byPod: map[types.UID]netip.Addr{}}
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
func (p *pool) free() netip.Addr {
	for {
		ip := p.next
		p.next = p.next.Next()
		if !p.prefix.Contains(p.next) {
			p.next = p.prefix.Addr().Next()
		}
		if _, taken := p.byIP[ip]; !taken { // ends: the prefix holds more addresses than a cluster pods
			return ip
		}
	}
}

func (p *pool) put(pod types.UID) {
	p.mu.Lock()
	defer p.mu.Unlock()
	delete(p.byIP, p.byPod[pod])
	delete(p.byPod, pod)
}
