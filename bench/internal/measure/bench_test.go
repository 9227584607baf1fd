package measure

import (
	"errors"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/pawl-go/pawl/bench/internal/contend"
)

func TestByTurns(t *testing.T) {
	b := &bench{Options: Options{Rounds: 3, Contenders: []string{"c", "a", "b"}}}
	var turns []string
	err := b.byTurns([]string{"a", "x", "b", "c"}, func(_ int, contender string) error {
		turns = append(turns, contender)
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff("abc bca cab", strings.Join([]string{
		strings.Join(turns[:3], ""), strings.Join(turns[3:6], ""), strings.Join(turns[6:], ""),
	}, " ")); diff != "" {
		t.Errorf("turns (-want, +got):\n%s", diff)
	}
}

func TestByTurnsStopsOnError(t *testing.T) {
	b := &bench{Options: Options{Rounds: 3}}
	broken := errors.New("broken")
	turns := 0
	err := b.byTurns([]string{"a", "b"}, func(int, string) error { turns++; return broken })
	if !errors.Is(err, broken) || turns != 1 {
		t.Errorf("%d turns and error %v", turns, err)
	}
}

func TestCheck(t *testing.T) {
	boxed := contend.Job{Contender: contend.HandSharded, Box: full.box}
	for _, test := range []struct {
		name           string
		job            contend.Job
		settled, steps int
		fresh, ok      bool
	}{
		{"all settled", contend.Job{Contender: contend.Pawl}, 100, 100, true, true},
		{"too few steps", contend.Job{Contender: contend.Pawl}, 100, 99, true, false},
		{"too many steps", contend.Job{Contender: contend.Pawl}, 100, 101, true, false},
		{"interrupted during transactions", boxed, 100, 100 + contend.Partitions, true, true},
		{"fewer steps than reported", boxed, 100, 99, true, false},
		{"duplicates", contend.Job{Contender: contend.Pawl}, 100, 0, false, true},
		{"duplicates applied", contend.Job{Contender: contend.Pawl}, 100, 1, false, false},
		{"a contender that only reads", contend.Job{Contender: contend.ConsumeOnly}, 100, 0, true, true},
	} {
		err := check(test.job, contend.Result{Records: test.settled}, test.steps, test.fresh)
		if (err == nil) != test.ok {
			t.Errorf("%s: %v", test.name, err)
		}
	}
}

func TestFollow(t *testing.T) {
	var result contend.Result
	ready := 0
	told := `{"ready":true}` + "\n" + `{"result":{"Records":7,"Seconds":2}}` + "\n"
	if err := follow(strings.NewReader(told), func() error { ready++; return nil }, &result); err != nil {
		t.Fatal(err)
	}
	if ready != 1 || result.Rate() != 3.5 {
		t.Errorf("ready %d times, rate %v, want once and 3.5", ready, result.Rate())
	}
	if err := follow(strings.NewReader("panic: "), nil, &result); err == nil {
		t.Error("follow accepted a line that is not JSON")
	}
}

func TestChooseUnknownWorkload(t *testing.T) {
	if chosen, err := choose(nil); err != nil || len(chosen) != len(workloads) {
		t.Errorf("%d workloads, %v", len(chosen), err)
	}
	if _, err := choose([]string{"new-order"}); err == nil || !strings.Contains(err.Error(), "new-orders, bank-log") {
		t.Errorf("error %v does not list the workloads", err)
	}
}
