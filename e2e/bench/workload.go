package main

import (
	"context"
	"encoding/json"
	"fmt"
	"maps"

	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"
)

// budget is how much of a workload an update may take away at a time.
const budget = "10%"

// workload is a kind as the phases use it: where its fields are, and how it is told to update.
type workload struct {
	group, version, kind string
	native               bool // kept by Kubernetes itself
	gated                bool // pods have the readiness gate of changes in place
	daemon               bool // a pod on every node: the number of pods is that of the nodes
	// spec beyond replicas, selector and template.
	spec map[string]any
	// inPlace and recreate are what the spec says besides, for updates of one sort or the other.
	inPlace, recreate map[string]any
	// total, updated and available are the status fields that count pods.
	total, updated, available string
}

// object is a piece of JSON.
type object = map[string]any

// workloads are the kinds by the parts that measure them.
func workloads() map[string]workload {
	const ours, beta = "apps.kruise.io", "v1beta1"
	sets := workload{total: "replicas", updated: "updatedReplicas", available: "availableReplicas"}
	daemons := workload{
		daemon: true, total: "currentNumberScheduled", updated: "updatedNumberScheduled", available: "numberAvailable",
	}
	rolling := func(more object) object {
		more["maxUnavailable"] = budget
		return object{"updateStrategy": object{"type": "RollingUpdate", "rollingUpdate": more}}
	}
	policy := func(name string) object {
		return object{"updateStrategy": object{"rollingUpdate": object{"podUpdatePolicy": name}}}
	}
	return map[string]workload{
		partDeployment: sets.with("apps", "v1", "Deployment", func(w *workload) {
			w.native = true
			w.spec = object{"strategy": object{"type": "RollingUpdate", "rollingUpdate": object{"maxUnavailable": budget, "maxSurge": 0}}}
		}),
		partCloneSet: sets.with(ours, beta, "CloneSet", func(w *workload) {
			w.spec = rolling(object{"maxSurge": 0})
			w.inPlace, w.recreate = policy("InPlaceIfPossible"), policy("ReCreate")
		}),
		partGated: sets.with(ours, beta, "CloneSet", func(w *workload) {
			w.gated, w.spec = true, rolling(object{"maxSurge": 0})
			w.inPlace, w.recreate = policy("InPlaceIfPossible"), policy("ReCreate")
		}),
		partNativeStateful: sets.with("apps", "v1", "StatefulSet", func(w *workload) {
			w.native, w.spec = true, rolling(object{})
			w.spec["podManagementPolicy"], w.spec["serviceName"] = "Parallel", name
		}),
		partStateful: sets.with(ours, beta, "StatefulSet", func(w *workload) {
			w.gated, w.spec = true, rolling(object{})
			w.spec["podManagementPolicy"], w.spec["serviceName"] = "Parallel", name
			w.inPlace, w.recreate = policy("InPlaceIfPossible"), policy("ReCreate")
		}),
		partNativeDaemon: daemons.with("apps", "v1", "DaemonSet", func(w *workload) {
			w.native, w.spec = true, rolling(object{})
		}),
		partDaemon: daemons.with(ours, beta, "DaemonSet", func(w *workload) {
			w.spec = rolling(object{})
			w.inPlace = object{"updateStrategy": object{"rollingUpdate": object{"rollingUpdateType": "InPlaceIfPossible"}}}
			w.recreate = object{"updateStrategy": object{"rollingUpdate": object{"rollingUpdateType": "Standard"}}}
		}),
	}
}

func (w workload) with(group, version, kind string, more func(*workload)) workload {
	w.group, w.version, w.kind = group, version, kind
	more(&w)
	return w
}

// image names the n-th image; simulated nodes need no such image to exist.
func image(n int) string { return fmt.Sprintf("registry.local/bench:v%d", n) }

// name is the name of every workload; they are measured one after the other.
const name = "bench"

// absent is a node selector that no node has.
func absent() object { return object{"holdfast.io/bench": "none"} }

// empty returns the workload with nothing in it but its name.
func (w workload) empty() *unstructured.Unstructured {
	o := &unstructured.Unstructured{}
	o.SetGroupVersionKind(schema.GroupVersionKind{Group: w.group, Version: w.version, Kind: w.kind})
	o.SetNamespace(namespace)
	o.SetName(name)
	return o
}

// build returns the workload with its whole spec and no pods.
func (w workload) build() client.Object {
	labels := object{"app": name}
	pod := object{
		"terminationGracePeriodSeconds": int64(1),
		"containers":                    containers(image(1)),
		"tolerations":                   []any{object{"operator": "Exists"}},
	}
	if w.gated {
		pod["readinessGates"] = []any{object{"conditionType": "InPlaceUpdateReady"}}
	}
	spec := object{
		"selector": object{"matchLabels": labels},
		"template": object{"metadata": object{"labels": labels}, "spec": pod},
	}
	maps.Copy(spec, w.spec)
	if w.daemon {
		pod["nodeSelector"] = absent()
	} else {
		spec["replicas"] = int64(0)
	}
	o := w.empty()
	o.Object["spec"] = spec
	return o
}

func containers(image string) []any { return []any{object{"name": "main", "image": image}} }

// settled reports whether the status speaks of the newest spec and of n pods, all ready and updated.
func (w workload) settled(o *unstructured.Unstructured, n int) bool {
	observed, _, _ := unstructured.NestedInt64(o.Object, "status", "observedGeneration")
	if observed != o.GetGeneration() {
		return false
	}
	for _, field := range []string{w.total, w.updated, w.available} {
		if count, _, _ := unstructured.NestedInt64(o.Object, "status", field); count != int64(n) {
			return false
		}
	}
	return true
}

// change tells the workload how many pods to have, of which image, and how they get from one image to the next.
func (b *bench) change(ctx context.Context, w workload, replicas int, image string, inPlace bool) error {
	pod := object{"containers": containers(image)}
	spec := object{"template": object{"spec": pod}}
	switch {
	case !w.daemon:
		spec["replicas"] = replicas
	case replicas == 0:
		pod["nodeSelector"] = absent()
	default:
		pod["nodeSelector"] = nil
	}
	how := w.recreate
	if inPlace {
		how = w.inPlace
	}
	maps.Copy(spec, how)
	body, err := json.Marshal(object{"spec": spec})
	if err != nil {
		return fmt.Errorf("encode the change: %w", err)
	}
	if err := b.client.Patch(ctx, w.empty(), client.RawPatch(types.MergePatchType, body)); err != nil {
		return fmt.Errorf("change the workload: %w", err)
	}
	return nil
}
