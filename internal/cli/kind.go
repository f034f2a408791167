package cli

import (
	"slices"
	"strings"

	"k8s.io/apimachinery/pkg/runtime/schema"
)

// history says where the former templates of a kind are kept.
type history int

const (
	controllerRevisions history = iota // ControllerRevisions that the workload owns
	replicaSets                        // ReplicaSets that the workload owns; pods belong to them
	ofSubsets                          // ControllerRevisions that the workload owns; pods belong to the workloads of its subsets
	ofGiven                            // ControllerRevisions in the operator's own namespace, of what pods are given
)

// Kind is one row of the table of workloads: where its fields are. Nothing
// else in the package asks which kind it is looking at.
type Kind struct {
	Group, Kind, Plural string
	Versions            []string // the versions understood, the best first
	Names               []string // what a user may type besides plural and plural.group
	History             history

	Desired   []string // paths that hold the number of pods wanted, the first that is there counts
	Total     string
	Updated   string
	Ready     string
	Available string

	Rolling    []string // the objects that may hold partition, maxUnavailable, maxSurge, paused
	TypeAt     string   // the path of the strategy's type
	Paused     []string // the paths of the switch that pauses a rollout, by version; empty: cannot be paused
	Budget     string   // the default of maxUnavailable
	OrdinalCut bool     // partition is the first ordinal that is updated, not the number of pods kept
	Scalable   bool
	Ours       bool // needs the CRDs that holdfast installs

	Ends     string // the path of the phase of a job, whose pods run to their end; empty: they are to stay
	SelectBy string // the label that holds the workload's UID on its pods, where there is no selector
	Podless  bool   // it controls no pods of its own, and its condition Ready alone says how it stands
	Injects  bool   // it gives containers to the pods of others, which tell of it; its condition Ready says how it stands
	ToDelete string // the path of the names of pods that are to go first; empty: they cannot be chosen
	Parts    string // the path of the statuses of its subsets, each with a partition; empty: it has none
}

const (
	kruiseGroup  = "apps.kruise.io"
	rollingPath  = "spec.updateStrategy.rollingUpdate"
	strategyPath = "spec.updateStrategy"
)

// kinds returns the table: to teach the verbs a kind, add a row.
func kinds() []Kind {
	set := Kind{
		Desired: []string{"spec.replicas"}, Total: "status.replicas", Updated: "status.updatedReplicas",
		Ready: "status.readyReplicas", Available: "status.availableReplicas",
		Rolling: []string{rollingPath}, TypeAt: strategyPath + ".type", Scalable: true, Budget: "1",
	}
	daemon := Kind{
		Desired: []string{"status.desiredNumberScheduled"}, Total: "status.currentNumberScheduled",
		Updated: "status.updatedNumberScheduled", Ready: "status.numberReady", Available: "status.numberAvailable",
		Rolling: []string{rollingPath}, TypeAt: strategyPath + ".type", Budget: "1",
	}
	return []Kind{
		set.with(func(k *Kind) {
			k.Group, k.Kind, k.Plural, k.Names = kruiseGroup, "CloneSet", "clonesets", []string{"cloneset", "clone"}
			k.Versions, k.Ours, k.Budget = []string{"v1beta1", "v1alpha1"}, true, "20%"
			k.Rolling = []string{rollingPath, strategyPath} // v1alpha1 has no rollingUpdate
			k.Paused = []string{rollingPath + ".paused", strategyPath + ".paused"}
			k.ToDelete = "spec.scaleStrategy.podsToDelete"
		}),
		set.with(func(k *Kind) {
			k.Group, k.Kind, k.Plural, k.Names = "apps", "Deployment", "deployments", []string{"deployment", "deploy"}
			k.Versions, k.History, k.Budget = []string{"v1"}, replicaSets, "25%"
			k.Rolling, k.TypeAt = []string{"spec.strategy.rollingUpdate"}, "spec.strategy.type"
			k.Paused = []string{"spec.paused"}
		}),
		set.with(func(k *Kind) {
			k.Group, k.Kind, k.Plural, k.Names = "apps", "StatefulSet", "statefulsets", []string{"statefulset", "sts"}
			k.Versions, k.OrdinalCut = []string{"v1"}, true
		}),
		daemon.with(func(k *Kind) {
			k.Group, k.Kind, k.Plural, k.Names = "apps", "DaemonSet", "daemonsets", []string{"daemonset", "ds"}
			k.Versions = []string{"v1"}
		}),
		set.with(func(k *Kind) {
			k.Group, k.Kind, k.Plural, k.Names = kruiseGroup, "StatefulSet", "statefulsets", []string{"asts"}
			k.Versions, k.Ours = []string{"v1beta1", "v1alpha1"}, true
			k.Paused = []string{rollingPath + ".paused", rollingPath + ".paused"}
		}),
		daemon.with(func(k *Kind) {
			k.Group, k.Kind, k.Plural, k.Names = kruiseGroup, "DaemonSet", "daemonsets", []string{"ads", "daemon"}
			k.Versions, k.Ours = []string{"v1beta1", "v1alpha1"}, true
			k.Paused = []string{rollingPath + ".paused", rollingPath + ".paused"}
		}),
		{
			Group: kruiseGroup, Kind: "BroadcastJob", Plural: "broadcastjobs", Names: []string{"broadcastjob", "bcj"},
			Versions: []string{"v1beta1", "v1alpha1"}, Ours: true,
			Desired: []string{"status.desired"}, Total: "status.desired", Updated: "status.desired",
			Ready: "status.active", Available: "status.succeeded",
			Paused: []string{"spec.paused", "spec.paused"}, Budget: "100%", Ends: "status.phase", SelectBy: "broadcastjob-controller-uid",
		},
		{
			Group: kruiseGroup, Kind: "AdvancedCronJob", Plural: "advancedcronjobs", Names: []string{"advancedcronjob", "acj"},
			Versions: []string{"v1beta1", "v1alpha1"}, Ours: true, Podless: true, Paused: []string{"spec.paused", "spec.paused"},
		},
		{
			Group: kruiseGroup, Kind: "SidecarSet", Plural: "sidecarsets", Names: []string{"sidecarset"},
			Versions: []string{"v1beta1", "v1alpha1"}, Ours: true, Injects: true, History: ofGiven,
			Desired: []string{"status.matchedPods"}, Total: "status.matchedPods", Updated: "status.updatedPods",
			Ready: "status.readyPods", Available: "status.updatedReadyPods",
			Rolling: []string{strategyPath}, TypeAt: strategyPath + ".type", Budget: "1",
			Paused: []string{strategyPath + ".paused", strategyPath + ".paused"},
		},
		set.with(func(k *Kind) {
			k.Group, k.Kind, k.Plural, k.Names = kruiseGroup, "UnitedDeployment", "uniteddeployments", []string{"uniteddeployment", "ud"}
			k.Versions, k.Ours, k.History, k.Parts = []string{"v1beta1", "v1alpha1"}, true, ofSubsets, "status.subsetStatuses"
			k.Available, k.Rolling = "status.readyReplicas", nil
		}),
	}
}

// with returns a copy of k with the given fields set.
func (k Kind) with(set func(*Kind)) Kind {
	set(&k)
	return k
}

// resource is the full name, which no other kind shares: clonesets.apps.kruise.io.
func (k Kind) resource() string { return k.Plural + "." + k.Group }

// short is the name that output and hints use; it can be typed back.
func (k Kind) short() string { return k.Names[0] }

// groupKind identifies the kind.
func (k Kind) groupKind() schema.GroupKind { return schema.GroupKind{Group: k.Group, Kind: k.Kind} }

// isNamed tells whether a user who typed name means this kind.
func (k Kind) isNamed(name string) bool {
	singular := strings.ToLower(k.Kind)
	return slices.Contains(k.Names, name) || name == k.resource() || name == singular+"."+k.Group ||
		(slices.Contains(k.Names, singular) && name == k.Plural) ||
		slices.ContainsFunc(k.Versions, func(v string) bool { return name == k.Plural+"."+v+"."+k.Group })
}

// kindNamed finds the row for what a user typed.
func kindNamed(name string) (Kind, bool) {
	name = strings.ToLower(name)
	for _, k := range kinds() {
		if k.isNamed(name) {
			return k, true
		}
	}
	return Kind{}, false
}

// kindNames lists what may be typed as a type, for messages and completion.
func kindNames() []string {
	var names []string
	for _, k := range kinds() {
		names = append(names, k.short())
	}
	return names
}
