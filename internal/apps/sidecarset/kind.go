// Package sidecarset gives pods the containers of SidecarSets, and changes them where they run.
package sidecarset

import (
	"k8s.io/apimachinery/pkg/runtime/schema"

	appsv1beta1 "github.com/holdfast-io/holdfast/api/apps/v1beta1"
)

func kind() schema.GroupVersionKind { return appsv1beta1.SchemeGroupVersion.WithKind("SidecarSet") }
