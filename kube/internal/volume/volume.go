// Package volume keeps persistent volumes for the claims of the storage class "standard": a folder
// of the data directory for a real node, nothing but the object for a simulated one.
package volume

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"sync"
	"time"

	corev1 "k8s.io/api/core/v1"
	storagev1 "k8s.io/api/storage/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/informers"
	"k8s.io/client-go/kubernetes"
	corelisters "k8s.io/client-go/listers/core/v1"
	storagelisters "k8s.io/client-go/listers/storage/v1"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/cache"
	"k8s.io/client-go/util/workqueue"
	"k8s.io/klog/v2"
)

// Provisioner is the name that storage classes give to get volumes from here.
const Provisioner = "holdfast.io/local"

const workers = 4

// Controller makes, grows and removes volumes.
type Controller struct {
	dir       string
	simulated func(*corev1.Node) bool
	client    kubernetes.Interface
	factory   informers.SharedInformerFactory
	claims    corelisters.PersistentVolumeClaimLister
	volumes   corelisters.PersistentVolumeLister
	nodes     corelisters.NodeLister
	classes   storagelisters.StorageClassLister
	queue     workqueue.TypedRateLimitingInterface[item]
}

// item is a claim, or a volume when the namespace is empty.
type item = cache.ObjectName

// New connects to the API server. Folders are made below dir.
func New(config *rest.Config, dir string, simulated func(*corev1.Node) bool) (*Controller, error) {
	client, err := kubernetes.NewForConfig(config)
	if err != nil {
		return nil, fmt.Errorf("volumes: %w", err)
	}
	factory := informers.NewSharedInformerFactory(client, 0)
	c := &Controller{
		dir: dir, simulated: simulated, client: client, factory: factory,
		claims:  factory.Core().V1().PersistentVolumeClaims().Lister(),
		volumes: factory.Core().V1().PersistentVolumes().Lister(),
		nodes:   factory.Core().V1().Nodes().Lister(),
		classes: factory.Storage().V1().StorageClasses().Lister(),
		queue: workqueue.NewTypedRateLimitingQueue(
			workqueue.NewTypedItemExponentialFailureRateLimiter[item](50*time.Millisecond, 30*time.Second)),
	}
	enqueue := func(obj any) {
		if object, ok := obj.(metav1.Object); ok {
			c.queue.Add(cache.MetaObjectToName(object))
		}
	}
	handler := cache.ResourceEventHandlerFuncs{AddFunc: enqueue, UpdateFunc: func(_, obj any) { enqueue(obj) }}
	for _, informer := range []cache.SharedIndexInformer{
		factory.Core().V1().PersistentVolumeClaims().Informer(), factory.Core().V1().PersistentVolumes().Informer(),
	} {
		if _, err := informer.AddEventHandler(handler); err != nil {
			return nil, fmt.Errorf("volumes: %w", err)
		}
	}
	return c, nil
}

// Run works until ctx ends.
func (c *Controller) Run(ctx context.Context) error {
	c.factory.StartWithContext(ctx)
	for kind, synced := range c.factory.WaitForCacheSync(ctx.Done()) {
		if !synced {
			return fmt.Errorf("volumes: %s were not listed: %w", kind, ctx.Err())
		}
	}
	var group sync.WaitGroup
	for range workers {
		group.Go(func() {
			for c.work(ctx) {
			}
		})
	}
	<-ctx.Done()
	c.queue.ShutDown()
	group.Wait()
	c.factory.Shutdown()
	return nil
}

func (c *Controller) work(ctx context.Context) bool {
	key, shutdown := c.queue.Get()
	if shutdown {
		return false
	}
	defer c.queue.Done(key)
	sync := c.claim
	if key.Namespace == "" {
		sync = c.volume
	}
	if err := sync(ctx, key); err != nil {
		if ctx.Err() == nil {
			klog.FromContext(ctx).Error(err, "Volume will be tried again", "object", key)
		}
		c.queue.AddRateLimited(key)
		return true
	}
	c.queue.Forget(key)
	return true
}

// claim gives a claim its volume, or grows the one that it has.
func (c *Controller) claim(ctx context.Context, key item) error {
	claim, err := c.claims.PersistentVolumeClaims(key.Namespace).Get(key.Name)
	if apierrors.IsNotFound(err) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("find claim %s: %w", key, err)
	}
	if claim.DeletionTimestamp != nil {
		return nil
	}
	class, err := c.class(claim)
	if class == nil || err != nil {
		return err
	}
	if claim.Spec.VolumeName != "" {
		return c.grow(ctx, claim)
	}
	node, err := c.node(claim, class)
	if node == nil || err != nil {
		return err
	}
	volume := Volume(claim, class, node.Labels[corev1.LabelHostname], c.path(claim))
	if !c.simulated(node) {
		if err := c.makeFolder(volume.Spec.Local.Path); err != nil {
			return err
		}
	}
	_, err = c.client.CoreV1().PersistentVolumes().Create(ctx, volume, metav1.CreateOptions{})
	if err != nil && !apierrors.IsAlreadyExists(err) {
		return fmt.Errorf("create volume %s: %w", volume.Name, err)
	}
	return nil
}

// class is the claim's storage class if it is one of ours, else nil.
func (c *Controller) class(claim *corev1.PersistentVolumeClaim) (*storagev1.StorageClass, error) {
	if claim.Spec.StorageClassName == nil || *claim.Spec.StorageClassName == "" {
		return nil, nil //nolint:nilnil // no class of ours is no fault
	}
	class, err := c.classes.Get(*claim.Spec.StorageClassName)
	if err != nil && !apierrors.IsNotFound(err) {
		return nil, fmt.Errorf("find the class of claim %s/%s: %w", claim.Namespace, claim.Name, err)
	}
	if err != nil || class.Provisioner != Provisioner {
		return nil, nil //nolint:nilnil,nilerr // as above
	}
	return class, nil
}

// node is where the volume goes: where the scheduler will put its pod, or for a class that binds
// at once, the first node there is. Nil: not known yet.
func (c *Controller) node(claim *corev1.PersistentVolumeClaim, class *storagev1.StorageClass) (*corev1.Node, error) {
	const selected = "volume.kubernetes.io/selected-node"
	if name := claim.Annotations[selected]; name != "" {
		node, err := c.nodes.Get(name)
		if err != nil {
			return nil, fmt.Errorf("find node %s, selected for claim %s/%s: %w", name, claim.Namespace, claim.Name, err)
		}
		return node, nil
	}
	if class.VolumeBindingMode != nil && *class.VolumeBindingMode == storagev1.VolumeBindingWaitForFirstConsumer {
		return nil, nil //nolint:nilnil // the scheduler will tell
	}
	return c.first()
}

// path is the folder of a claim's volume, the same at each attempt.
func (c *Controller) path(claim *corev1.PersistentVolumeClaim) string {
	return filepath.Join(c.dir, name(claim))
}

func (c *Controller) makeFolder(path string) error {
	if err := os.MkdirAll(c.dir, 0o700); err != nil {
		return fmt.Errorf("make the directory for volumes: %w", err)
	}
	if err := os.Mkdir(path, 0o700); err != nil && !errors.Is(err, os.ErrExist) {
		return fmt.Errorf("make a volume: %w", err)
	}
	// Nobody reaches it but through a mount, as the data directory is closed.
	if err := os.Chmod(path, 0o777); err != nil { //nolint:gosec // containers of any user write here
		return fmt.Errorf("open volume %s to its pods: %w", path, err)
	}
	return nil
}

// grow grants a larger size: a folder has none of its own.
func (c *Controller) grow(ctx context.Context, claim *corev1.PersistentVolumeClaim) error {
	wanted, has := claim.Spec.Resources.Requests[corev1.ResourceStorage], claim.Status.Capacity[corev1.ResourceStorage]
	if claim.Status.Phase != corev1.ClaimBound || wanted.Cmp(has) <= 0 {
		return nil
	}
	volume, err := c.volumes.Get(claim.Spec.VolumeName)
	if err != nil {
		return fmt.Errorf("find the volume of claim %s/%s: %w", claim.Namespace, claim.Name, err)
	}
	if !ours(volume) {
		return nil
	}
	if capacity := volume.Spec.Capacity[corev1.ResourceStorage]; capacity.Cmp(wanted) < 0 {
		volume = volume.DeepCopy()
		volume.Spec.Capacity[corev1.ResourceStorage] = wanted
		if _, err := c.client.CoreV1().PersistentVolumes().Update(ctx, volume, metav1.UpdateOptions{}); err != nil {
			return fmt.Errorf("grow volume %s: %w", volume.Name, err)
		}
	}
	claim = claim.DeepCopy()
	claim.Status.Capacity[corev1.ResourceStorage] = wanted
	claim.Status.Conditions, claim.Status.AllocatedResourceStatuses = nil, nil
	if _, err := c.client.CoreV1().PersistentVolumeClaims(claim.Namespace).UpdateStatus(ctx, claim, metav1.UpdateOptions{}); err != nil {
		return fmt.Errorf("grow claim %s/%s: %w", claim.Namespace, claim.Name, err)
	}
	return nil
}

// volume removes a volume that was given back and may go.
func (c *Controller) volume(ctx context.Context, key item) error {
	volume, err := c.volumes.Get(key.Name)
	if apierrors.IsNotFound(err) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("find volume %s: %w", key.Name, err)
	}
	if !ours(volume) || volume.DeletionTimestamp != nil || volume.Status.Phase != corev1.VolumeReleased ||
		volume.Spec.PersistentVolumeReclaimPolicy != corev1.PersistentVolumeReclaimDelete {
		return nil
	}
	if path := volume.Spec.Local.Path; filepath.Dir(path) == c.dir { // never anything else, whatever the object says
		if err := os.RemoveAll(path); err != nil {
			return fmt.Errorf("remove volume %s: %w", path, err)
		}
	}
	err = c.client.CoreV1().PersistentVolumes().Delete(ctx, volume.Name, metav1.DeleteOptions{})
	if err != nil && !apierrors.IsNotFound(err) {
		return fmt.Errorf("delete volume %s: %w", volume.Name, err)
	}
	return nil
}
