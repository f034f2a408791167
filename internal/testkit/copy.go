package testkit

import (
	"fmt"
	"reflect"

	"k8s.io/apimachinery/pkg/labels"
	"sigs.k8s.io/controller-runtime/pkg/client"
)

// copyInto gives the caller a copy of its own, as every cache must: what it changes there stays there.
func copyInto(object, into client.Object) error {
	from, to := reflect.ValueOf(object.DeepCopyObject()), reflect.ValueOf(into)
	if from.Type() != to.Type() {
		return fmt.Errorf("%s is a %s, not a %s", client.ObjectKeyFromObject(object), from.Type(), to.Type())
	}
	to.Elem().Set(from.Elem())
	return nil
}

// labelsOf returns the labels of an object as selectors want them.
func labelsOf(object client.Object) labels.Set { return object.GetLabels() }
