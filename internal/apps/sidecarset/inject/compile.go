package inject

import (
	"cmp"
	"encoding/json"
	"regexp"
	"slices"
	"strings"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/util/validation/field"

	appsv1beta1 "github.com/holdfast-io/holdfast/api/apps/v1beta1"
	"github.com/holdfast-io/holdfast/internal/apps/sidecarset/expression"
)

// Plan is a template that was read once, for many pods.
type Plan struct {
	Template Template
	// Hash and HashWithoutImage are those of the template.
	Hash, HashWithoutImage string
	// Names are the containers' names as the user gave them.
	Names []string

	before, after, initBefore, initAfter []sidecar
}

// sidecar is one container to be put into pods.
type sidecar struct {
	// container is finished, but for what depends on the pod, and text is its JSON.
	container corev1.Container
	text      json.RawMessage
	options   *appsv1beta1.SidecarContainer
	// env are the expressions of transferEnv, in its order.
	env       [][]*regexp.Regexp
	resources *resources
	// working is the sidecar's own name and idle the other container's, in a hot upgrade; "" in others.
	name, twin string
	version    string
}

// resources is a ResourcesPolicy that was read.
type resources struct {
	mode             appsv1beta1.TargetContainersModeType
	target           *regexp.Regexp
	limits, requests map[corev1.ResourceName]expression.Expression
}

// Compile reads a template. The errors name the fields below path that make no sense.
func Compile(t Template, path *field.Path) (*Plan, field.ErrorList) {
	plan := &Plan{Template: t, Names: t.Names()}
	var errs field.ErrorList
	for _, group := range []struct {
		name          string
		containers    []appsv1beta1.SidecarContainer
		before, after *[]sidecar
		otherwise     appsv1beta1.PodInjectPolicyType
	}{
		{"containers", t.Containers, &plan.before, &plan.after, appsv1beta1.BeforeAppContainerType},
		{"initContainers", t.InitContainers, &plan.initBefore, &plan.initAfter, appsv1beta1.AfterAppContainerType},
	} {
		for i := range group.containers {
			c := &group.containers[i]
			made, found := compile(c, path.Child(group.name).Index(i))
			errs = append(errs, found...)
			for n := range made {
				var err error
				if made[n].text, err = json.Marshal(&made[n].container); err != nil {
					errs = append(errs, field.InternalError(path.Child(group.name).Index(i), err))
				}
			}
			into := group.after
			if cmp.Or(c.PodInjectPolicy, group.otherwise) == appsv1beta1.BeforeAppContainerType {
				into = group.before
			}
			*into = append(*into, made...)
		}
	}
	var err error
	if plan.Hash, plan.HashWithoutImage, err = t.Hashes(); err != nil {
		errs = append(errs, field.InternalError(path, err))
	}
	return plan, errs
}

// compile makes the one container, or the two of a hot upgrade.
func compile(c *appsv1beta1.SidecarContainer, path *field.Path) ([]sidecar, field.ErrorList) {
	s := sidecar{options: c}
	var errs field.ErrorList
	for i := range c.TransferEnv {
		exprs, found := compileEnv(&c.TransferEnv[i], path.Child("transferEnv").Index(i))
		s.env, errs = append(s.env, exprs), append(errs, found...)
	}
	if c.ResourcesPolicy != nil {
		var found field.ErrorList
		s.resources, found = compileResources(c.ResourcesPolicy, path.Child("resourcesPolicy"))
		errs = append(errs, found...)
	}
	injected := corev1.EnvVar{Name: appsv1beta1.SidecarInjectedEnv, Value: "true"}
	if !Hot(c) {
		s.container = *c.Container.DeepCopy()
		s.container.Env = append(slices.Clip(s.container.Env), injected)
		return []sidecar{s}, errs
	}
	pair := Pair(c.Name)
	both := make([]sidecar, 0, len(pair))
	for i, name := range pair {
		one := s
		one.name, one.twin, one.version = c.Name, pair[1-i], idleVersion
		one.container = *c.Container.DeepCopy()
		one.container.Name = name
		if i == 0 {
			one.version = firstVersion
		} else {
			one.container.Image = c.UpgradeStrategy.HotUpgradeEmptyImage
		}
		one.container.Env = append(slices.Clip(one.container.Env), injected,
			fromAnnotation(appsv1beta1.SidecarSetVersionEnv, appsv1beta1.SidecarSetVersionPrefix+name),
			fromAnnotation(appsv1beta1.SidecarSetVersionAltEnv, appsv1beta1.SidecarSetVersionAltPrefix+name))
		both = append(both, one)
	}
	return both, errs
}

// The versions of the two containers of a hot upgrade when a pod is born.
const firstVersion, idleVersion = "1", "0"

func fromAnnotation(env, annotation string) corev1.EnvVar {
	return corev1.EnvVar{Name: env, ValueFrom: &corev1.EnvVarSource{FieldRef: &corev1.ObjectFieldSelector{
		APIVersion: "v1", FieldPath: "metadata.annotations['" + annotation + "']",
	}}}
}

func compileEnv(e *appsv1beta1.TransferEnvVar, path *field.Path) (exprs []*regexp.Regexp, errs field.ErrorList) {
	if e.EnvName != "" {
		exprs = append(exprs, regexp.MustCompile("^"+regexp.QuoteMeta(e.EnvName)+"$"))
	}
	for i, name := range e.EnvNames {
		expr, err := regexp.Compile("^(?:" + name + ")$")
		if err != nil {
			errs = append(errs, field.Invalid(path.Child("envNames").Index(i), name, "it is neither a name nor a regular expression: "+err.Error()))
			continue
		}
		exprs = append(exprs, expr)
	}
	if from := e.SourceContainerNameFrom; from != nil {
		if _, ok := metadataKey(from); !ok {
			text := ""
			if from.FieldRef != nil {
				text = from.FieldRef.FieldPath
			}
			errs = append(errs, field.Invalid(path.Child("sourceContainerNameFrom", "fieldRef", "fieldPath"), text,
				"it must be metadata.labels['<key>'] or metadata.annotations['<key>']"))
		}
	}
	return exprs, errs
}

func compileResources(p *appsv1beta1.ResourcesPolicy, path *field.Path) (*resources, field.ErrorList) {
	r := &resources{mode: p.TargetContainersMode}
	var errs field.ErrorList
	expr := p.TargetContainersNameRegex
	if expr == "" {
		expr = ".*"
	}
	var err error
	if r.target, err = regexp.Compile(expr); err != nil {
		errs = append(errs, field.Invalid(path.Child("targetContainersNameRegex"), expr, err.Error()))
	}
	read := func(at *field.Path, cpu, memory string) map[corev1.ResourceName]expression.Expression {
		all := map[corev1.ResourceName]expression.Expression{}
		for _, one := range []struct {
			name corev1.ResourceName
			text string
		}{{corev1.ResourceCPU, cpu}, {corev1.ResourceMemory, memory}} {
			if strings.TrimSpace(one.text) == "" {
				continue
			}
			if all[one.name], err = expression.Parse(one.text); err != nil {
				errs = append(errs, field.Invalid(at.Child(string(one.name)), one.text, err.Error()))
			}
		}
		return all
	}
	at := path.Child("resourcesExpr")
	if l := p.ResourcesExpr.Limits; l != nil {
		r.limits = read(at.Child("limits"), l.CPU, l.Memory)
	}
	if q := p.ResourcesExpr.Requests; q != nil {
		r.requests = read(at.Child("requests"), q.CPU, q.Memory)
	}
	if len(errs) == 0 && len(r.limits)+len(r.requests) == 0 {
		errs = append(errs, field.Required(at, "an expression for limits or requests, of cpu or memory"))
	}
	return r, errs
}
