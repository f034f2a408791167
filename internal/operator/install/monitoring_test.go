package install_test

import (
	"encoding/json"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"sigs.k8s.io/yaml"
)

const monitoring = "../../../charts/holdfast/monitoring/"

// Alerts and dashboards speak of figures that there are: a renamed metric would silence them without a word.
func TestMonitoringNamesRealFigures(t *testing.T) {
	var code strings.Builder
	err := filepath.WalkDir("../..", func(path string, entry os.DirEntry, err error) error {
		if err != nil || entry.IsDir() || !strings.HasSuffix(path, ".go") || strings.HasSuffix(path, "_test.go") {
			return err
		}
		text, err := os.ReadFile(path) //nolint:gosec // our own sources
		code.Write(text)
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	for _, file := range []string{"alerts.yaml", "guards.json"} {
		text, err := os.ReadFile(monitoring + file)
		if err != nil {
			t.Fatal(err)
		}
		names := regexp.MustCompile(`holdfast_[a-z_]+`).FindAllString(string(text), -1)
		if len(names) == 0 {
			t.Errorf("%s names no figure", file)
		}
		for _, name := range names {
			name = strings.TrimSuffix(name, "_bucket")
			// The figures of the limits are put together from a prefix and their names.
			suffix := strings.TrimPrefix(name, "holdfast_pod_deletion_")
			if !strings.Contains(code.String(), `"`+name+`"`) && (suffix == name || !strings.Contains(code.String(), `"`+suffix+`"`)) {
				t.Errorf("%s: there is no figure %s", file, name)
			}
		}
	}
}

func TestMonitoringIsWellFormed(t *testing.T) {
	text, err := os.ReadFile(monitoring + "alerts.yaml")
	if err != nil {
		t.Fatal(err)
	}
	rules := struct {
		Groups []struct {
			Rules []struct {
				Alert, Expr         string
				Labels, Annotations map[string]string
			}
		}
	}{}
	if err := yaml.Unmarshal(text, &rules); err != nil {
		t.Fatal(err)
	}
	count := 0
	for _, group := range rules.Groups {
		for _, rule := range group.Rules {
			count++
			if rule.Alert == "" || rule.Expr == "" || rule.Labels["severity"] == "" || rule.Annotations["summary"] == "" ||
				rule.Annotations["description"] == "" || strings.Count(rule.Expr, "(") != strings.Count(rule.Expr, ")") {
				t.Errorf("the alert is not whole: %+v", rule)
			}
		}
	}
	if count == 0 {
		t.Error("there are no alerts")
	}
	dashboard := map[string]any{}
	if text, err = os.ReadFile(monitoring + "guards.json"); err == nil {
		err = json.Unmarshal(text, &dashboard)
	}
	if err != nil || dashboard["title"] == "" {
		t.Errorf("the dashboard cannot be read: %v", err)
	}
}
