package main

// jobs are mistakes in jobs whose server loses commits.
var jobs = []mutation{
	{
		file: "jobs/driver.go", text: `e != nil && e.Server != here`, mutated: `e != nil && e.Server == ""`,
		why:    "a job counts as completed although its result was lost in a failover",
		module: "jobs", pkg: ".", tests: "^TestLostResult$",
	},
	{
		file: "jobs/driver.go", text: ` AND (extract(epoch FROM j.attempted_at) * 1000000)::bigint::text = u.attempt`, mutated: ` AND u.attempt <> ''`,
		why:    "the end of a lost job makes another job available that runs, and gives it its result",
		module: "jobs", pkg: ".", tests: "^TestLostJob$",
	},
	{
		file: "jobs/driver.go", text: `		all[resultKey] = e.Result`, mutated: `		all[calledKey] = e.Attempt`,
		why:    "a result that was lost in a failover is got by another call, or never",
		module: "jobs", pkg: ".", tests: "^TestLostResult$",
	},
	{
		file: "jobs/driver.go", text: `		all[calledKey] = e.Attempt`, mutated: `		all[calledKey] = ""`,
		why:    "after a failover, a call whose answer was lost counts as certainly not made",
		module: "jobs", pkg: ".", tests: "^TestLostAnswer$",
	},
	{
		file: "jobs/progress.go", text: `p.Result.Key != key`, mutated: `p.Result.Key == key`,
		why:    "a job takes the result of a lost job whose ID it has got",
		module: "jobs", pkg: ".", tests: "^TestNotesOfAnotherJob$",
	},
	{
		file: "jobs/progress.go", text: `p.Output.Key != key`, mutated: `p.Output.Key == key`,
		why:    "a job takes the mark of a lost job whose ID it has got for its own",
		module: "jobs", pkg: ".", tests: "^TestNotesOfAnotherJob$",
	},
}
