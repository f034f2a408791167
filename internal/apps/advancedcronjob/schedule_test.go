package advancedcronjob

import (
	"strings"
	"testing"
	"time"

	"k8s.io/utils/ptr"
)

func at(t *testing.T, text string) time.Time {
	t.Helper()
	moment, err := time.Parse(time.RFC3339, text)
	if err != nil {
		t.Fatal(err)
	}
	return moment.UTC()
}

func TestParseRefuses(t *testing.T) {
	for _, test := range []struct {
		reason, line string
		zone         *string
		want         string
	}{
		{"a day that never comes", "0 0 30 2 *", nil, "it never fires"},
		{"a month that never has it", "0 0 31 4,6,9,11 *", nil, "it never fires"},
		{"too few fields", "0 0 * *", nil, "expected exactly 5 fields"},
		{"seconds are no field", "0 0 0 * * *", nil, "expected exactly 5 fields"},
		{"nothing", "", nil, "empty spec string"},
		{"an hour that is none", "0 24 * * *", nil, "above maximum"},
		{"words", "every day", nil, "expected exactly 5 fields"},
		{"an unknown descriptor", "@reboot", nil, "unrecognized descriptor"},
		{"a zone that is none", "0 0 * * *", ptr.To("Europe/Nowhere"), `time zone "Europe/Nowhere" is unknown`},
		{"the operator's own zone", "0 0 * * *", ptr.To("Local"), "name a time zone"},
		{"the same, otherwise spelled", "0 0 * * *", ptr.To("LOCAL"), "name a time zone"},
		{"an empty zone", "0 0 * * *", ptr.To(""), "name a time zone"},
		{"a file for a zone", "0 0 * * *", ptr.To("../etc/passwd"), "is unknown"},
		{"a zone in the line that is none", "TZ=Nowhere 0 0 * * *", nil, `time zone "Nowhere" is unknown`},
		{"a zone and no line", "TZ=UTC", nil, "the time zone is all there is"},
		{"two zones", "CRON_TZ=UTC 0 0 * * *", ptr.To("UTC"), "stands twice"},
		{"no time at all between two", "@every 0s", nil, "shortest interval"},
		{"backwards", "@every -5m", nil, "shortest interval"},
		{"no duration", "@every soon", nil, "failed to parse duration"},
	} {
		t.Run(test.reason, func(t *testing.T) {
			_, err := parse(test.line, test.zone, at(t, "2026-01-01T00:00:00Z"))
			if err == nil || !strings.Contains(err.Error(), test.want) {
				t.Errorf("got %v, want %q", err, test.want)
			}
		})
	}
}

func TestNext(t *testing.T) {
	berlin, newYork, lordHowe, apia := ptr.To("Europe/Berlin"), ptr.To("America/New_York"), ptr.To("Australia/Lord_Howe"), ptr.To("Pacific/Apia")
	for _, test := range []struct {
		reason, line string
		zone         *string
		from         string
		want         []string
	}{
		{"no zone means UTC", "0 3 * * *", nil, "2026-06-01T00:00:00Z", []string{"2026-06-01T03:00:00Z", "2026-06-02T03:00:00Z"}},
		{"a zone in the line", "TZ=Europe/Berlin 0 3 * * *", nil, "2026-06-01T00:00:00Z", []string{"2026-06-01T01:00:00Z"}},
		{"the same, as cron writes it", "CRON_TZ=Asia/Tokyo  0 3 * * *", nil, "2026-06-01T00:00:00Z", []string{"2026-06-01T18:00:00Z"}},
		{"a descriptor", "@daily", berlin, "2026-06-01T00:00:00Z", []string{"2026-06-01T22:00:00Z"}},
		{"a leap day", "0 0 29 2 *", nil, "2026-01-01T00:00:00Z", []string{"2028-02-29T00:00:00Z"}},
		{"a time that is now is over", "0 3 * * *", nil, "2026-06-01T03:00:00Z", []string{"2026-06-02T03:00:00Z"}},
		{
			"a time that does not exist is made up for when the clock has jumped", "30 2 * * *", berlin, "2026-03-28T00:00:00Z",
			[]string{"2026-03-28T01:30:00Z", "2026-03-29T01:00:00Z", "2026-03-30T00:30:00Z"},
		},
		{
			"two times, of which one does not exist, are two even so", "30 2,3 * * *", berlin, "2026-03-28T12:00:00Z",
			[]string{"2026-03-29T01:00:00Z", "2026-03-29T01:30:00Z", "2026-03-30T00:30:00Z"},
		},
		{
			"many times that do not exist are made up for once", "*/10 2 * * *", newYork, "2026-03-08T06:59:00Z",
			[]string{"2026-03-08T07:00:00Z", "2026-03-09T06:00:00Z", "2026-03-09T06:10:00Z"},
		},
		{
			"a time that comes twice is taken once", "30 2 * * *", berlin, "2026-10-24T12:00:00Z",
			[]string{"2026-10-25T00:30:00Z", "2026-10-26T01:30:00Z"},
		},
		{
			"from within the hour that came again", "30 1 * * *", newYork, "2026-11-01T06:10:00Z",
			[]string{"2026-11-02T06:30:00Z"},
		},
		{
			"every hour means every hour when one comes twice", "30 * * * *", newYork, "2026-11-01T05:00:00Z",
			[]string{"2026-11-01T05:30:00Z", "2026-11-01T06:30:00Z", "2026-11-01T07:30:00Z"},
		},
		{
			"and when one does not exist", "30 * * * *", newYork, "2026-03-08T06:00:00Z",
			[]string{"2026-03-08T06:30:00Z", "2026-03-08T07:30:00Z"},
		},
		{
			"a jump of half an hour", "15 2 * * *", lordHowe, "2026-10-03T00:00:00Z",
			[]string{"2026-10-03T15:30:00Z", "2026-10-04T15:15:00Z"},
		},
		{
			"a day that a country left out", "0 12 * * *", apia, "2011-12-29T00:00:00Z",
			[]string{"2011-12-29T22:00:00Z", "2011-12-30T10:00:00Z", "2011-12-30T22:00:00Z"},
		},
		{
			"an interval counts from the beginning", "@every 90m", nil, "2026-01-01T02:00:00Z",
			[]string{"2026-01-01T03:00:00Z", "2026-01-01T04:30:00Z"},
		},
		{"an interval before its beginning", "@every 1h", nil, "2025-12-31T12:00:00Z", []string{"2026-01-01T01:00:00Z"}},
	} {
		t.Run(test.reason, func(t *testing.T) {
			s, err := parse(test.line, test.zone, at(t, "2026-01-01T00:00:00Z"))
			if err != nil {
				t.Fatal(err)
			}
			from := at(t, test.from)
			for _, want := range test.want {
				got := s.next(from)
				if !got.Equal(at(t, want)) {
					t.Errorf("after %s: got %s, want %s", from.Format(time.RFC3339), got.Format(time.RFC3339), want)
				}
				from = got
			}
		})
	}
}

func TestNextIsAlwaysLater(t *testing.T) {
	for _, line := range []string{"*/7 * * * *", "*/7 1-3 * * *", "0 2 * * 0", "@hourly", "59 23 * * *"} {
		for _, zone := range []string{"Europe/Berlin", "America/New_York", "Australia/Lord_Howe", "America/Sao_Paulo", "UTC"} {
			s, err := parse(line, &zone, at(t, "2017-01-01T00:00:00Z"))
			if err != nil {
				t.Fatal(err)
			}
			moment := at(t, "2017-01-01T00:00:00Z")
			for end := moment.AddDate(1, 0, 0); moment.Before(end); {
				next := s.next(moment)
				if !next.After(moment) || next.Sub(moment) > 9*24*time.Hour {
					t.Fatalf("%q in %s: after %s comes %s", line, zone, moment, next)
				}
				moment = next
			}
		}
	}
}

func TestLatest(t *testing.T) {
	for _, test := range []struct {
		reason, line, from, now, want string
		count                         int
	}{
		{"nothing was due", "0 3 * * *", "2026-06-01T03:00:00Z", "2026-06-02T02:59:59Z", "", 0},
		{"one was due", "0 3 * * *", "2026-06-01T03:00:00Z", "2026-06-02T03:00:00Z", "2026-06-02T03:00:00Z", 1},
		{"an hour of minutes", "* * * * *", "2026-06-01T03:00:00Z", "2026-06-01T04:00:30Z", "2026-06-01T04:00:00Z", 60},
		{"a year of seconds", "@every 1s", "2026-01-01T00:00:00Z", "2026-12-31T23:59:59.5Z", "2026-12-31T23:59:59Z", 100},
		{"a burst long ago", "* 0 * * *", "2026-06-01T00:00:00Z", "2026-06-09T23:00:00Z", "2026-06-09T00:59:00Z", 100},
		{"a yearly one", "0 0 1 1 *", "2020-06-01T00:00:00Z", "2026-05-01T00:00:00Z", "2026-01-01T00:00:00Z", 6},
	} {
		t.Run(test.reason, func(t *testing.T) {
			s, err := parse(test.line, nil, at(t, "2026-01-01T00:00:00Z"))
			if err != nil {
				t.Fatal(err)
			}
			var want time.Time
			if test.want != "" {
				want = at(t, test.want)
			}
			if got := latest(s, at(t, test.from), at(t, test.now)); !got.Equal(want) {
				t.Errorf("got %s, want %s", got, want)
			}
			if got := countUpTo(s, at(t, test.from), at(t, test.now), 100); got != test.count {
				t.Errorf("counted %d, want %d", got, test.count)
			}
		})
	}
}
