// Package crds holds the CustomResourceDefinitions of every kind, generated from the types in api/: the installer, the
// tests and the CLI all use these bytes.
//
// They have no conversion strategy: who installs them adds it (Strategy Webhook, review version v1, with the address and
// the CA of the webhook that serves api.Convert), because only he knows where it is. Installed as they are, the API
// server serves both versions without moving fields: good for tests of one version, wrong for anything else.
package crds

import (
	"embed"
	"fmt"
	"io/fs"

	apiextensionsv1 "k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/v1"
	"sigs.k8s.io/yaml"
)

// FS holds the files, named group_plural.yaml.
//
//go:embed *.yaml
var FS embed.FS

// All reads every definition, in the order of their file names. The caller may change what it gets.
func All() ([]*apiextensionsv1.CustomResourceDefinition, error) {
	files, err := fs.Glob(FS, "*.yaml")
	if err != nil {
		return nil, fmt.Errorf("list the embedded CRDs: %w", err)
	}
	all := make([]*apiextensionsv1.CustomResourceDefinition, 0, len(files))
	for _, file := range files {
		data, err := FS.ReadFile(file)
		if err != nil {
			return nil, fmt.Errorf("read the embedded CRD %s: %w", file, err)
		}
		crd := &apiextensionsv1.CustomResourceDefinition{}
		if err := yaml.UnmarshalStrict(data, crd); err != nil {
			return nil, fmt.Errorf("parse the embedded CRD %s: %w", file, err)
		}
		all = append(all, crd)
	}
	return all, nil
}
