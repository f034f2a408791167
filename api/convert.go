// Package api is the door to every kind that Holdfast serves: it converts any of them between its versions.
package api

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"sync"

	"github.com/holdfast-io/holdfast/api/apps"
	"github.com/holdfast-io/holdfast/api/move"
	"github.com/holdfast-io/holdfast/api/policy"
)

// Kinds lists every kind with its versions and moves. Whoever adds a kind adds it here.
func Kinds() []move.Kind {
	return slices.Concat(apps.Kinds(), policy.Kinds())
}

// tables are the moves of every kind, by group and kind, read once.
//
//nolint:gochecknoglobals // made once and never written again: reading the rows costs more than a conversion
var tables = sync.OnceValues(func() (map[[2]string]*move.Table, error) {
	byKind := map[[2]string]*move.Table{}
	for _, kind := range Kinds() {
		table, err := move.NewTable(kind)
		if err != nil {
			return nil, err
		}
		byKind[[2]string{kind.Group, kind.Name}] = table
	}
	return byKind, nil
})

// Table is the moves of one kind.
func Table(group, kind string) (*move.Table, error) {
	byKind, err := tables()
	if err != nil {
		return nil, err
	}
	table, ok := byKind[[2]string{group, kind}]
	if !ok {
		return nil, fmt.Errorf("kind %s of group %q is not converted here; known are %s", kind, group, known(byKind))
	}
	return table, nil
}

func known(byKind map[[2]string]*move.Table) string {
	var names []string
	for name := range byKind {
		names = append(names, name[1]+"."+name[0])
	}
	slices.Sort(names)
	return strings.Join(names, ", ")
}

// Convert turns a JSON object, or a list of objects, of any kind to another API version, for example
// apps.kruise.io/v1alpha1. Nothing is lost on the way there and back: see package move.
func Convert(raw []byte, toAPIVersion string) ([]byte, error) {
	object, err := decode(raw)
	if err != nil {
		return nil, err
	}
	if object, err = convert(object, toAPIVersion); err != nil {
		return nil, err
	}
	return encode(object)
}

func convert(object map[string]any, toAPIVersion string) (map[string]any, error) {
	kind, _ := object["kind"].(string)
	from, _ := object["apiVersion"].(string)
	group, _, _ := strings.Cut(from, "/")
	toGroup, toVersion, _ := strings.Cut(toAPIVersion, "/")
	if group != toGroup {
		return nil, fmt.Errorf("convert %s from %q to %q: the group must stay the same", kind, from, toAPIVersion)
	}
	if items, isList := object["items"].([]any); isList && strings.HasSuffix(kind, "List") {
		return convertList(object, items, toAPIVersion)
	}
	table, err := Table(group, kind)
	if err != nil {
		return nil, err
	}
	converted, err := table.Convert(object, toVersion)
	if err != nil {
		return nil, fmt.Errorf("%s %s: %w", kind, name(object), err)
	}
	return converted, nil
}

func convertList(object map[string]any, items []any, toAPIVersion string) (map[string]any, error) {
	for i, item := range items {
		fields, ok := item.(map[string]any)
		if !ok {
			return nil, fmt.Errorf("item %d of the list is not an object", i)
		}
		var err error
		if items[i], err = convert(fields, toAPIVersion); err != nil {
			return nil, fmt.Errorf("item %d of the list: %w", i, err)
		}
	}
	object["apiVersion"] = toAPIVersion
	return object, nil
}

func name(object map[string]any) string {
	metadata, _ := object["metadata"].(map[string]any)
	namespace, _ := metadata["namespace"].(string)
	name, _ := metadata["name"].(string)
	return strings.TrimPrefix(namespace+"/"+name, "/")
}

var (
	errNotObject = errors.New("not a JSON object")
	errMore      = errors.New("more than one JSON value")
)

// decode keeps numbers as they are written: a float64 would round large ones.
func decode(raw []byte) (map[string]any, error) {
	decoder := json.NewDecoder(bytes.NewReader(raw))
	decoder.UseNumber()
	var object map[string]any
	if err := decoder.Decode(&object); err != nil {
		return nil, fmt.Errorf("decode the object to be converted: %w", err)
	}
	if object == nil {
		return nil, errNotObject
	}
	if _, err := decoder.Token(); !errors.Is(err, io.EOF) {
		return nil, errMore
	}
	return object, nil
}

func encode(object map[string]any) ([]byte, error) {
	var out bytes.Buffer
	encoder := json.NewEncoder(&out)
	encoder.SetEscapeHTML(false)
	if err := encoder.Encode(object); err != nil {
		return nil, fmt.Errorf("encode the converted object: %w", err)
	}
	return bytes.TrimSuffix(out.Bytes(), []byte("\n")), nil
}
