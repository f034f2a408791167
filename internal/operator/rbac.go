package operator

// What the operator itself needs; each room has the rights of its own work beside its code. Nothing here names all of a
// kind where one name will do: the Secret and the configurations are read and written by name only.

// +kubebuilder:rbac:groups=coordination.k8s.io,namespace=holdfast-system,resources=leases,verbs=create
// +kubebuilder:rbac:groups=coordination.k8s.io,namespace=holdfast-system,resources=leases,resourceNames=holdfast-operator,verbs=get;update
// +kubebuilder:rbac:groups="",namespace=holdfast-system,resources=secrets,resourceNames=holdfast-admission,verbs=get;update
// +kubebuilder:rbac:groups="",resources=events,verbs=create;patch
// +kubebuilder:rbac:groups=admissionregistration.k8s.io,resources=mutatingwebhookconfigurations;validatingwebhookconfigurations,resourceNames=holdfast,verbs=get;patch
// +kubebuilder:rbac:groups=apiextensions.k8s.io,resources=customresourcedefinitions,resourceNames=advancedcronjobs.apps.kruise.io;breakglasses.policy.kruise.io;broadcastjobs.apps.kruise.io;clonesets.apps.kruise.io;daemonsets.apps.kruise.io;poddeletionflowcontrols.policy.kruise.io;poddeletionledgers.policy.kruise.io;podunavailablebudgets.policy.kruise.io;sidecarsets.apps.kruise.io;statefulsets.apps.kruise.io;uniteddeployments.apps.kruise.io,verbs=get;patch
