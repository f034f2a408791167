package claim

import (
	"fmt"

	corev1 "k8s.io/api/core/v1"
)

// Growth of claims slot by slot: a driver that fails does so on few volumes.

// Wave is what of a growth is done now.
type Wave struct {
	// Grow are the claims that may grow now.
	Grow []Growth
	// Following tells of claims whose volumes still follow what they ask for, Waiting of those that wait for these.
	Following, Waiting []string
}

// Next picks the claims that grow now: slots in the order of their keys, at most limit at a time, those whose volumes still
// follow among them. claims are by name.
func Next(
	set string, templates []corev1.PersistentVolumeClaim, claims map[string]*corev1.PersistentVolumeClaim, keys []string, limit int,
) Wave {
	w := Wave{}
	wanted := make([][]Growth, len(keys))
	for i, key := range keys {
		following := false
		for j := range templates {
			c := claims[Name(templates[j].Name, set, key)]
			switch {
			case c == nil || !growable(c):
			case Larger(&templates[j], c):
				wanted[i] = append(wanted[i], Growth{c, templates[j].Spec.Resources.Requests[corev1.ResourceStorage]})
			case !Grew(c, &templates[j]):
				following = true
				w.Following = append(w.Following, fmt.Sprintf("the volume of claim %s grows from %s to %s", c.Name,
					quantity(c.Status.Capacity), quantity(c.Spec.Resources.Requests)))
			}
		}
		if following {
			limit--
		}
	}
	for _, growths := range wanted {
		switch {
		case len(growths) == 0:
		case limit > 0:
			limit--
			w.Grow = append(w.Grow, growths...)
		default:
			w.Waiting = append(w.Waiting, growths[0].Claim.Name)
		}
	}
	return w
}

// Grew reports whether the claim's volume is as large as the template asks for.
func Grew(c, tmpl *corev1.PersistentVolumeClaim) bool {
	has, wants := c.Status.Capacity[corev1.ResourceStorage], tmpl.Spec.Resources.Requests[corev1.ResourceStorage]
	return has.Cmp(wants) >= 0
}

func quantity(list corev1.ResourceList) string {
	q := list[corev1.ResourceStorage]
	return q.String()
}
