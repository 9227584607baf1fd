package replay

import "time"

// showEvery is the time between two calls of Config.Progress.
const showEvery = 200 * time.Millisecond

// A meter tells how far a step of a replay is.
type meter struct {
	progress func(Progress) // may be nil
	step     string
	began    time.Time
	before   int64 // done in another process
	shown    time.Time
}

func (c *Config) newMeter(step string, before int64) *meter {
	return &meter{progress: c.Progress, step: step, began: time.Now(), before: before}
}

func progressOf(ranges []Range) (done, total int64) {
	for _, r := range ranges {
		done += r.Next - r.First
		total += r.End - r.First
	}
	return done, total
}

// show calls the function, unless it was called just now.
func (m *meter) show(done, total int64) {
	if m.progress == nil || time.Since(m.shown) < showEvery && done < total {
		return
	}
	m.shown = time.Now()
	p := Progress{Step: m.step, Done: done, Total: total}
	if took := time.Since(m.began).Seconds(); took > 0 {
		p.PerSecond = float64(done-m.before) / took
	}
	if p.PerSecond > 0 {
		p.Left = time.Duration(float64(total-done) / p.PerSecond * float64(time.Second))
	}
	m.progress(p)
}
