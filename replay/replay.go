package replay

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/pawl-go/pawl/versioning"
	"github.com/pawl-go/pawl/versioning/postgres"
)

// The kinds of replays, in Report.Kind.
const (
	kindDryRun  = "dry run"
	kindApply   = "apply"
	kindVerify  = "verify"
	kindRebuild = "rebuild"
)

// DryRun judges the records as Apply would, by verdict and reason, and writes nothing to the
// database. It holds no locks, needs only the right to read, and may run on a standby.
// See [postgres.Rehearsal] for what it does not know.
//
// What the records would change is kept in memory, and in a temporary file if there is much of it.
// A dry run that is interrupted goes on from Config.State as long as all records were duplicates that
// are decoded as they were when they were applied. Otherwise it begins again, because it remembers
// the others in memory only.
//
// After an error the report says what was done so far.
func DryRun(ctx context.Context, c Config) (_ *Report, err error) {
	c = withDefaults(c)
	if err := c.validate(); err != nil {
		return nil, err
	}
	c.Tables = slices.Clone(c.Tables)
	for i := range c.Tables {
		c.Tables[i].Silent = true // so that no queue is needed
	}
	rehearsal, err := postgres.OpenRehearsal(ctx, c.Pool, c.Schema, c.Tables...)
	if err != nil {
		return nil, err //nolint:wrapcheck // it says what it is about
	}
	defer func() { err = errors.Join(err, rehearsal.Close()) }()
	k := &rehearsedFile{stateFile(c.State), rehearsal}
	s, err := c.resume(ctx, kindDryRun, k)
	if err != nil {
		return nil, err
	}
	r := &run{Config: &c, state: s, to: rehearsal, keeper: k}
	c.begun(s)
	if err = r.all(ctx); err == nil {
		err = r.lookUpOrigins(ctx, rehearsal)
	}
	k.note(s, c.Samples)
	return finish(s, err, k.stateFile)
}

// A rehearsedFile keeps the state of a dry run.
type rehearsedFile struct {
	stateFile

	of *postgres.Rehearsal
}

// save keeps the state. It is clean if there were only duplicates: of the others the rehearsal
// remembers what they would change, and that their origins are still to be looked up.
func (f *rehearsedFile) save(ctx context.Context, s *state) error {
	s.Clean = f.of.Changed() == 0 && f.of.Redecoded().Records == 0 && len(s.Report.Released) == 0
	for _, c := range s.Report.Verdicts {
		s.Clean = s.Clean && c.Verdict == versioning.Duplicate.String()
	}
	return f.stateFile.save(ctx, s)
}

// settled takes over what the rehearsal counts, whenever a whole batch is judged.
func (f *rehearsedFile) settled(s *state) { s.Report.Kept = f.of.Kept() }

// note puts what only the rehearsal knows into the report.
func (f *rehearsedFile) note(s *state, samples int) {
	found := f.of.Redecoded()
	s.Report.Redecoded = found.Records
	for _, r := range found.Samples[:min(samples, len(found.Samples))] {
		s.Report.RedecodedSamples = append(s.Report.RedecodedSamples, redecoded(r))
	}
}

// Apply applies the records through the ordinary path, next to the workers. What they have applied
// before is a Duplicate and causes nothing. What is applied now causes its outputs, unless the
// tables are Silent. If it is interrupted and Config.State is set, the next call goes on.
//
// After an error the report says what was done so far.
func Apply(ctx context.Context, c Config) (*Report, error) {
	c = withDefaults(c)
	if err := c.validate(); err != nil {
		return nil, err
	}
	store, err := postgres.OpenIn(ctx, c.Pool, c.Schema, c.Tables...)
	if err != nil {
		return nil, fmt.Errorf("apply: %w", err)
	}
	k := stateFile(c.State)
	s, err := c.resume(ctx, kindApply, k)
	if err != nil {
		return nil, err
	}
	r := &run{Config: &c, state: s, to: store, keeper: k}
	c.begun(s)
	return finish(s, r.allOnOneServer(ctx, store), k)
}

// allOnOneServer reads everything that is left. If the database server is replaced or restarted
// meanwhile, it may have lost what was applied, so all is read again: what was not lost is a
// duplicate.
func (r *run) allOnOneServer(ctx context.Context, store *postgres.Store) error {
	for {
		var server versioning.Server
		err := r.retry(ctx, func() (err error) {
			_, server, err = store.Marks(ctx, "", nil)
			return err
		})
		if err != nil {
			return err
		}
		if r.Server != "" && r.Server != server {
			r.Logger.Warn("the database server has changed; the replay begins again")
			r.startOver()
		} else if r.Server != "" && !r.left() {
			return nil
		}
		r.Server = server
		if err := r.all(ctx); err != nil && !errors.Is(err, versioning.ErrServerChanged) {
			return err
		}
	}
}

// begun says what will be read.
func (c *Config) begun(s *state) {
	if c.Begin != nil {
		c.Begin(s.Report)
	}
}

// finish returns the report.
func finish(s *state, err error, kept stateFile) (*Report, error) {
	sortCounts(s.Report.Verdicts)
	sortCounts(s.Report.Released)
	if err != nil {
		return &s.Report, fmt.Errorf("%s: %w", s.Report.Kind, err)
	}
	s.Report.Ended = time.Now()
	return &s.Report, kept.remove()
}
