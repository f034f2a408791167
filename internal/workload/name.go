package workload

import (
	"fmt"
	"hash/fnv"
	"strings"
)

// Names of free slots.
//
// A pod's name is the set's name and five characters that stand for a number: the set's first pod has number 0, and each
// new pod the number after the highest in use. The characters look random, and differ from set to set, but they follow
// from the set's UID and the number alone. So a controller that sees too little - a cache that lags, a create whose answer
// was lost, a predecessor that died a moment ago - tries the same names again and is told AlreadyExists, where random names
// would give the set a pod too many.

// alphabet has no vowels, and none of 0, 1 and 3, as in all generated names of Kubernetes.
const alphabet = "bcdfghjklmnpqrstvwxz2456789"

const (
	idLength    = 5
	keyedLength = 8
	idCount     = 27 * 27 * 27 * 27 * 27
)

// names maps numbers to ids and back for one set: id = multiplier*number + offset (mod idCount). The multiplier is prime to
// idCount, so no two numbers share an id.
type names struct {
	multiplier, inverse, offset uint64
	set                         string // the set's UID
}

func newNames(uid string) names {
	sum := fnv.New64a()
	_, _ = sum.Write([]byte(uid)) // a hash never fails to take bytes
	seed := sum.Sum64()
	multiplier := seed % idCount
	for multiplier%3 == 0 || multiplier < 2 { // idCount is a power of 3
		multiplier++
	}
	return names{set: uid, multiplier: multiplier, inverse: invert(multiplier), offset: (seed >> 24) % idCount}
}

// invert finds x with m*x = 1 (mod idCount) by Newton's steps, each of which doubles the number of right digits to base 3.
func invert(m uint64) uint64 {
	x := m % 3 // 1*1 = 2*2 = 1 (mod 3)
	for range 5 {
		x = x * ((2 + idCount - m*x%idCount) % idCount) % idCount
	}
	return x
}

func (n names) id(number uint64) string {
	value := (n.multiplier*(number%idCount) + n.offset) % idCount
	var text [idLength]byte
	for i := idLength - 1; i >= 0; i-- {
		text[i] = alphabet[value%uint64(len(alphabet))]
		value /= uint64(len(alphabet))
	}
	return string(text[:])
}

// keyed is the n-th id of a slot with a key. It is longer than those of free slots, so that no two slots ever want the same.
func (n names) keyed(key string, number int) string {
	sum := fnv.New64a()
	_, _ = fmt.Fprintf(sum, "%s/%s/%d", n.set, key, number) // a hash never fails to take bytes
	value := sum.Sum64()
	var text [keyedLength]byte
	for i := range text {
		text[i] = alphabet[value%uint64(len(alphabet))]
		value /= uint64(len(alphabet))
	}
	return string(text[:])
}

// number is the inverse of id; false for a text that is no id.
func (n names) number(id string) (uint64, bool) {
	if len(id) != idLength {
		return 0, false
	}
	value := uint64(0)
	for i := range len(id) {
		digit := strings.IndexByte(alphabet, id[i])
		if digit < 0 {
			return 0, false
		}
		value = value*uint64(len(alphabet)) + uint64(digit)
	}
	return (value + idCount - n.offset) % idCount * n.inverse % idCount, true
}

// free yields the ids for new pods: after the highest number in use, and from the beginning when the numbers run out (or
// when pods with random names, made by another controller, have used the last one).
func (n names) free(used map[string]bool, count int) []string {
	next := uint64(0)
	for id := range used {
		if number, ok := n.number(id); ok && number+1 > next {
			next = number + 1
		}
	}
	ids := make([]string, 0, count)
	for tries := 0; len(ids) < count && tries < idCount; tries++ {
		if id := n.id(next); !used[id] {
			ids = append(ids, id)
		}
		next++
	}
	return ids
}
