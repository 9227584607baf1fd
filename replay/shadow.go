package replay

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"hash/fnv"
	"slices"
	"strconv"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/pawl-go/pawl/migrations"
	"github.com/pawl-go/pawl/versioning/postgres"
)

// A shadow is a schema with every entity made anew from the topics. Its tables are unlogged:
// they cost no WAL, and are empty after a crash of the server, with the state of the replay.
type shadow struct {
	cfg    *Config
	pool   *pgxpool.Pool // whose transactions do not wait for the WAL
	holder *pgxpool.Conn // holds the lock
	id     string        // of the state
	name   string        // the schema, quoted
	live   string        // the framework's schema of the entities, quoted
	layout map[string]layouts
	store  *postgres.Store
}

// layouts are those of a machine's live table and of its copy.
type layouts struct {
	live postgres.Layout
	copy postgres.Layout
}

// ErrShadow says that the shadow schema can't be used.
var ErrShadow = errors.New("the shadow schema can't be used")

// openShadow returns the shadow and the state in it. If there is none, or it is of no use, it
// makes a new one.
func (c *Config) openShadow(ctx context.Context, kind string) (*shadow, *state, error) {
	config := c.Pool.Config()
	config.ConnConfig.RuntimeParams["synchronous_commit"] = "off"
	config.ConnConfig.RuntimeParams["jit"] = "off" // compiling takes longer than it saves
	config.MaxConns = max(config.MaxConns, int32(c.Connections)+2)
	pool, err := pgxpool.NewWithConfig(ctx, config)
	if err != nil {
		return nil, nil, fmt.Errorf("connect to PostgreSQL: %w", err)
	}
	h := &shadow{
		cfg: c, pool: pool, name: pgx.Identifier{c.Shadow}.Sanitize(), live: migrations.Schema(c.Schema).Quoted(),
		layout: make(map[string]layouts),
	}
	s, err := h.begin(ctx, kind)
	if err != nil {
		h.release(context.WithoutCancel(ctx))
		return nil, nil, err
	}
	return h, s, nil
}

func (h *shadow) begin(ctx context.Context, kind string) (*state, error) {
	rehearsal, err := postgres.OpenRehearsal(ctx, h.pool, h.cfg.Schema, h.cfg.Tables...) // it checks the live tables and writes nothing
	if err != nil {
		return nil, fmt.Errorf("verify: %w", err)
	}
	if err := h.lock(ctx); err != nil {
		return nil, err
	}
	s, err := h.load(ctx)
	if err != nil {
		return nil, err
	}
	if s != nil {
		if err := s.isOf(h.cfg, kindVerify); err != nil {
			return nil, fmt.Errorf("schema %s: %w", h.name, err)
		}
		h.id = s.ID
	} else {
		if s, err = h.cfg.newState(ctx, kindVerify); err != nil {
			return nil, err
		}
		s.Report.Caveats = append(s.Report.Caveats, h.sample(ctx, s.Report.Ranges)...)
		if err := h.create(ctx, rehearsal); err != nil {
			return nil, err
		}
		if err := h.note(ctx); err != nil {
			return nil, err
		}
		if err := h.start(ctx, s); err != nil {
			return nil, err
		}
	}
	given, err := h.mostGiven(ctx)
	if err != nil {
		return nil, err
	}
	if h.store, err = postgres.OpenIn(ctx, h.pool, h.cfg.Shadow, h.tables(given)...); err != nil {
		return nil, fmt.Errorf("%s: %w", kind, err)
	}
	for _, t := range h.cfg.Tables {
		name := t.Machine.Name()
		live, _ := rehearsal.Layout(name)
		of, _ := h.store.Layout(name)
		h.layout[name] = layouts{live, of}
	}
	return s, nil
}

// tables returns the tables of the copies, of which each may have some given steps parked.
func (h *shadow) tables(given int) []postgres.Table {
	tables := slices.Clone(h.cfg.Tables)
	for i := range tables {
		tables[i].Name = h.cfg.Shadow + "." + copyName(i)
		tables[i].Silent, tables[i].Unlogged = true, true
		tables[i].ParkFor, tables[i].KeepUnknown = -1, 0
		tables[i].MaxParked = cmp.Or(tables[i].MaxParked, postgres.DefaultMaxParked) + given
	}
	return tables
}

func copyName(i int) string { return "entities_" + strconv.Itoa(i) }

// load implements keeper. A crash of the server empties the shadow, and the state with it.
func (h *shadow) load(ctx context.Context) (*state, error) {
	var ours bool
	err := h.pool.QueryRow(ctx, "SELECT coalesce(obj_description(to_regclass($1), 'pg_class') = $2, false)", h.name+".replay", mark).Scan(&ours)
	if err != nil {
		return nil, fmt.Errorf("look at schema %s: %w", h.name, err)
	}
	if !ours {
		return nil, nil //nolint:nilnil // there is none
	}
	var text []byte
	err = h.pool.QueryRow(ctx, "SELECT state FROM "+h.name+".replay").Scan(&text)
	if errors.Is(err, pgx.ErrNoRows) {
		return nil, nil //nolint:nilnil // there is none
	}
	s := &state{}
	if err == nil {
		err = json.Unmarshal(text, s)
	}
	if err != nil {
		return nil, fmt.Errorf("read the state of the replay: %w", err)
	}
	return s, nil
}

// errEmptied says that the server has crashed, which empties unlogged tables, or that a standby
// was promoted, which never had their rows.
var errEmptied = errors.New("the server was restarted after a crash, so the shadow is empty")

// start writes the first state.
func (h *shadow) start(ctx context.Context, s *state) error {
	h.id = s.ID
	return h.write(ctx, s, "INSERT INTO "+h.name+".replay (state) SELECT $1 WHERE $2::text IS NOT NULL")
}

// save implements keeper.
func (h *shadow) save(ctx context.Context, s *state) error {
	return h.write(ctx, s, "UPDATE "+h.name+".replay SET state = $1 WHERE state->>'id' = $2")
}

func (h *shadow) write(ctx context.Context, s *state, sql string) error {
	text, err := json.Marshal(s)
	if err != nil {
		return fmt.Errorf("encode the state of the replay: %w", err)
	}
	tag, err := h.pool.Exec(ctx, sql, text, h.id)
	switch {
	case err != nil:
		return fmt.Errorf("keep the state of the replay: %w", err)
	case tag.RowsAffected() == 0:
		return errEmptied
	}
	return nil
}

// isWhole returns errEmptied if the shadow is empty in a transaction.
func (h *shadow) isWhole(ctx context.Context, tx pgx.Tx) error {
	var whole bool
	if err := tx.QueryRow(ctx, "SELECT EXISTS (SELECT FROM "+h.name+".replay WHERE state->>'id' = $1)", h.id).Scan(&whole); err != nil {
		return fmt.Errorf("read the state of the replay: %w", err)
	}
	if !whole {
		return errEmptied
	}
	return nil
}

// lockPatience is how long a replay waits for the lock of another one. PostgreSQL takes a moment to
// notice that the process of that one has ended.
const lockPatience = 3 * time.Second

// lock makes sure that no other replay uses the shadow meanwhile. The lock ends with its
// connection.
func (h *shadow) lock(ctx context.Context) error {
	var err error
	if h.holder, err = h.pool.Acquire(ctx); err != nil {
		return fmt.Errorf("connect to PostgreSQL: %w", err)
	}
	key := fnv.New64a()
	_, _ = key.Write([]byte("pawl: the replay in schema " + h.cfg.Shadow)) // never fails
	began, tick := time.Now(), time.Tick(100*time.Millisecond)
	for {
		var free bool
		if err := h.holder.QueryRow(ctx, "SELECT pg_try_advisory_lock($1)", int64(key.Sum64())).Scan(&free); err != nil {
			return fmt.Errorf("lock the shadow: %w", err)
		}
		switch {
		case free:
			return nil
		case time.Since(began) > lockPatience:
			return fmt.Errorf("%w: another replay is using %s; wait for it, or name another schema", ErrShadow, h.name)
		}
		<-tick
	}
}

// close ends the replay. It drops the schema if it is of no more use.
func (h *shadow) close(ctx context.Context, finished bool) (err error) {
	if finished && !h.cfg.Keep {
		if _, err = h.pool.Exec(ctx, "DROP SCHEMA "+h.name+" CASCADE"); err != nil {
			err = fmt.Errorf("drop schema %s: %w", h.name, err)
		}
	}
	h.release(ctx)
	return err
}

// release closes the connections, and so gives the lock up.
func (h *shadow) release(ctx context.Context) {
	if h.holder != nil {
		_ = h.holder.Hijack().Close(ctx)
	}
	h.pool.Close()
}
