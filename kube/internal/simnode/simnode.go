// Package simnode keeps simulated nodes: Node objects that stay Ready, and pods on them whose status
// changes as a kubelet would report it, while nothing runs.
package simnode

import (
	"context"
	"fmt"
	"strconv"
	"sync"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/informers"
	"k8s.io/client-go/kubernetes"
	corelisters "k8s.io/client-go/listers/core/v1"
	"k8s.io/client-go/tools/cache"
	"k8s.io/client-go/tools/clientcmd"
	"k8s.io/client-go/util/workqueue"
)

// Label marks the nodes that are simulated. Any Node that carries it is, whoever made it.
const Label = "holdfast.io/simulated"

const (
	podWorkers  = 16
	nodeWorkers = 8
	namePrefix  = "sim-"
	// lookAfter is how long after a change of a running pod its node acts on it, and what has changed by then is told in one
	// write. A kubelet's second look at a pod waits until its runtime's containers were listed anew, which is up to a second.
	lookAfter = 50 * time.Millisecond
)

// Config says how many simulated nodes there are and how they behave.
type Config struct {
	Kubeconfig string
	Count      int   // nodes sim-0 .. sim-(Count-1); those beyond are removed
	Rules      Rules // of their pods
	Pods       Range // of pod addresses
	Taint      bool  // keep pods away that do not tolerate simulated nodes: there are real ones too
	Now        func() time.Time
}

// Simulator is the kubelet of all simulated nodes.
type Simulator struct {
	Config
	client  kubernetes.Interface
	factory informers.SharedInformerFactory
	pods    corelisters.PodLister
	nodes   corelisters.NodeLister
	queue   workqueue.TypedRateLimitingInterface[cache.ObjectName]
	pool    *pool

	mu    sync.Mutex
	state map[types.UID]*podState
}

// podState is what the simulator remembers of one pod. Only the worker that has its key uses it.
type podState struct {
	memory  Memory
	written uint64 // resource version of our last write: anything older that arrives is stale
}

// New connects to the API server.
func New(c Config) (*Simulator, error) {
	config, err := clientcmd.BuildConfigFromFlags("", c.Kubeconfig)
	if err != nil {
		return nil, fmt.Errorf("simulated nodes: %w", err)
	}
	config.QPS = -1 // the queue and its workers are the limit
	config.ContentType = "application/vnd.kubernetes.protobuf"
	config.AcceptContentTypes = "application/vnd.kubernetes.protobuf,application/json"
	config.UserAgent = "holdfast-simulator"
	client, err := kubernetes.NewForConfig(config)
	if err != nil {
		return nil, fmt.Errorf("simulated nodes: %w", err)
	}
	s := &Simulator{
		Config: c, client: client,
		factory: informers.NewSharedInformerFactoryWithOptions(client, 0, informers.WithTransform(slim)),
		queue: workqueue.NewTypedRateLimitingQueue(
			workqueue.NewTypedItemExponentialFailureRateLimiter[cache.ObjectName](50*time.Millisecond, 30*time.Second)),
		pool:  newPool(c.Pods),
		state: map[types.UID]*podState{},
	}
	s.nodes = s.factory.Core().V1().Nodes().Lister()
	return s, nil
}

// slim drops what is never read, which is half of an object.
func slim(obj any) (any, error) {
	if pod, ok := obj.(*corev1.Pod); ok {
		pod.ManagedFields = nil
	}
	return obj, nil
}

// watch has every pod on a simulated node looked at when it changes, and when its node appears,
// which may be seen after the pod.
func (s *Simulator) watch() error {
	pods := s.factory.Core().V1().Pods()
	s.pods = pods.Lister()
	_, err := pods.Informer().AddEventHandler(cache.ResourceEventHandlerFuncs{
		AddFunc:    func(obj any) { s.enqueue(obj) },
		UpdateFunc: func(_, obj any) { s.enqueue(obj) },
		DeleteFunc: func(obj any) {
			if gone, ok := obj.(cache.DeletedFinalStateUnknown); ok {
				obj = gone.Obj
			}
			if pod, ok := obj.(*corev1.Pod); ok {
				s.forget(pod.UID)
			}
		},
	})
	if err != nil {
		return fmt.Errorf("simulated nodes: watch pods: %w", err)
	}
	_, err = s.factory.Core().V1().Nodes().Informer().AddEventHandler(cache.ResourceEventHandlerFuncs{AddFunc: s.settle})
	if err != nil {
		return fmt.Errorf("simulated nodes: watch nodes: %w", err)
	}
	return nil
}

// settle looks at the pods of a node that appeared.
func (s *Simulator) settle(obj any) {
	node, ok := obj.(*corev1.Node)
	if !ok || node.Labels[Label] != "true" {
		return
	}
	pods, err := s.pods.List(labels.Everything())
	if err != nil {
		return // a lister of a cache has no errors
	}
	for _, pod := range pods {
		if pod.Spec.NodeName == node.Name {
			s.queue.Add(cache.MetaObjectToName(pod))
		}
	}
}

func (s *Simulator) enqueue(obj any) {
	pod, ok := obj.(*corev1.Pod)
	if !ok || pod.Spec.NodeName == "" || s.simulated(pod.Spec.NodeName) == nil {
		return
	}
	after := time.Duration(0)
	if pod.Status.Phase == corev1.PodRunning && pod.DeletionTimestamp == nil {
		after = lookAfter
	}
	s.queue.AddAfter(cache.MetaObjectToName(pod), after)
}

// simulated returns the node of that name if it is a simulated one.
func (s *Simulator) simulated(name string) *corev1.Node {
	node, err := s.nodes.Get(name)
	if err != nil || node.Labels[Label] != "true" {
		return nil
	}
	return node
}

// Run keeps the nodes and their pods until ctx ends.
func (s *Simulator) Run(ctx context.Context) error {
	// Nodes first: a pod that arrives before its node would be taken for somebody else's.
	s.factory.StartWithContext(ctx)
	if !cache.WaitForCacheSync(ctx.Done(), s.factory.Core().V1().Nodes().Informer().HasSynced) {
		return context.Cause(ctx)
	}
	if err := s.ensureNodes(ctx); err != nil {
		return err
	}
	if err := s.watch(); err != nil {
		return err
	}
	s.factory.StartWithContext(ctx)
	var workers sync.WaitGroup
	for range podWorkers {
		workers.Go(func() {
			for s.work(ctx) {
			}
		})
	}
	workers.Go(func() { s.heartbeats(ctx) })
	<-ctx.Done()
	s.queue.ShutDown()
	workers.Wait()
	s.factory.Shutdown()
	return nil
}

// Ready returns once every simulated node is Ready and takes pods.
func (s *Simulator) Ready(ctx context.Context) error {
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	for {
		ready := 0
		nodes, err := s.nodes.List(labels.SelectorFromSet(labels.Set{Label: "true"}))
		if err != nil {
			return fmt.Errorf("simulated nodes: %w", err)
		}
		for _, node := range nodes {
			if TakesPods(node) {
				ready++
			}
		}
		if ready >= s.Count {
			return nil
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("%d of %d simulated nodes became ready: %w", ready, s.Count, ctx.Err())
		case <-tick.C:
		}
	}
}

// TakesPods says whether a node, of any kind, is Ready and known as such to the scheduler.
func TakesPods(node *corev1.Node) bool {
	for _, taint := range node.Spec.Taints {
		if taint.Key == corev1.TaintNodeNotReady {
			return false
		}
	}
	for _, condition := range node.Status.Conditions {
		if condition.Type == corev1.NodeReady {
			return condition.Status == corev1.ConditionTrue
		}
	}
	return false
}

func (s *Simulator) remember(uid types.UID) *podState {
	s.mu.Lock()
	defer s.mu.Unlock()
	state, ok := s.state[uid]
	if !ok {
		state = &podState{}
		s.state[uid] = state
	}
	return state
}

func (s *Simulator) forget(uid types.UID) {
	s.mu.Lock()
	delete(s.state, uid)
	s.mu.Unlock()
	s.pool.put(uid)
}

// version is an object's place in the order of changes.
func version(resourceVersion string) uint64 {
	n, err := strconv.ParseUint(resourceVersion, 10, 64)
	if err != nil {
		return 0
	}
	return n
}
