package advancedcronjob

import (
	"errors"
	"fmt"
	"math/bits"
	"strings"
	"time"
	_ "time/tzdata" // time zones are known in an image that has no files but the program's

	"github.com/robfig/cron/v3"
)

// schedule is a cron line in its time zone: the moments at which jobs are due.
type schedule interface {
	// next is the first moment after t, or zero when there is none within five years.
	next(t time.Time) time.Time
}

var (
	errNever   = errors.New("it never fires: no day within five years has this date; correct the day of the month or the month")
	errTwice   = errors.New("the time zone stands twice, in spec.schedule and in spec.timeZone; take it out of spec.schedule")
	errNoZone  = errors.New(`name a time zone of https://www.iana.org/time-zones, such as "Europe/Berlin" or "Etc/UTC"`)
	errNoLine  = errors.New(`the time zone is all there is; write "TZ=Europe/Berlin 0 3 * * *", or better, use spec.timeZone`)
	errTooFast = errors.New(`the shortest interval is "@every 1s"`)
)

// parse reads a cron line as robfig/cron does, which is also the parser of Kubernetes's own CronJob: five fields, or a
// descriptor such as @daily or @every 90m. anchor is what the latter counts from. Lines name no time that Local would stand
// for: which machine the operator runs on must make no difference.
func parse(line string, timeZone *string, anchor time.Time) (schedule, error) {
	zone, rest, inLine, err := cutZone(line)
	if err != nil {
		return nil, err
	}
	if inLine && timeZone != nil {
		return nil, errTwice
	}
	if timeZone != nil {
		zone = *timeZone
	}
	location := time.UTC
	if inLine || timeZone != nil {
		if location, err = zoneNamed(zone); err != nil {
			return nil, err
		}
	}
	parsed, err := cron.ParseStandard(rest)
	if err != nil {
		return nil, fmt.Errorf("it cannot be read: %w", err)
	}
	switch parsed := parsed.(type) {
	case *cron.SpecSchedule:
		return readable(newCalendar(parsed, location), anchor)
	case cron.ConstantDelaySchedule:
		if asked, err := time.ParseDuration(strings.TrimPrefix(rest, "@every ")); err == nil && asked < time.Second {
			return nil, errTooFast
		}
		return interval{anchor: anchor.Truncate(time.Second), every: parsed.Delay}, nil
	default:
		return nil, fmt.Errorf("it cannot be read: unexpected kind of schedule %T", parsed)
	}
}

func readable(s schedule, anchor time.Time) (schedule, error) {
	if s.next(anchor).IsZero() {
		return nil, errNever
	}
	return s, nil
}

// cutZone takes "TZ=..." or "CRON_TZ=..." from the beginning of a line. It is done here, as cron panics at "TZ=UTC" alone.
func cutZone(line string) (zone, rest string, found bool, err error) {
	line = strings.TrimSpace(line)
	for _, prefix := range []string{"TZ=", "CRON_TZ="} {
		after, has := strings.CutPrefix(line, prefix)
		if !has {
			continue
		}
		zone, rest, found = strings.Cut(after, " ")
		if !found {
			return "", "", false, errNoLine
		}
		return zone, strings.TrimSpace(rest), true, nil
	}
	return "", line, false, nil
}

// zoneNamed is the zone of that name, and no zone but those that have one: "Local" would be another one on each machine.
func zoneNamed(name string) (*time.Location, error) {
	if name == "" || strings.EqualFold(name, "local") {
		return nil, fmt.Errorf("time zone %q: %w", name, errNoZone)
	}
	location, err := time.LoadLocation(name)
	if err != nil {
		return nil, fmt.Errorf("time zone %q is unknown: %w", name, errNoZone)
	}
	return location, nil
}

// interval is "@every d": the moments d, 2d, 3d ... after the anchor. That they do not depend on when the last job
// was started gives each of them one name, whoever computes it.
type interval struct {
	anchor time.Time
	every  time.Duration
}

func (i interval) next(t time.Time) time.Time {
	if t.Before(i.anchor) {
		return i.anchor.Add(i.every)
	}
	passed := int64(t.Sub(i.anchor) / i.every)
	return i.anchor.Add(time.Duration(passed+1) * i.every)
}

// calendar is a line of five fields. What it does when clocks change is the way of cron itself (man 8 cron): a line with a
// fixed hour means that hour of every day, so it fires once on each, and a time that does not exist is made up for as soon as the
// clock has jumped; a line for every hour goes on in real time.
type calendar struct {
	spec     *cron.SpecSchedule
	location *time.Location
	hourly   bool
}

func newCalendar(spec *cron.SpecSchedule, location *time.Location) calendar {
	const hours = 1<<24 - 1
	c := calendar{location: location, hourly: bits.OnesCount64(spec.Hour&hours) == 24}
	copied := *spec
	// A line with a fixed hour is read as if all days had 24 hours, in UTC; what moment that is on each day is looked up after.
	copied.Location = time.UTC
	if c.hourly {
		copied.Location = location
	}
	c.spec = &copied
	return c
}

func (c calendar) next(t time.Time) time.Time {
	if c.hourly {
		return c.spec.Next(t.UTC()).UTC()
	}
	// Of an hour that comes twice, the second lies behind the first on the clock's face, but not in time: those are passed over.
	for face := c.spec.Next(faceOf(t, c.location)); !face.IsZero(); face = c.spec.Next(face) {
		if moment := momentOf(face, c.location); moment.After(t) {
			return moment
		}
	}
	return time.Time{}
}

// faceOf is what the clock on the wall shows, written as if it were UTC.
func faceOf(t time.Time, location *time.Location) time.Time {
	_, offset := t.In(location).Zone()
	return t.UTC().Add(time.Duration(offset) * time.Second)
}

// momentOf is the first moment at which the clock on the wall shows face, or at which it jumps over it.
func momentOf(face time.Time, location *time.Location) time.Time {
	// The zone changes at most once within a day, so one of these two offsets is in force.
	before, after := face.Add(-24*time.Hour).In(location), face.Add(24*time.Hour).In(location)
	_, first := before.Zone()
	_, second := after.Zone()
	for _, offset := range []int{max(first, second), min(first, second)} { // the greater offset comes first in time
		if moment := face.Add(-time.Duration(offset) * time.Second); faceOf(moment, location).Equal(face) {
			return moment
		}
	}
	_, jump := before.ZoneBounds()
	return jump.UTC()
}

// latest is the last moment after from and up to now, or zero when there is none. It looks at a few dozen moments however many
// there were in between.
func latest(s schedule, from, now time.Time) time.Time {
	last := s.next(from)
	if last.IsZero() || last.After(now) {
		return time.Time{}
	}
	low, high := last, now
	for high.Sub(low) >= time.Second {
		middle := low.Add(high.Sub(low) / 2)
		if moment := s.next(middle); !moment.IsZero() && !moment.After(now) {
			last, low = moment, moment
		} else {
			high = middle
		}
	}
	return last
}

// countUpTo is how many moments there are after from and up to now, but not more than limit.
func countUpTo(s schedule, from, now time.Time, limit int) int {
	n := 0
	for moment := s.next(from); n < limit && !moment.IsZero() && !moment.After(now); moment = s.next(moment) {
		n++
	}
	return n
}
