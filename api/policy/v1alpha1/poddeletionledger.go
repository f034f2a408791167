package v1alpha1

import (
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// PodDeletionLedger is the book of the PodDeletionFlowControl of the same name: what it has counted, and when. Holdfast alone
// writes it, before it answers. It is no setting: deleting or changing it forgets what was counted.
//
// +kubebuilder:object:root=true
// +kubebuilder:storageversion
// +kubebuilder:resource:path=poddeletionledgers,singular=poddeletionledger,scope=Cluster
// +kubebuilder:printcolumn:name="CLOCK",type=date,JSONPath=".clock",description="Time since it was last written"
// +kubebuilder:printcolumn:name="AGE",type=date,JSONPath=".metadata.creationTimestamp",description="Time since creation"
type PodDeletionLedger struct {
	metav1.TypeMeta   `json:",inline"`
	metav1.ObjectMeta `json:"metadata,omitempty"`

	// PolicyUID is the policy's: a policy that was made anew begins a new book.
	//
	// +optional
	PolicyUID string `json:"policyUID,omitempty"`

	// Generation is the newest one of the policy by which an entry was made. Who knows an older one only must not write.
	//
	// +optional
	Generation int64 `json:"generation,omitempty"`

	// Clock is the newest time that was written; it never goes back.
	//
	// +optional
	Clock metav1.MicroTime `json:"clock,omitempty"`

	// Names are the pods that were admitted lately, by the time of their permits. Each is the milliseconds since the one before,
	// as a varint, and a hash of its uid in 8 bytes, big-endian.
	//
	// +optional
	Names []byte `json:"names,omitempty"`

	// Older are older permits, and permits that nobody used, by time. Each is the milliseconds since the one before, and how many
	// they are, as varints.
	//
	// +optional
	Older []byte `json:"older,omitempty"`

	// Blocks are permits that a replica has set aside and may be handing out now.
	//
	// +optional
	// +listType=atomic
	Blocks []DeletionBlock `json:"blocks,omitempty"`

	// Marks are the last write of each replica: one whose answer got lost finds out whether it was made.
	//
	// +optional
	// +listType=atomic
	Marks []DeletionMark `json:"marks,omitempty"`

	// Denials are the denied deletions that the circuit breaker counts, by time.
	//
	// +optional
	// +listType=atomic
	Denials []DeletionSum `json:"denials,omitempty"`

	// Trips is how often the circuit breaker has opened.
	//
	// +optional
	Trips int64 `json:"trips,omitempty"`

	// TrippedAt is when it last did.
	//
	// +optional
	TrippedAt metav1.MicroTime `json:"trippedAt,omitempty"`

	// Admitted, Denied and WouldDeny are counted since the policy was made.
	//
	// +optional
	Admitted int64 `json:"admitted,omitempty"`

	// Denied deletions.
	//
	// +optional
	Denied int64 `json:"denied,omitempty"`

	// WouldDeny counts deletions that passed above a limit.
	//
	// +optional
	WouldDeny int64 `json:"wouldDeny,omitempty"`

	// Recent decisions, the newest first.
	//
	// +optional
	// +listType=atomic
	Recent []DeletionDecision `json:"recent,omitempty"`
}

// PodDeletionLedgerList is a list of PodDeletionLedgers.
//
// +kubebuilder:object:root=true
type PodDeletionLedgerList struct {
	metav1.TypeMeta `json:",inline"`
	metav1.ListMeta `json:"metadata,omitempty"`

	// Items are the PodDeletionLedgers.
	Items []PodDeletionLedger `json:"items"`
}

// DeletionSum is a number of denials of one time.
type DeletionSum struct {
	// Stamp in milliseconds since 1970.
	Stamp int64 `json:"stamp"`
	// N is how many.
	N int32 `json:"n"`
}

// DeletionBlock is a number of permits set aside.
type DeletionBlock struct {
	// Holder is the replica that may hand them out.
	Holder string `json:"holder"`
	// Stamp in milliseconds since 1970: after it none is handed out any more.
	Stamp int64 `json:"stamp"`
	// N is how many.
	N int32 `json:"n"`
}

// DeletionMark is the last write of a replica.
type DeletionMark struct {
	// Writer is the replica.
	Writer string `json:"writer"`
	// Seq numbers its writes.
	Seq int64 `json:"seq"`
}
