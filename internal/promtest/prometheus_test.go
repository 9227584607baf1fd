package promtest

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"maps"
	"math"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/prometheus/common/model"
	"github.com/prometheus/prometheus/model/labels"
	"github.com/prometheus/prometheus/model/rulefmt"
	"github.com/prometheus/prometheus/model/textparse"
	"github.com/prometheus/prometheus/model/value"
	"github.com/prometheus/prometheus/promql"
	"github.com/prometheus/prometheus/promql/parser"
	"github.com/prometheus/prometheus/storage"
	"github.com/prometheus/prometheus/tsdb"
)

// hurry is how many times faster the clock of the tests runs. Ages, which the worker measures by its
// own clock, are multiplied by it when they are scraped. So an alert that needs five minutes
// needs five seconds.
const hurry = 60

// scrapeEvery is how often the worker is scraped, which is every 15 seconds by the tests' clock.
const scrapeEvery = 250 * time.Millisecond

// A target is a process that is scraped.
type target struct{ job, url string }

// A server is a small Prometheus: it scrapes processes and evaluates alerts.
type server struct {
	targets []target
	db      *tsdb.DB
	engine  *promql.Engine
	parser  parser.Parser
	alerts  []rulefmt.Rule
	began   time.Time

	mu     sync.Mutex
	seen   map[string]labels.Labels // the series of the last scrape
	types  map[string]model.MetricType
	active map[string]map[uint64]time.Time // by alert and labels: since when
	firing map[string]bool
	failed error // of the last scrape
}

func startServer(t *testing.T, targets ...target) *server {
	t.Helper()
	db, err := tsdb.Open(t.TempDir(), nil, nil, tsdb.DefaultOptions(), nil)
	if err != nil {
		t.Fatal(err)
	}
	s := &server{
		targets: targets, db: db, parser: parser.NewParser(parser.Options{}), began: time.Now(),
		seen: make(map[string]labels.Labels), types: make(map[string]model.MetricType), active: make(map[string]map[uint64]time.Time), firing: make(map[string]bool),
	}
	s.engine = promql.NewEngine(promql.EngineOpts{
		MaxSamples: 50_000_000, Timeout: time.Minute, LookbackDelta: 5 * time.Minute, Parser: s.parser, EnableAtModifier: true, EnableNegativeOffset: true,
	})
	groups, errs := rulefmt.ParseFile("../../otel/alerts/pawl.yaml", false, model.UTF8Validation, s.parser, slog.New(slog.DiscardHandler))
	if err := errors.Join(errs...); err != nil {
		t.Fatal(err)
	}
	for _, g := range groups.Groups {
		s.alerts = append(s.alerts, g.Rules...)
	}
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		s.run(ctx)
	}()
	t.Cleanup(func() {
		cancel()
		<-ended
		if err := db.Close(); err != nil {
			t.Error(err)
		}
	})
	return s
}

// now returns the time by the tests' clock.
func (s *server) now() time.Time { return s.began.Add(time.Since(s.began) * hurry) }

func (s *server) run(ctx context.Context) {
	ticker := time.NewTicker(scrapeEvery)
	defer ticker.Stop()
	for {
		now := s.now()
		err := s.scrape(ctx, now)
		if err == nil {
			err = s.evaluate(ctx, now)
		}
		s.mu.Lock()
		s.failed = err
		s.mu.Unlock()
		select {
		case <-ticker.C:
		case <-ctx.Done():
			return
		}
	}
}

// scrape stores the metrics of all targets. A series that has ended gets a stale marker.
func (s *server) scrape(ctx context.Context, now time.Time) error {
	app := s.db.Appender(ctx)
	at := now.UnixMilli()
	before := s.seen
	s.seen = make(map[string]labels.Labels)
	for _, target := range s.targets {
		text, err := get(ctx, target.url)
		if err == nil {
			err = s.store(app, at, target.job, text)
		}
		if err != nil {
			return errors.Join(fmt.Errorf("%s: %w", target.job, err), app.Rollback())
		}
	}
	for name, l := range before {
		if _, still := s.seen[name]; still {
			continue
		}
		if _, err := app.Append(0, l, at, math.Float64frombits(value.StaleNaN)); err != nil {
			return errors.Join(err, app.Rollback())
		}
	}
	return app.Commit()
}

func get(ctx context.Context, url string) ([]byte, error) {
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
	if err != nil {
		return nil, err
	}
	response, err := http.DefaultClient.Do(request)
	if err != nil {
		return nil, err
	}
	text, err := io.ReadAll(response.Body)
	return text, errors.Join(err, response.Body.Close())
}

// store stores the metrics of a target, as of a time in milliseconds.
func (s *server) store(app storage.Appender, at int64, job string, text []byte) error {
	p := textparse.NewPromParser(text, labels.NewSymbolTable(), false)
	for {
		entry, err := p.Next()
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return err
		}
		if entry == textparse.EntryType {
			name, kind := p.Type()
			s.types[string(name)] = kind
		}
		if entry != textparse.EntrySeries {
			continue
		}
		var l labels.Labels
		p.Labels(&l)
		_, _, v := p.Series()
		if name := l.Get(model.MetricNameLabel); s.types[name] == model.MetricTypeGauge && strings.HasSuffix(name, "_seconds") {
			v *= hurry
		}
		b := labels.NewBuilder(l)
		b.Set("job", job).Set("instance", "worker")
		l = b.Labels()
		if _, err := app.Append(0, l, at, v); err != nil {
			return fmt.Errorf("%v: %w", l, err)
		}
		s.seen[l.String()] = l
	}
}

// evaluate finds out which alerts fire.
func (s *server) evaluate(ctx context.Context, now time.Time) error {
	firing := make(map[string]bool)
	for _, a := range s.alerts {
		q, err := s.engine.NewInstantQuery(ctx, s.db, nil, a.Expr, now)
		if err != nil {
			return fmt.Errorf("%s: %w", a.Alert, err)
		}
		vector, err := q.Exec(ctx).Vector()
		if err != nil {
			return fmt.Errorf("%s: %w", a.Alert, err)
		}
		before := s.active[a.Alert]
		s.active[a.Alert] = make(map[uint64]time.Time)
		for _, sample := range vector {
			id := sample.Metric.Hash()
			since, ok := before[id]
			if !ok {
				since = now
			}
			s.active[a.Alert][id] = since
			if now.Sub(since) >= time.Duration(a.For) {
				firing[a.Alert] = true
			}
		}
		q.Close()
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.firing = firing
	return nil
}

// state returns which alerts fire now.
func (s *server) state() (firing map[string]bool, err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return maps.Clone(s.firing), s.failed
}

// await waits until an alert fires, or no longer does.
func (s *server) await(t *testing.T, alert string, want bool) {
	t.Helper()
	began := time.Now()
	for time.Since(began) < 2*time.Minute {
		firing, err := s.state()
		if firing[alert] == want {
			t.Logf("%s: firing %t after %v", alert, want, time.Since(began).Round(time.Millisecond))
			return
		}
		if err != nil {
			t.Logf("scrape: %v", err)
		}
		<-time.After(scrapeEvery)
	}
	t.Errorf("%s: firing is not %t after two minutes", alert, want)
}

// samples returns how many samples a query has had since the server began.
func (s *server) samples(ctx context.Context, expr string) (n int, err error) {
	q, err := s.engine.NewRangeQuery(ctx, s.db, nil, expr, s.began, s.now(), time.Minute)
	if err != nil {
		return 0, err
	}
	defer q.Close()
	matrix, err := q.Exec(ctx).Matrix()
	if err != nil {
		return 0, err
	}
	for _, series := range matrix {
		for _, f := range series.Floats {
			if !math.IsNaN(f.F) {
				n++
			}
		}
	}
	return n, nil
}
