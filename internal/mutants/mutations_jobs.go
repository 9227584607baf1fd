package main

// jobs are mistakes in jobs whose server loses commits.
var jobs = []mutation{
	{
		file: "jobs/driver.go", text: `u.server <> here.server`, mutated: `u.server = ''`,
		why:    "a job counts as completed although its result was lost in a failover",
		module: "jobs", pkg: ".", tests: "^TestLostResult$",
	},
	{
		file: "jobs/driver.go", text: ` AND (extract(epoch FROM j.attempted_at) * 1000000)::bigint::text = u.attempt`, mutated: ` AND u.attempt <> ''`,
		why:    "the end of a lost job makes another job available that runs, and gives it its result",
		module: "jobs", pkg: ".", tests: "^TestLostJob$",
	},
	{
		file: "jobs/driver.go", text: `	all[resultKey] = e.Result`, mutated: `	all[calledKey] = e.Attempt`,
		why:    "a result that was lost in a failover is got by another call, or never",
		module: "jobs", pkg: ".", tests: "^TestLostResult$",
	},
	{
		file: "jobs/driver.go",
		text: `	if e.Result == nil {
		return nil
	}
	all := make(map[string]any)`,
		mutated: `	all := make(map[string]any)
	if e.Result == nil {
		all[calledKey] = e.Attempt
	}`,
		why:    "after a restart, a job that has only waited for its turn counts as one that may have called",
		module: "jobs", pkg: ".", tests: "^TestRestart$",
	},
	{
		file: "jobs/driver.go", text: `ended.notes IS NOT NULL AND j.state = 'running'`, mutated: `ended.notes IS NOT NULL`,
		why:    "a job that has ended is run again, if River tries again to store its end after a restart",
		module: "jobs", pkg: ".", tests: "^TestEnds$",
	},
	{
		file: "jobs/driver.go", text: `ends[id] == nil || valid[id]`, mutated: `ends[id] == nil || valid[id] || id > 0`,
		why:    "the end of an attempt ends another attempt, or another job",
		module: "jobs", pkg: ".", tests: "^TestEnds$",
	},
	{
		file: "jobs/driver.go", text: `	some.MetadataDoMerge = pick(params.MetadataDoMerge, rows)
	some.MetadataUpdates = pick(params.MetadataUpdates, rows)
`, mutated: `	some.MetadataDoMerge = pick(params.MetadataDoMerge, rows)
`,
		why:    "a job gets the notes of another one",
		module: "jobs", pkg: ".", tests: "^TestOnly$",
	},
	{
		file: "jobs/driver.go", text: `		return fmt.Errorf("%w: %w", riverdriver.ErrClosedPool, err)`, mutated: `		return err`,
		why:    "River tries for ever to store the ends of attempts with a closed pool",
		module: "jobs", pkg: ".", tests: "^TestClosedPool$",
	},
	{
		file: "jobs/progress.go", text: ` AND state = 'running' AND attempted_at = $3 RETURNING id`, mutated: ` AND $3::timestamptz IS NOT NULL RETURNING id`,
		why:    "a late attempt of a lost job erases the mark of another one, which is then called twice",
		module: "jobs", pkg: ".", tests: "^TestLateMark$",
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
