package workload

import (
	"slices"
	"testing"
)

func TestNamesAreABijection(t *testing.T) {
	for _, uid := range []string{"", "a", "0f3c5a9e-6e1f-4f7e-9f1a-2d1c6f1a7b11", "another"} {
		n := newNames(uid)
		for _, number := range []uint64{0, 1, 2, 26, 27, 1000, 123456, idCount - 1} {
			id := n.id(number)
			if back, ok := n.number(id); !ok || back != number {
				t.Errorf("uid %q: number %d became id %q and came back as %d (%v)", uid, number, id, back, ok)
			}
		}
	}
}

func TestFreeNames(t *testing.T) {
	n := newNames("uid")
	first := n.free(nil, 3)
	if want := []string{n.id(0), n.id(1), n.id(2)}; !slices.Equal(first, want) {
		t.Errorf("first names: got %v, want %v", first, want)
	}
	tests := []struct {
		reason string
		used   map[string]bool
		want   []string
	}{
		{"the same view gives the same names", map[string]bool{n.id(0): true}, []string{n.id(1), n.id(2)}},
		{"a gap is not filled, so that a new pod never has a dead pod's name", map[string]bool{n.id(4): true}, []string{n.id(5), n.id(6)}},
		{"after the last number it begins again and skips what is used", map[string]bool{n.id(idCount - 1): true, n.id(0): true}, []string{n.id(1), n.id(2)}},
		{"an id of another controller that is no number is passed over", map[string]bool{"aaaaa": true}, []string{n.id(0), n.id(1)}},
	}
	for _, test := range tests {
		t.Run(test.reason, func(t *testing.T) {
			if got := n.free(test.used, 2); !slices.Equal(got, test.want) {
				t.Errorf("got %v, want %v", got, test.want)
			}
		})
	}
}
