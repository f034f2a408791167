package v1beta1

// OwnedByStatefulSet is a label of claims: the name of the StatefulSet that made them.
const OwnedByStatefulSet = "apps.kruise.io/owned-by-asts"
