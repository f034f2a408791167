package move

import (
	"errors"
	"fmt"
)

var errMetadata = errors.New("metadata is not an object")

// Convert turns an object, decoded with json.Number for numbers, to the kind's newest version or its older one. The
// object given is left as it is; the result may share parts with it.
//
// What the rows alone would not bring back on the way home rides in one annotation, and is taken from there on the way
// home, unless the field was changed in between. So converting there and back loses nothing (labels and annotations that
// are empty come back as none).
func (t *Table) Convert(object map[string]any, toVersion string) (map[string]any, error) {
	if err := t.check(object, toVersion); err != nil {
		return nil, err
	}
	apiVersion := t.kind.Group + "/" + toVersion
	if object["apiVersion"] == apiVersion {
		return object, nil
	}
	up := toVersion == t.kind.New
	object = put(object, path{"apiVersion"}, apiVersion)
	object, rest := t.takeResidue(withoutEmptyMaps(object))

	result := rest.restore(t.root.apply(object, up))
	home := t.root.apply(result, !up)
	return t.residue(object, home).annotate(result)
}

func (t *Table) check(object map[string]any, toVersion string) error {
	from, _ := object["apiVersion"].(string)
	known := func(v string) bool { return v == t.kind.New || (v == t.kind.Old && v != "") }
	if !known(toVersion) || (from != t.kind.Group+"/"+t.kind.New && from != t.kind.Group+"/"+t.kind.Old) {
		return fmt.Errorf("convert %s from %q to version %q: it is served at %s only", t.kind.Name, from, toVersion, t.kind.versions())
	}
	metadata, ok := object["metadata"].(map[string]any)
	if !ok {
		return errMetadata
	}
	switch metadata["annotations"].(type) {
	case nil, map[string]any:
		return nil
	default:
		return errors.New("metadata.annotations is not an object")
	}
}

// withoutEmptyMaps leaves out labels and annotations that are empty or null: they mean the same as none, and the API server
// stores none.
func withoutEmptyMaps(object map[string]any) map[string]any {
	for _, name := range []string{"labels", "annotations"} {
		if value, ok := get(object, path{"metadata", name}); ok {
			if keys, isMap := value.(map[string]any); value == nil || (isMap && len(keys) == 0) {
				object, _, _ = cut(object, path{"metadata", name})
			}
		}
	}
	return object
}

func (k Kind) versions() string {
	if k.Old == "" {
		return k.Group + "/" + k.New
	}
	return k.Group + "/" + k.New + " and " + k.Group + "/" + k.Old
}
