package versioning_test

import (
	"errors"
	"strings"
	"testing"

	"github.com/pawl-go/pawl/statemachine"
	"github.com/pawl-go/pawl/versioning"
	"github.com/pawl-go/pawl/versioning/versioningtest"
)

// TestJobsAreChecked checks that a job that the queue can't take rejects its record.
func TestJobsAreChecked(t *testing.T) {
	t.Parallel()
	type row struct{}
	machine := statemachine.MustCompile(statemachine.Definition{
		Name: "order", Version: 1,
		Transitions: []statemachine.Transition{{Event: "placed", To: "pending", Do: statemachine.Do(
			func(f *statemachine.Firing, _ *row, job string) error {
				f.Enqueue("good")
				f.Enqueue(job)
				return nil
			})}},
		Terminal: statemachine.In("pending"),
	})
	check := func(job any) error {
		switch job {
		case "bad":
			return errors.New("it is bad")
		case "panic":
			panic("oh")
		}
		return nil
	}
	for name, c := range map[string]struct {
		check  versioning.CheckJobFunc
		job    string
		detail string // empty if the record is applied
	}{
		"good":     {check, "good", ""},
		"bad":      {check, "bad", "job 1, a string: it is bad"},
		"panic":    {check, "panic", "oh"},
		"no queue": {nil, "good", "has no queue"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			m := versioningtest.NewMemory(versioning.Rules{Machine: machine, CheckJob: c.check})
			r := (&log{}).record(versioning.Change{Key: "k", Event: "placed", Data: c.job})
			m.Prepare(r)
			result, err := m.Apply(t.Context(), "", []*versioning.Record{r})
			if err != nil {
				t.Fatal(err)
			}
			o := result.Outcomes[0]
			want := versioning.Applied
			if c.detail != "" {
				want = versioning.Rejected
			}
			if o.Verdict != want || !strings.Contains(o.Detail, c.detail) || want == versioning.Rejected && o.Reason != versioning.ReasonInvalidOutput {
				t.Errorf("the outcome is %+v, want %v with %q", o, want, c.detail)
			}
		})
	}
}
