package main

// timers are mistakes in timers.
var timers = []mutation{
	{
		file: "versioning/outputs.go", text: ` || e.Entered > c.Armed`, mutated: ``,
		why: "a timer survives if its entity has left the state and come back, in the history",
		pkg: "./versioning", tests: "^TestVoidTimers$",
	},
	{
		file: "versioning/outputs.go", text: `s.From != s.To || s.Outputs != nil`, mutated: `s.Outputs != nil`,
		why: "a timer survives if its entity has left the state and come back, in the batch",
		pkg: "./versioning", tests: "^TestTimerModel$",
	},
	{
		file: "versioning/postgres/lookups.go", text: `c.Armed < k.Row.Version &&`, mutated: `false &&`,
		why: "the store does not ask the history whether the entity of a timer has left the state",
		pkg: "./versioning/postgres", tests: "^TestTimers$",
	},
	{
		file: "versioning/postgres/timers.go", text: `w.rearm(&replaced)`, mutated: ``,
		why: "the store forgets that a timer was replaced",
		pkg: "./versioning/postgres", tests: "^TestSetTimers$",
	},
	{
		file: "versioning/outputs.go", text: ` || e.Rearmed[c.Event] > c.Armed`, mutated: ``,
		why: "a timer fires although it was replaced",
		pkg: "./versioning", tests: "^TestTimerModel$",
	},
	{
		file: "versioning/postgres/rearmed.go", text: `AND r.version <= u.version`, mutated: ``,
		why: "the store forgets that a timer was replaced once an older one has fired",
		pkg: "./versioning/postgres", tests: "^TestRearmedAfterReentry$",
	},
	{
		file: "versioning/timer_record.go", text: `strconv.FormatInt(f.Armed, 10) + "/"`, mutated: `"/"`,
		why: "the second timer of an entity for an event counts as a duplicate of the first",
		pkg: "./versioning", tests: "^TestTimerModel$",
	},
	{
		file:    "versioning/postgres/timers.go",
		text:    "w.guarded(len(ids), w.store.schema.sql(deleteTimersSQL), []any{machines, dues, ids})",
		mutated: "first := &pgx.Batch{}\n\tfirst.Queue(w.store.schema.sql(deleteTimersSQL), machines, dues, ids)\n\tfirst.Queue(\"COMMIT\")\n\tfirst.Queue(\"BEGIN\")\n\tw.batch.QueuedQueries = append(first.QueuedQueries, w.batch.QueuedQueries...)",
		why:     "timers are removed before the transaction that fires them commits, so a failure loses them",
		pkg:     "./versioning/postgres", tests: "^TestFireRefused$",
	},
	{
		file: "versioning/postgres/timers.go", text: `w.unarm(c.firing)`, mutated: ``,
		why: "fired timers are not removed in the transaction that fires them",
		pkg: "./versioning/postgres", tests: "^TestTimers$",
	},
	{
		file: "versioning/postgres/timers.go", text: `c.firing.putBack(&armed, len(c.plan.Outcomes))`, mutated: ``,
		why: "timers that share a row with timers that have fired are lost",
		pkg: "./versioning/postgres", tests: "^TestTimersArePacked$",
	},
	{
		file: "versioning/postgres/timer_watch.go", text: `since = *f.first`, mutated: ``,
		why: "a timer that has been due for long is not looked at for a while",
		pkg: "./versioning/postgres", tests: "^TestOverdueTimersStayInView$",
	},
	{
		file: "versioning/postgres/timer_watch.go", text: `time.Since(t.full) >= lookAtAll || `, mutated: ``,
		why: "a timer that was armed by a very slow transaction never fires",
		pkg: "./versioning/postgres", tests: "^TestVeryLateTimersAreFound$",
	},
	{
		file: "consumer/timers.go", text: `return min(max(time.Until(next), fireRest), m.cfg.FireEvery)`, mutated: `return max(time.Until(next), 0)`,
		why: "a worker that knows of a timer in the far future fires no other one until then",
		pkg: "./consumer", tests: "^TestFiresWhenDue$",
	},
}
