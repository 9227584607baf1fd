package jobs

import (
	"reflect"
	"testing"
	"time"

	"github.com/riverqueue/river/riverdriver"
	"github.com/riverqueue/river/rivertype"
)

// TestOnly checks that all fields that River has for each job are picked. If a version of River has
// a new one, function only must know it.
func TestOnly(t *testing.T) {
	t.Parallel()
	first, second := 1, 2
	early, late := time.Unix(1, 0), time.Unix(2, 0)
	all := &riverdriver.JobSetStateIfRunningManyParams{
		ID: []int64{1, 2}, Attempt: []*int{&first, &second}, ErrData: [][]byte{{1}, {2}}, FinalizedAt: []*time.Time{&early, &late},
		MetadataDoMerge: []bool{false, true}, MetadataUpdates: [][]byte{{1}, {2}}, Now: &late, ScheduledAt: []*time.Time{&early, &late},
		Schema: "s", State: []rivertype.JobState{rivertype.JobStateCompleted, rivertype.JobStateRetryable},
	}
	if got := only(all, []int{0, 1}); got != all {
		t.Error("the params of all jobs are copied")
	}
	got, want := reflect.ValueOf(*only(all, []int{1})), reflect.ValueOf(*all)
	for i := range want.NumField() {
		name, got, want := want.Type().Field(i).Name, got.Field(i), want.Field(i)
		if want.IsZero() {
			t.Errorf("River has a new field %s", name)
			continue
		}
		if want.Kind() == reflect.Slice {
			want = want.Slice(1, 2)
		}
		if !reflect.DeepEqual(got.Interface(), want.Interface()) {
			t.Errorf("%s is %v, want %v", name, got, want)
		}
	}
}
