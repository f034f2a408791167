package uniteddeployment

import (
	"sync"

	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/holdfast-io/holdfast/internal/reconcile"
)

// memory is what is known of one object's workloads beyond the cache. Nothing in it is needed after a restart: the cache then starts
// from a list that holds every earlier write.
type memory struct {
	uid types.UID
	// written are versions that our own writes have led to, by the workload's name; the cache must have got that far.
	written map[string]string
	// unsure are names of workloads for which a write ended without an answer.
	unsure map[string]bool
	// peak is the most pods that a workload was asked for since its controller last reported: it may have made them.
	peak map[string]int32
}

// memories keeps one memory for each object, until it is forgotten. Passes over one object never overlap, so only the map needs a lock.
type memories struct {
	mu  sync.Mutex
	all map[types.NamespacedName]*memory
}

// of returns the memory of an object; one that was made anew under its old name starts with an empty one.
func (m *memories) of(object client.Object) *memory {
	m.mu.Lock()
	defer m.mu.Unlock()
	key := client.ObjectKeyFromObject(object)
	if known := m.all[key]; known != nil && known.uid == object.GetUID() {
		return known
	}
	fresh := &memory{uid: object.GetUID(), written: map[string]string{}, unsure: map[string]bool{}, peak: map[string]int32{}}
	if m.all == nil {
		m.all = map[types.NamespacedName]*memory{}
	}
	m.all[key] = fresh
	return fresh
}

func (m *memories) forget(key types.NamespacedName) {
	m.mu.Lock()
	defer m.mu.Unlock()
	delete(m.all, key)
}

// behind are the names of workloads that the cache may show otherwise than they are.
func (m *memory) behind(cached map[string]client.Object) []string {
	var names []string
	for name := range m.unsure {
		names = append(names, name)
	}
	for name, version := range m.written {
		if shown := cached[name]; shown != nil && !reconcile.Newer(version, shown.GetResourceVersion()) {
			delete(m.written, name)
		} else if !m.unsure[name] {
			names = append(names, name)
		}
	}
	return names
}

// wrote notes what a write led to; err is its failure.
func (m *memory) wrote(name, version string, err error) {
	if err != nil {
		m.unsure[name] = true // a refusal changes nothing, but one look more costs little
		return
	}
	m.written[name] = version
}

// certain notes that a workload was read from the API server itself.
func (m *memory) certain(name string, gone bool) {
	delete(m.unsure, name)
	if gone {
		delete(m.written, name)
		delete(m.peak, name)
	}
}

// most is how many pods a workload may have: those it reports, and those it was asked for since.
func (m *memory) most(name string, asked, pods int32, observed bool) int32 {
	if observed {
		delete(m.peak, name)
		return max(asked, pods)
	}
	m.peak[name] = max(m.peak[name], asked)
	return max(m.peak[name], pods)
}
