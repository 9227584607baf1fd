package main

// direct are mistakes in changes of callers who wait for them.
var direct = []mutation{
	{
		file: "versioning/fold.go", text: `outcome.DeadLettered() && !r.Direct`, mutated: `outcome.DeadLettered()`,
		why: "a refused change of a caller becomes a dead letter",
		pkg: "./versioning", tests: "^TestDirect$",
	},
	{
		file: "versioning/fold.go", text: `outcome.Verdict == Early && !r.Direct`, mutated: `outcome.Verdict == Early`,
		why: "an early change of a caller is parked, and made when nobody expects it any more",
		pkg: "./versioning", tests: "^TestDirect$",
	},
	{
		file: "versioning/judge.go", text: `(r.Direct || r.IsDelivery()) && !step.isOf(r, change)`, mutated: `false`,
		why: "a change of another caller that expects the same version counts as a duplicate and is lost",
		pkg: "./versioning/postgres", tests: "^TestDo$",
	},
	{
		file: "versioning/postgres/settle.go", text: `script.tells && !lock`, mutated: `false`,
		why: "a caller is refused while an earlier attempt is about to make its change",
		pkg: "./versioning/postgres", tests: "^TestDoRefusesWithTheRowLocked$",
	},
	{
		file: "versioning/postgres/calls.go", text: `behind || c.isBusy(e)`, mutated: `behind && c.isBusy(e)`,
		why: "two batches of calls contend for an entity, or overtake each other",
		pkg: "./versioning/postgres", tests: "^TestCalls",
	},
	{
		file: "versioning/postgres/calls_run.go", text: `defer func() { c.settle(g, outcomes, errs) }()`, mutated: `defer func() { if !errors.Is(errs[0], errExited) { c.settle(g, outcomes, errs) } }()`,
		why: "callers wait forever if a function ends the goroutine of their batch",
		pkg: "./versioning/postgres", tests: "^TestCallsFail$",
	},
	{
		file: "versioning/postgres/calls.go", text: `return n >= c.inFlight`, mutated: `return n >= 0`,
		why: "small batches of calls take transactions of their own beside large ones",
		pkg: "./versioning/postgres", tests: "^TestCallsWaitForMore$",
	},
	{
		file: "versioning/postgres/calls.go", text: `c.timer = time.AfterFunc(gatherFor, c.endWait)`, mutated: `_ = c.endWait`,
		why: "calls wait for a batch that is held up by others' locks",
		pkg: "./versioning/postgres", tests: "^TestCallsWaitForMore$",
	},
}
