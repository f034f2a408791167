package cli

import "testing"

const api = `
apiVersion: apps/v1
kind: Deployment
metadata: {name: api, namespace: shop, generation: 5}
spec: {replicas: 4, strategy: {type: RollingUpdate, rollingUpdate: {maxUnavailable: 25%, maxSurge: 25%}}}
status: {observedGeneration: 5, replicas: 4, updatedReplicas: 4, readyReplicas: 4, availableReplicas: 4}
`

const db = `
apiVersion: apps/v1
kind: StatefulSet
metadata: {name: db, namespace: shop, generation: 2}
spec: {replicas: 5, updateStrategy: {type: RollingUpdate, rollingUpdate: {partition: 3}}}
status: {observedGeneration: 2, replicas: 5, updatedReplicas: 2, readyReplicas: 5, availableReplicas: 5}
`

const agent = `
apiVersion: apps/v1
kind: DaemonSet
metadata: {name: agent, namespace: shop, generation: 2}
status: {observedGeneration: 2, desiredNumberScheduled: 3, currentNumberScheduled: 3, updatedNumberScheduled: 3, numberReady: 3, numberAvailable: 3}
`

func TestProgress(t *testing.T) {
	cloneset := "" // the CloneSet of web
	for _, c := range []struct {
		name, kind, object string
		sets               []string
		want               State
		message            string
	}{
		{"updating", "cloneset", cloneset, nil, StateOngoing, "1 of 3 pods updated"},
		{"paused", "cloneset", cloneset, []string{"spec.updateStrategy.rollingUpdate.paused: true"}, StateOngoing, "1 of 3 pods updated; paused"},
		{"v1alpha1 keeps the switch elsewhere", "cloneset", cloneset, []string{
			"spec.updateStrategy.paused: true",
			"apiVersion: apps.kruise.io/v1alpha1",
		}, StateOngoing, "1 of 3 pods updated; paused"},
		{"done", "cloneset", cloneset, []string{"status.updatedReplicas: 3"}, StateDone, "3 of 3 pods updated, all available"},
		{
			"partition reached", "cloneset", cloneset,
			[]string{"spec.updateStrategy.rollingUpdate.partition: 2"},
			StateDone,
			"1 of 3 pods updated, 2 kept by partition, all available",
		},
		{
			"not observed hides the older status", "cloneset", cloneset,
			[]string{"metadata.generation: 3", "status.updatedReplicas: 3"},
			StateOngoing, "its controller has not seen generation 3 of the spec yet",
		},
		{
			"scaling up", "cloneset", cloneset,
			[]string{"status.updatedReplicas: 3", "spec.replicas: 3", "status.replicas: 2"},
			StateOngoing, "2 of 3 pods created",
		},
		{"scaling down", "cloneset", cloneset, []string{"status.updatedReplicas: 3", "status.replicas: 5"}, StateOngoing, "2 pods still to go"},
		{
			"not available", "cloneset", cloneset,
			[]string{"status.updatedReplicas: 3", "status.availableReplicas: 2"},
			StateOngoing, "2 of 3 pods available",
		},
		{
			"deadline", "cloneset", cloneset,
			[]string{"status.conditions: [{type: Progressing, status: 'False', reason: ProgressDeadlineExceeded, message: too slow}]"},
			StateFailed, "no progress within its progressDeadlineSeconds: too slow",
		},
		{
			"stalled", "cloneset", cloneset,
			[]string{"status.conditions: [{type: Stalled, status: 'True', reason: BadTemplate, message: spec.x}]"},
			StateFailed, "spec.x",
		},
		{"deployment done", "deployment", api, nil, StateDone, "4 of 4 pods updated, all available"},
		{"deployment with old pods left", "deployment", api, []string{"status.replicas: 5"}, StateOngoing, "1 pod still to go"},
		{"statefulset with partition", "statefulset", db, nil, StateDone, "2 of 5 pods updated, 3 kept by partition, all available"},
		{"statefulset with ordinals.start", "statefulset", db, []string{"spec.ordinals: {start: 3}"}, StateOngoing, "2 of 5 pods updated"},
		{"daemonset done", "daemonset", agent, nil, StateDone, "3 of 3 pods updated, all available"},
		{
			"daemonset OnDelete", "daemonset", agent,
			[]string{"spec.updateStrategy.type: OnDelete", "status.updatedNumberScheduled: 1"},
			StateOngoing, "1 of 3 pods updated; the others are updated when somebody deletes them",
		},
	} {
		t.Run(c.name, func(t *testing.T) {
			var w Workload
			if c.object == "" {
				w = web(t, c.sets...)
			} else {
				w = workloadOf(t, c.kind, c.object, c.sets...)
			}
			if got := progress(w); got.State != c.want || got.Message != c.message {
				t.Errorf("got %s %q, want %s %q", got.State, got.Message, c.want, c.message)
			}
		})
	}
}

func TestBudget(t *testing.T) {
	for _, c := range []struct {
		name    string
		sets    []string
		written string
		pods    int64
	}{
		{"a number", nil, "1", 1},
		{"a percentage rounds up", []string{"spec.updateStrategy.rollingUpdate.maxUnavailable: 50%"}, "50%", 2},
		{"and down beside a surge", []string{"spec.updateStrategy.rollingUpdate.maxUnavailable: 50%", "spec.updateStrategy.rollingUpdate.maxSurge: 1"}, "50%", 1},
		{"the default", []string{"spec.updateStrategy: {}"}, "20%", 1},
	} {
		t.Run(c.name, func(t *testing.T) {
			if written, pods := web(t, c.sets...).budget(); written != c.written || pods != c.pods {
				t.Errorf("got %s, %d; want %s, %d", written, pods, c.written, c.pods)
			}
		})
	}
}
