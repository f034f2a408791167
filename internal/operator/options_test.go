package operator

import (
	"errors"
	"strings"
	"testing"
)

// Of several flags that cannot be obeyed the first is named, the same one each time.
func TestTheFirstFlagThatCannotBeObeyed(t *testing.T) {
	for _, test := range []struct {
		reason string
		change func(o *Options)
		want   string
	}{
		{"nothing wrong", func(*Options) {}, ""},
		{"no namespace", func(o *Options) { o.SystemNamespace, o.QPS = "", 0 }, "--system-namespace is empty"},
		{"addresses", func(o *Options) { o.WebhookBind, o.MetricsBind, o.HealthBind = "x", "y", "z" }, `--webhook-bind is "x"`},
		{"a port that is none", func(o *Options) { o.MetricsBind, o.HealthBind = ":70000", "z" }, "--metrics-bind is \":70000\": the port"},
		{"parts", func(o *Options) { o.Enable, o.Disable = []string{"none"}, []string{"neither"} }, `--enable: there is no part "none"`},
	} {
		t.Run(test.reason, func(t *testing.T) {
			for range 8 { // a map would name another one now and then
				o := Defaults()
				test.change(&o)
				err := o.Validate()
				if test.want == "" {
					if err != nil {
						t.Fatal(err)
					}
					continue
				}
				var wrong *Misuse
				if !errors.As(err, &wrong) || !strings.HasPrefix(err.Error(), test.want) {
					t.Fatalf("got %v, want %s", err, test.want)
				}
			}
		})
	}
}
