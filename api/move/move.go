// Package move keeps an older version of a kind in step with its newest one by a table of field moves: the same rows
// convert objects both ways, without loss, and derive the older version's schema.
package move

import (
	"cmp"
	"errors"
	"fmt"
	"slices"
)

// Kind is a kind that is served at one or two versions.
type Kind struct {
	Group string
	Name  string // as in the field kind of an object
	New   string // the newest version, in which the Go types are written and objects are stored
	Old   string // the older version; empty if there is none
	Rows  []Row  // what differs between the two; a field that no row names is the same in both
}

// Func turns the value of a field into the value it has in the other version; ok is false when the field is not there.
// A false result leaves the field out of the other version.
type Func func(value any, ok bool) (result any, there bool)

// Row is one field that lies elsewhere, or is spelled differently, in the older version.
//
// Paths are written as spec.a.b, metadata.annotations[example.com/key] for keys that hold dots, and spec.list[].a for a
// field of every item of a list, which must be the same list in both versions.
type Row struct {
	Old string // where it lies in the older version; empty: it has no place there
	New string // where it lies in the newest version; empty: it has no place there

	// Also is a second place in the older version. It is read, and wins, where it is set; it is never written.
	Also string

	// Shown marks a field of the older version that only tells, in other words, what the newest field says: that stays where it
	// is, and the older one is never read.
	Shown bool

	// Container marks a pair of objects whose fields other rows move; the rules of the newest object's schema go with them.
	Container bool

	Up   Func // from the older version to the newest; nil: the value as it is
	Down Func // from the newest version to the older; nil: the value as it is

	// Schema turns the schema of the newest field into that of the older one; nil: the same.
	Schema func(newest map[string]any) map[string]any
}

// Table is a kind whose rows have been read: ready to convert.
type Table struct {
	kind Kind
	root *level
}

var (
	errNoPath    = errors.New("a row needs a path in one version at least")
	errOtherList = errors.New("both paths must go through the same list")
	errAlso      = errors.New("a second old place needs a first one, outside lists")
)

// NewTable reads the rows of a kind; an error names the row that makes no sense.
func NewTable(kind Kind) (*Table, error) {
	root := &level{}
	for i, r := range kind.Rows {
		if err := root.add(r); err != nil {
			return nil, fmt.Errorf("moves of %s: row %d (%q <-> %q): %w", kind.Name, i, r.Old, r.New, err)
		}
	}
	root.sort()
	return &Table{kind: kind, root: root}, nil
}

// Kind is what the table was made from.
func (t *Table) Kind() Kind { return t.kind }

// row is a Row with its paths taken apart.
type row struct {
	Row

	old, new, also path
}

// from is the place that is emptied. The older one of two containers stays.
func (r row) from(up bool) path {
	switch {
	case up && r.Container, !up && r.Shown:
		return nil
	case up:
		return r.old
	default:
		return r.new
	}
}

func (r row) to(up bool) path {
	switch {
	case up && r.Shown:
		return nil
	case up:
		return r.new
	default:
		return r.old
	}
}

// value is what the row makes of a field of the other version.
func (r row) value(value any, ok, up bool) (any, bool) {
	turn := r.Down
	if up {
		turn = r.Up
	}
	switch {
	case turn != nil:
		return turn(value, ok)
	case r.Container:
		return nil, false // an empty shell: what was in it has moved
	default:
		return value, ok
	}
}

// level holds the rows of one object, or of every item of a list; rows below a further list are a level of their own.
type level struct {
	rows  []row
	lists []list
	up    order
	down  order
}

type list struct {
	path path
	item *level
}

// order is in which order fields are taken out and put in: deeper ones are taken out before the objects that hold them,
// and put in after them. The places to be filled are emptied, too: what lies there means something else in that version.
type order struct {
	cuts []cutting
	puts []int // indexes of rows
}

type cutting struct {
	row  int
	path path
	use  use
}

// use is what becomes of a value that is taken out.
type use int

const (
	turned  use = iota // turned, and put in
	asIs               // put in as it is, whatever else was found
	dropped            // left out
)

func (l *level) add(r Row) error {
	if r.Old == "" && r.New == "" {
		return errNoPath
	}
	taken := row{Row: r}
	for _, p := range []struct {
		text string
		path *path
	}{{r.Old, &taken.old}, {r.New, &taken.new}, {r.Also, &taken.also}} {
		var err error
		if *p.path, err = parsePath(p.text); err != nil {
			return err
		}
	}
	if len(taken.also) > 0 && (len(taken.old) == 0 || taken.old.list() >= 0 || taken.also.list() >= 0) {
		return errAlso
	}
	return l.place(taken)
}

// place puts a row at the level of its innermost list.
func (l *level) place(r row) error {
	at := max(r.old.list(), r.new.list())
	if at < 0 {
		l.rows = append(l.rows, r)
		return nil
	}
	for _, p := range []*path{&r.old, &r.new} {
		if len(*p) > 0 && (len(*p) <= at || (*p)[at] != eachItem) {
			return errOtherList
		}
	}
	prefix := r.old
	if len(prefix) == 0 {
		prefix = r.new
	} else if len(r.new) > 0 && !slices.Equal(r.new[:at], prefix[:at]) {
		return errOtherList
	}
	inner := l.list(prefix[:at])
	r.old, r.new = r.old.after(at), r.new.after(at)
	return inner.place(r)
}

func (l *level) list(at path) *level {
	for _, known := range l.lists {
		if slices.Equal(known.path, at) {
			return known.item
		}
	}
	l.lists = append(l.lists, list{path: at, item: &level{}})
	return l.lists[len(l.lists)-1].item
}

func (l *level) sort() {
	l.up, l.down = l.order(true), l.order(false)
	for _, list := range l.lists {
		list.item.sort()
	}
}

func (l *level) order(up bool) order {
	var o order
	add := func(row int, p path, use use) {
		if len(p) > 0 && (use != dropped || !l.moves(p, up)) {
			o.cuts = append(o.cuts, cutting{row, p, use})
		}
	}
	for i, r := range l.rows {
		add(i, r.from(up), turned)
		if up {
			add(i, r.also, asIs)
		}
	}
	for i, r := range l.rows {
		if len(r.to(up)) > 0 {
			o.puts = append(o.puts, i)
		}
		if up || !r.Container { // the older of two containers has other fields, too
			add(i, r.to(up), dropped)
		}
		if !up {
			add(i, r.also, dropped)
		}
	}
	slices.SortStableFunc(o.cuts, func(a, b cutting) int { return cmp.Compare(len(b.path), len(a.path)) })
	slices.SortStableFunc(o.puts, func(a, b int) int {
		return cmp.Compare(len(l.rows[a].to(up)), len(l.rows[b].to(up)))
	})
	return o
}

// moves tells whether a place is inside a field that moves away as a whole.
func (l *level) moves(p path, up bool) bool {
	return slices.ContainsFunc(l.rows, func(r row) bool {
		return !r.Container && len(r.from(up)) > 0 && p.within(r.from(up))
	})
}

// field is what a row found.
type field struct {
	value    any
	ok, asIs bool
}

// apply moves the fields of an object, up to the newest version or down from it. The object given is left as it is; what
// no row touches is shared with the result.
func (l *level) apply(object map[string]any, up bool) map[string]any {
	for _, list := range l.lists {
		object = list.apply(object, up)
	}
	o := l.down
	if up {
		o = l.up
	}
	found := make([]field, len(l.rows))
	for i, r := range l.rows {
		if r.Shown && !up {
			found[i].value, found[i].ok = get(object, r.new)
		}
	}
	for _, c := range o.cuts {
		rest, value, ok := cut(object, c.path)
		object = rest
		if ok && c.use != dropped && !found[c.row].asIs {
			found[c.row] = field{value: value, ok: true, asIs: c.use == asIs}
		}
	}
	for _, i := range o.puts {
		r, f := l.rows[i], found[i]
		if !f.asIs { // a second old place is spelled as the newest version is
			f.value, f.ok = r.value(f.value, f.ok, up)
		}
		if f.ok {
			object = put(object, r.to(up), f.value)
		}
	}
	return object
}

func (list list) apply(object map[string]any, up bool) map[string]any {
	value, _ := get(object, list.path)
	items, ok := value.([]any)
	if !ok {
		return object
	}
	moved := make([]any, len(items))
	for i, it := range items {
		moved[i] = it
		if fields, isObject := it.(map[string]any); isObject {
			moved[i] = list.item.apply(fields, up)
		}
	}
	return put(object, list.path, moved)
}
