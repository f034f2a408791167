package v1alpha1

import (
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// BreakGlassCreator is an annotation of a BreakGlass: who made it. The operator writes it, whatever the user wrote there.
const BreakGlassCreator = "policy.kruise.io/created-by"

// BreakGlass lets named people through named guards for a limited time, for a stated reason: for the emergency in which the
// agreed limits do more harm than good. Each use is in the decisions of the guards, in the audit log, in events and in a
// metric, and the person who uses it is warned. It ends by itself; delete it to end it sooner.
//
// Who may create a BreakGlass may pass every guard. Grant it as sparingly as the right to change the guards themselves.
//
// +kubebuilder:object:root=true
// +kubebuilder:storageversion
// +kubebuilder:resource:path=breakglasses,singular=breakglass,scope=Cluster,categories=all
// +kubebuilder:subresource:status
// +kubebuilder:printcolumn:name="ACTIVE",type=string,JSONPath=".status.conditions[?(@.type=='Active')].status",description="Whether it opens anything now"
// +kubebuilder:printcolumn:name="GUARDS",type=string,JSONPath=".spec.guards",description="The guards that it opens"
// +kubebuilder:printcolumn:name="EXPIRES",type=date,JSONPath=".status.expiresAt",description="When it ends, or ended"
// +kubebuilder:printcolumn:name="USES",type=integer,JSONPath=".status.uses",description="How often it let something through"
// +kubebuilder:printcolumn:name="REASON",type=string,JSONPath=".spec.reason",description="What it is for"
// +kubebuilder:printcolumn:name="AGE",type=date,JSONPath=".metadata.creationTimestamp",description="Time since creation"
type BreakGlass struct {
	metav1.TypeMeta   `json:",inline"`
	metav1.ObjectMeta `json:"metadata,omitempty"`

	// Spec is what is opened, for whom and for how long. It cannot be changed: make another BreakGlass instead, so that each
	// has one reason and one end.
	//
	// +kubebuilder:validation:XValidation:rule="self == oldSelf",message="a BreakGlass cannot be changed or prolonged: delete it, and make another one with its own reason"
	Spec BreakGlassSpec `json:"spec"`

	// Status is what was seen last. It is written by Holdfast alone.
	//
	// +optional
	Status BreakGlassStatus `json:"status,omitempty"`
}

// BreakGlassList is a list of BreakGlasses.
//
// +kubebuilder:object:root=true
type BreakGlassList struct {
	metav1.TypeMeta `json:",inline"`
	metav1.ListMeta `json:"metadata,omitempty"`

	// Items are the BreakGlasses.
	Items []BreakGlass `json:"items"`
}

// BreakGlassGuard is a guard that can be opened.
//
// +kubebuilder:validation:Enum=PodUnavailableBudget;PodDeletionFlowControl;DeletionProtection
type BreakGlassGuard string

// The guards that can be opened.
const (
	// OpensPodUnavailableBudget lets pods go although a PodUnavailableBudget has nothing left.
	OpensPodUnavailableBudget BreakGlassGuard = "PodUnavailableBudget"
	// OpensPodDeletionFlowControl lets pods go although a limit of a PodDeletionFlowControl is reached, or its breaker open.
	OpensPodDeletionFlowControl BreakGlassGuard = "PodDeletionFlowControl"
	// OpensDeletionProtection lets objects go that are labelled policy.kruise.io/delete-protection.
	OpensDeletionProtection BreakGlassGuard = "DeletionProtection"
)

// BreakGlassSpec is what is opened, for whom and for how long.
type BreakGlassSpec struct {
	// Subjects are those who are let through. At most 20.
	//
	// +kubebuilder:validation:MinItems=1
	// +kubebuilder:validation:MaxItems=20
	// +listType=atomic
	Subjects []BreakGlassSubject `json:"subjects"`

	// Guards are those that are opened. All other guards still hold.
	//
	// +kubebuilder:validation:MinItems=1
	// +kubebuilder:validation:MaxItems=3
	// +listType=set
	Guards []BreakGlassGuard `json:"guards"`

	// Namespaces that it is limited to, by name. Objects of no namespace are then not opened, except the namespaces
	// themselves. Default: all.
	//
	// +optional
	// +kubebuilder:validation:MaxItems=100
	// +kubebuilder:validation:items:MaxLength=63
	// +kubebuilder:validation:items:MinLength=1
	// +listType=set
	Namespaces []string `json:"namespaces,omitempty"`

	// Selector limits it to pods and objects with these labels. Default: all.
	//
	// +optional
	Selector *metav1.LabelSelector `json:"selector,omitempty"`

	// Kinds limits it to these kinds of objects. Default: all. At most 30.
	//
	// +optional
	// +kubebuilder:validation:MaxItems=30
	// +listType=atomic
	Kinds []BreakGlassKind `json:"kinds,omitempty"`

	// Reason is why, in words that somebody who reads the audit log will understand: the number of the incident, and what
	// has to be done. From 10 to 500 characters.
	//
	// +kubebuilder:validation:MinLength=10
	// +kubebuilder:validation:MaxLength=500
	Reason string `json:"reason"`

	// ExpiresAfter is how long it opens anything, counted from its creation, such as 30m. From 1m to 24h.
	//
	// +kubebuilder:validation:MaxLength=32
	// +kubebuilder:validation:Pattern=`^([0-9]+(s|m|h))+$`
	// +kubebuilder:validation:XValidation:rule="duration(self) >= duration('1m') && duration(self) <= duration('24h')",message="give a time from 1m to 24h: what is needed for longer is no emergency; change the guard itself"
	ExpiresAfter string `json:"expiresAfter"`
}

// BreakGlassSubjectKind is what a subject is.
//
// +kubebuilder:validation:Enum=User;Group;ServiceAccount
type BreakGlassSubjectKind string

// The kinds of subjects.
const (
	// SubjectUser is a user, by the name that the API server knows.
	SubjectUser BreakGlassSubjectKind = "User"
	// SubjectGroup is every member of a group.
	SubjectGroup BreakGlassSubjectKind = "Group"
	// SubjectServiceAccount is a service account of a namespace.
	SubjectServiceAccount BreakGlassSubjectKind = "ServiceAccount"
)

// BreakGlassSubject is somebody who is let through.
//
// +kubebuilder:validation:XValidation:rule="(self.kind == 'ServiceAccount') == (has(self.namespace) && size(self.namespace) > 0)",message="a ServiceAccount needs its namespace, and only a ServiceAccount has one"
// +kubebuilder:validation:XValidation:rule="!(self.kind == 'Group' && self.name in ['system:authenticated', 'system:unauthenticated', 'system:serviceaccounts'])",message="this group is everybody: name the people, or the group of those who are on duty"
type BreakGlassSubject struct {
	// Kind is User, Group or ServiceAccount.
	Kind BreakGlassSubjectKind `json:"kind"`

	// Name of the user, group or service account.
	//
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=253
	Name string `json:"name"`

	// Namespace of the service account.
	//
	// +optional
	// +kubebuilder:validation:MaxLength=63
	Namespace string `json:"namespace,omitempty"`
}

// BreakGlassKind is a kind of objects.
type BreakGlassKind struct {
	// Group of the kind, such as apps.kruise.io; empty: the core group, which Pod and Namespace belong to.
	//
	// +optional
	// +kubebuilder:validation:MaxLength=253
	Group string `json:"group,omitempty"`

	// Kind, such as CloneSet.
	//
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=63
	Kind string `json:"kind"`
}

// BreakGlassStatus is what was seen of a BreakGlass.
type BreakGlassStatus struct {
	// ObservedGeneration is the generation that this status is about.
	//
	// +optional
	ObservedGeneration int64 `json:"observedGeneration,omitempty"`

	// ExpiresAt is when it ends, or ended.
	//
	// +optional
	ExpiresAt *metav1.Time `json:"expiresAt,omitempty"`

	// Uses is how often it let something through.
	//
	// +optional
	Uses int64 `json:"uses,omitempty"`

	// LastUses are the latest uses, the newest first. At most 20; kubectl holdfast who-deleted knows more.
	//
	// +optional
	// +kubebuilder:validation:MaxItems=20
	// +listType=atomic
	LastUses []BreakGlassUse `json:"lastUses,omitempty"`

	// Conditions: Active is True while it opens what it names. Once it has expired it opens nothing, and it is deleted a
	// week later.
	//
	// +optional
	// +patchMergeKey=type
	// +patchStrategy=merge
	// +listType=map
	// +listMapKey=type
	Conditions []metav1.Condition `json:"conditions,omitempty" patchMergeKey:"type" patchStrategy:"merge"`
}

const (
	// BreakGlassActive is the condition that is True while a BreakGlass opens what it names.
	BreakGlassActive = "Active"
	// MaxBreakGlassUses is how many uses the status holds.
	MaxBreakGlassUses = 20
)

// BreakGlassUse is one use of a BreakGlass.
type BreakGlassUse struct {
	// Time of the use.
	Time metav1.Time `json:"time"`

	// User who was let through.
	User string `json:"user"`

	// Operation that was let through: DELETE, EVICT, UPDATE or RESIZE.
	Operation string `json:"operation"`

	// Object that it was done to, such as Pod shop/web-0.
	Object string `json:"object"`

	// Guard that had denied it.
	Guard string `json:"guard"`

	// Decision is the id of the decision, as in the audit log.
	Decision string `json:"decision"`

	// Times is how often the same was done. Default: 1.
	//
	// +optional
	Times int32 `json:"times,omitempty"`
}
