package workload

import (
	"sync"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/types"

	"github.com/holdfast-io/holdfast/internal/reconcile"
)

// memory is what the engine knows of a workload beyond the cache: its own writes that the cache may not show yet. Nothing
// in it is needed for correctness after a restart, when the cache starts from a list that holds every earlier write.
type memory struct {
	mu sync.Mutex
	// written is the highest resourceVersion that a write of ours returned, by kind: the cache must have got that far.
	written map[schema.GroupVersionKind]string
	// deleted are pods that we asked to go; a cache that still shows one of them as active is behind.
	deleted map[types.UID]bool
	// unsure are names of pods for which a write ended without an answer: it may or may not have happened. The value is the
	// UID of a pod that there was already.
	unsure map[string]types.UID
	// foreign are ids whose pod name belongs to somebody else.
	foreign map[string]bool
	// facts of pods that have not changed since.
	facts map[types.UID]*facts
	// passes counts the observations.
	passes uint64
	// templates of revisions, by name, and the revision that holds the template of the generation.
	templates  map[string]*corev1.PodTemplateSpec
	generation int64
	revision   string
	// window is how many creations may be under way at once; it grows while they succeed.
	window int
}

func newMemory() *memory {
	return &memory{
		written:   map[schema.GroupVersionKind]string{},
		deleted:   map[types.UID]bool{},
		unsure:    map[string]types.UID{},
		foreign:   map[string]bool{},
		facts:     map[types.UID]*facts{},
		templates: map[string]*corev1.PodTemplateSpec{},
		window:    firstWindow,
	}
}

// memories keeps one memory for each workload, until it is forgotten.
type memories struct {
	mu  sync.Mutex
	all map[types.NamespacedName]*owned
}

type owned struct {
	uid    types.UID
	memory *memory
}

// of returns the memory of an object; one that was made anew under its old name starts with an empty one.
func (m *memories) of(key types.NamespacedName, uid types.UID) *memory {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.all == nil {
		m.all = map[types.NamespacedName]*owned{}
	}
	if o := m.all[key]; o != nil && o.uid == uid {
		return o.memory
	}
	fresh := newMemory()
	m.all[key] = &owned{uid: uid, memory: fresh}
	return fresh
}

// forget drops the memory of an object and returns the UID that it had; "" when nothing was remembered.
func (m *memories) forget(key types.NamespacedName) types.UID {
	m.mu.Lock()
	defer m.mu.Unlock()
	o := m.all[key]
	if o == nil {
		return ""
	}
	delete(m.all, key)
	return o.uid
}

// wrote notes that a write returned this resourceVersion.
func (m *memory) wrote(kind schema.GroupVersionKind, version string) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if reconcile.Newer(version, m.written[kind]) {
		m.written[kind] = version
	}
}

func (m *memory) doubt(name string, uid types.UID) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.unsure[name] = uid
}

func (m *memory) passOver(id string) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.foreign[id] = true
}

func (m *memory) gone(uid types.UID) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.deleted[uid] = true
}
