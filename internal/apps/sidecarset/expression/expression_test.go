package expression_test

import (
	"strings"
	"testing"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"

	"github.com/holdfast-io/holdfast/internal/apps/sidecarset/expression"
)

func values(cpu, memory string) expression.Values {
	return expression.Values{
		corev1.ResourceCPU:    expression.Rat(resource.MustParse(cpu)),
		corev1.ResourceMemory: expression.Rat(resource.MustParse(memory)),
	}
}

func TestCompute(t *testing.T) {
	const polyline = "min(max(max(max(0.5,0.5*cpu),cpu-1.0),cpu-1.0),3.0)"
	for _, test := range []struct {
		reason, text string
		of           corev1.ResourceName
		cpu, memory  string
		want         string
	}{
		{"a quantity", "200m", corev1.ResourceCPU, "1", "1Gi", "200m"},
		{"a quantity of memory", "100Mi", corev1.ResourceMemory, "1", "1Gi", "100Mi"},
		{"a whole number", "42", corev1.ResourceMemory, "1", "1Gi", "42"},
		{"a percentage", "cpu*50%", corev1.ResourceCPU, "3", "1Gi", "1500m"},
		{"exact where a float is not", "cpu*0.1*3", corev1.ResourceCPU, "1", "1Gi", "300m"},
		{"rounded up to a thousandth", "cpu/3", corev1.ResourceCPU, "1", "1Gi", "334m"},
		{"rounded up to a byte", "memory/3", corev1.ResourceMemory, "1", "1Gi", "357913942"},
		{"products before sums", "1+2*3", corev1.ResourceCPU, "1", "1Gi", "7"},
		{"parentheses", "(1+2)*3", corev1.ResourceCPU, "1", "1Gi", "9"},
		{"from the left", "8-4-2", corev1.ResourceCPU, "1", "1Gi", "2"},
		{"min of three", "min(cpu, 2, 500m)", corev1.ResourceCPU, "1", "1Gi", "500m"},
		{"max", "max(memory*10%,64Mi)", corev1.ResourceMemory, "1", "1Gi", "107374183"},
		{"a sign", "max(-1, 0)", corev1.ResourceCPU, "1", "1Gi", "0"},
		{"both variables", "cpu*1Gi+memory", corev1.ResourceMemory, "2", "1Gi", "3Gi"},
		{"a polyline, flat at first", polyline, corev1.ResourceCPU, "500m", "1Gi", "500m"},
		{"a polyline, rising", polyline, corev1.ResourceCPU, "3", "1Gi", "2"},
		{"a polyline, flat in the end", polyline, corev1.ResourceCPU, "10", "1Gi", "3"},
	} {
		t.Run(test.reason, func(t *testing.T) {
			e, err := expression.Parse(test.text)
			if err != nil {
				t.Fatal(err)
			}
			got, err := e.Compute(test.of, values(test.cpu, test.memory))
			if want := resource.MustParse(test.want); err != nil || got.Cmp(want) != 0 {
				t.Errorf("%s is %s (%v), want %s", test.text, got.String(), err, test.want)
			}
		})
	}
}

func TestUses(t *testing.T) {
	e, err := expression.Parse("min(cpu, 2)")
	if err != nil || !e.Uses(corev1.ResourceCPU) || e.Uses(corev1.ResourceMemory) {
		t.Errorf("min(cpu, 2) depends on cpu alone: %v", err)
	}
}

func TestRefuses(t *testing.T) {
	for text, want := range map[string]string{
		"":                                  "at character 1: a number, cpu, memory, min( or max( is missing",
		"cpu*":                              "at character 5: a number",
		"cpu 2":                             `at character 5: "2" is left over`,
		"gpu*2":                             `"gpu" is not known`,
		"(cpu":                              "a ) is missing",
		"min cpu":                           "a ( is missing",
		"min(cpu;2)":                        "a , or a ) is missing",
		"max()":                             `")" is no part of an expression`,
		"2xyz":                              `"2xyz" is neither a number nor a quantity`,
		"cpu^2":                             `"^2" is left over`,
		strings.Repeat("(", 1000):           "is missing",
		strings.Repeat("max(1,", 100) + "2": "is missing",
	} {
		if _, err := expression.Parse(text); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%q: got %v, want an error with %q", text, err, want)
		}
	}
}

func TestComputeRefuses(t *testing.T) {
	for text, want := range map[string]string{
		"cpu-2":                        "must not be negative",
		"1/(cpu-cpu)":                  "divides by 0",
		"cpu*100000000000000000000000": "larger than any node",
	} {
		e, err := expression.Parse(text)
		if err != nil {
			t.Fatal(err)
		}
		if got, err := e.Compute(corev1.ResourceCPU, values("1", "1Gi")); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%q: got %s and %v, want an error with %q", text, got.String(), err, want)
		}
	}
}
