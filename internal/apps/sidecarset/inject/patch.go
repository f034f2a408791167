package inject

import (
	"maps"
	"slices"
	"strconv"
	"strings"

	"gomodules.xyz/jsonpatch/v2"
	corev1 "k8s.io/api/core/v1"
)

// Patch is the edit as a JSON patch of the pod. It only names what is new, so that what our types do not know of the pod
// stays as it is, and the pod need not be written anew to find the difference.
func (e *Edit) Patch(p *corev1.Pod) []jsonpatch.Operation {
	var ops []jsonpatch.Operation
	for _, at := range slices.Sorted(maps.Keys(e.Replaced)) {
		ops = append(ops, jsonpatch.NewOperation("replace", "/spec/containers/"+strconv.Itoa(at), e.value(e.Replaced[at])))
	}
	for _, at := range slices.Sorted(maps.Keys(e.InitReplaced)) {
		ops = append(ops, jsonpatch.NewOperation("replace", "/spec/initContainers/"+strconv.Itoa(at), e.value(e.InitReplaced[at])))
	}
	ops = append(ops, insert("/spec/containers", len(p.Spec.Containers), e.values(e.Before), e.values(e.After))...)
	ops = append(ops, insert("/spec/initContainers", len(p.Spec.InitContainers), e.values(e.InitBefore), e.values(e.InitAfter))...)
	ops = append(ops, insert("/spec/volumes", len(p.Spec.Volumes), nil, e.Volumes)...)
	ops = append(ops, insert("/spec/imagePullSecrets", len(p.Spec.ImagePullSecrets), nil, e.PullSecrets)...)
	if len(p.Annotations) == 0 {
		return append(ops, jsonpatch.NewOperation("add", "/metadata/annotations", e.Annotations))
	}
	for _, key := range slices.Sorted(maps.Keys(e.Annotations)) {
		ops = append(ops, jsonpatch.NewOperation("add", "/metadata/annotations/"+escape.Replace(key), e.Annotations[key]))
	}
	return ops
}

// value is a container, or its JSON where that is known.
func (e *Edit) value(c corev1.Container) any {
	if text, known := e.texts[c.Name]; known {
		return text
	}
	return c
}

func (e *Edit) values(all []corev1.Container) []any {
	values := make([]any, len(all))
	for i := range all {
		values[i] = e.value(all[i])
	}
	return values
}

// escape writes a key as a step of a JSON pointer (RFC 6901).
var escape = strings.NewReplacer("~", "~0", "/", "~1") //nolint:gochecknoglobals // a constant that Go cannot write as one

// insert adds items at both ends of a list, which is not there when it is empty.
func insert[T any](path string, length int, before, after []T) []jsonpatch.Operation {
	if length == 0 {
		all := slices.Concat(before, after)
		if len(all) == 0 {
			return nil
		}
		return []jsonpatch.Operation{jsonpatch.NewOperation("add", path, all)}
	}
	ops := make([]jsonpatch.Operation, 0, len(before)+len(after))
	for i := range before {
		ops = append(ops, jsonpatch.NewOperation("add", path+"/"+strconv.Itoa(i), before[i]))
	}
	for i := range after {
		ops = append(ops, jsonpatch.NewOperation("add", path+"/-", after[i]))
	}
	return ops
}
