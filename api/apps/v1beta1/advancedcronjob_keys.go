package v1beta1

// ScheduledAt is an annotation of a job that an AdvancedCronJob started: the time of the schedule, as RFC 3339.
const ScheduledAt = "apps.kruise.io/scheduled-at"
