package install

import (
	"encoding/json"
	"fmt"
	"io"

	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/yaml"
)

// plain is an object without what only the API server writes, and without the empty fields that Go types always print.
func plain(object client.Object) (*unstructured.Unstructured, error) {
	content, err := runtime.DefaultUnstructuredConverter.ToUnstructured(object)
	if err != nil {
		return nil, fmt.Errorf("encode %s: %w", object.GetName(), err)
	}
	delete(content, "status")
	prune(content)
	return &unstructured.Unstructured{Object: content}, nil
}

// prune drops nulls, and the empty maps of fields whose emptiness says nothing.
func prune(value any) {
	switch v := value.(type) {
	case map[string]any:
		for key, below := range v {
			prune(below)
			empty, isMap := below.(map[string]any)
			// Empty selectors and schemas have a meaning.
			if below == nil || (isMap && len(empty) == 0 && (key == "resources" || key == "strategy" || key == "spec")) {
				delete(v, key)
			}
		}
	case []any:
		for _, below := range v {
			prune(below)
		}
	}
}

// Print writes the manifests as one file: format is yaml or json.
func Print(w io.Writer, o Options, format string) error {
	if err := o.Validate(); err != nil {
		return err
	}
	manifests, err := Manifests(o)
	if err != nil {
		return err
	}
	if format == "json" {
		return printJSON(w, manifests)
	}
	for _, m := range manifests {
		object, err := plain(m.Object)
		if err != nil {
			return err
		}
		text, err := yaml.Marshal(object.Object)
		if err != nil {
			return fmt.Errorf("encode %s: %w", object.GetName(), err)
		}
		if _, err := fmt.Fprintf(w, "---\n%s", text); err != nil {
			return fmt.Errorf("print the manifests: %w", err)
		}
	}
	return nil
}

func printJSON(w io.Writer, manifests []Manifest) error {
	items := make([]any, 0, len(manifests))
	for _, m := range manifests {
		object, err := plain(m.Object)
		if err != nil {
			return err
		}
		items = append(items, object.Object)
	}
	encoder := json.NewEncoder(w)
	encoder.SetIndent("", "  ")
	if err := encoder.Encode(map[string]any{"apiVersion": "v1", "kind": "List", "items": items}); err != nil {
		return fmt.Errorf("print the manifests: %w", err)
	}
	return nil
}
