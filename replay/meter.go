package replay

import "time"

// showEvery is the time between two calls of Config.Progress.
const showEvery = 200 * time.Millisecond

// A meter tells how far a replay is.
type meter struct {
	progress func(Progress)
	began    time.Time
	before   int64 // offsets that were read before
	shown    time.Time
}

func newMeter(ranges []Range, progress func(Progress)) *meter {
	done, _ := progressOf(ranges)
	return &meter{progress: progress, began: time.Now(), before: done}
}

func progressOf(ranges []Range) (done, total int64) {
	for _, r := range ranges {
		done += r.Next - r.First
		total += r.End - r.First
	}
	return done, total
}

// show calls the function, unless it was called just now.
func (m *meter) show(ranges []Range) {
	done, total := progressOf(ranges)
	if m.progress == nil || time.Since(m.shown) < showEvery && done < total {
		return
	}
	m.shown = time.Now()
	p := Progress{Step: "read", Done: done, Total: total}
	if took := time.Since(m.began).Seconds(); took > 0 {
		p.PerSecond = float64(done-m.before) / took
	}
	if p.PerSecond > 0 {
		p.Left = time.Duration(float64(total-done) / p.PerSecond * float64(time.Second))
	}
	m.progress(p)
}
