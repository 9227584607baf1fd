package replay

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strconv"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/pawl-go/pawl/migrations"
	"github.com/pawl-go/pawl/migrations/migrate"
	"github.com/pawl-go/pawl/versioning/postgres"
)

// A shadow is a schema with every entity made anew from the topics. Its tables are unlogged:
// they cost no WAL, and are empty after a crash of the server, with the state of the replay.
type shadow struct {
	cfg    *Config
	pool   *pgxpool.Pool // whose transactions do not wait for the WAL
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
	config.MaxConns = max(config.MaxConns, int32(c.Connections)+1) //nolint:gosec // it was validated
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
		pool.Close()
		return nil, nil, err
	}
	return h, s, nil
}

func (h *shadow) begin(ctx context.Context, kind string) (*state, error) {
	rehearsal, err := postgres.OpenRehearsal(ctx, h.pool, h.cfg.Schema, h.cfg.Tables...) // it checks the live tables and writes nothing
	if err != nil {
		return nil, fmt.Errorf("verify: %w", err)
	}
	s, err := h.load(ctx)
	if err != nil {
		return nil, err
	}
	if s != nil {
		if err := s.isOf(h.cfg, kindVerify); err != nil {
			return nil, fmt.Errorf("schema %s: %w", h.name, err)
		}
	} else {
		if s, err = h.cfg.newState(ctx, kindVerify); err != nil {
			return nil, err
		}
		s.Report.Caveats = append(s.Report.Caveats, h.sample(ctx, s.Report.Ranges)...)
		if err := h.create(ctx, rehearsal); err != nil {
			return nil, err
		}
		if err := h.note(ctx, s.Report.Ranges); err != nil {
			return nil, err
		}
		if err := h.save(ctx, s); err != nil {
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
		tables[i].ParkFor = -1
		tables[i].MaxParked = cmp.Or(tables[i].MaxParked, postgres.DefaultMaxParked) + given
	}
	return tables
}

func copyName(i int) string { return "entities_" + strconv.Itoa(i) }

// create makes the schema. If there is one that another replay has left, it drops that.
func (h *shadow) create(ctx context.Context, live interface {
	Layout(machine string) (postgres.Layout, bool)
},
) error {
	if err := h.drop(ctx); err != nil {
		return err
	}
	if err := migrate.UpIn(ctx, h.pool.Config().ConnString(), migrations.Schema(h.cfg.Shadow)); err != nil {
		return fmt.Errorf("%w: create the framework's tables in it: %w", ErrShadow, err)
	}
	statements := []string{
		"CREATE UNLOGGED TABLE " + h.name + ".replay (one boolean PRIMARY KEY DEFAULT true, state jsonb NOT NULL)",
		"CREATE UNLOGGED TABLE " + h.name + `.ranges (topic_id uuid, partition integer, first bigint, last bigint)`,
		"CREATE UNLOGGED TABLE " + h.name + ".given (machine text, entity text, version bigint, timer boolean, PRIMARY KEY (machine, entity, version))",
		"CREATE UNLOGGED TABLE " + h.name + ".cut (machine text, entity text, version bigint, PRIMARY KEY (machine, entity))",
		"CREATE UNLOGGED TABLE " + h.name + ".found (machine text, entity text, path bigint, columns text[], missing boolean, extra boolean, state boolean, version boolean, PRIMARY KEY (machine, entity))",
	}
	for _, name := range []string{"transitions", "parked", "dead_letters", "timers", "rearmed"} {
		statements = append(statements, fmt.Sprintf("ALTER TABLE %s.%s SET UNLOGGED", h.name, name))
	}
	for i, t := range h.cfg.Tables {
		of, _ := live.Layout(t.Machine.Name())
		statements = append(statements, fmt.Sprintf("CREATE UNLOGGED TABLE %s.%s (LIKE %s INCLUDING ALL)", h.name, copyName(i), of.Table))
	}
	for _, sql := range statements {
		if _, err := h.pool.Exec(ctx, sql); err != nil {
			return fmt.Errorf("%w: %s: %w", ErrShadow, sql, err)
		}
	}
	return nil
}

// ours is the comment of the schema. Nothing is dropped without it.
const ours = "made by a replay of Pawl, which may drop it"

// drop drops what another replay has left, and creates an empty schema.
func (h *shadow) drop(ctx context.Context) error {
	var comment *string
	err := h.pool.QueryRow(ctx, "SELECT obj_description(oid, 'pg_namespace') FROM pg_namespace WHERE nspname = $1", h.cfg.Shadow).Scan(&comment)
	switch {
	case err == nil && (comment == nil || *comment != ours):
		return fmt.Errorf("%w: %s exists, and no replay has made it; name another one", ErrShadow, h.name)
	case err != nil && !errors.Is(err, pgx.ErrNoRows):
		return fmt.Errorf("look at schema %s: %w", h.name, err)
	}
	// One message is one transaction.
	if _, err := h.pool.Exec(ctx, fmt.Sprintf("DROP SCHEMA IF EXISTS %s CASCADE; CREATE SCHEMA %[1]s; COMMENT ON SCHEMA %[1]s IS %s", h.name, literal(ours))); err != nil {
		return fmt.Errorf("%w: create it: %w", ErrShadow, err)
	}
	return nil
}

// load implements keeper.
func (h *shadow) load(ctx context.Context) (*state, error) {
	var exists bool
	if err := h.pool.QueryRow(ctx, "SELECT to_regclass($1) IS NOT NULL", h.name+".replay").Scan(&exists); err != nil || !exists {
		return nil, err //nolint:nilnil // there is none
	}
	var text []byte
	err := h.pool.QueryRow(ctx, "SELECT state FROM "+h.name+".replay").Scan(&text)
	if errors.Is(err, pgx.ErrNoRows) { // the server has crashed
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

// save implements keeper.
func (h *shadow) save(ctx context.Context, s *state) error {
	text, err := json.Marshal(s)
	if err == nil {
		_, err = h.pool.Exec(ctx, "INSERT INTO "+h.name+".replay (state) VALUES ($1) ON CONFLICT (one) DO UPDATE SET state = excluded.state", text)
	}
	if err != nil {
		return fmt.Errorf("keep the state of the replay: %w", err)
	}
	return nil
}

// close ends the replay. It drops the schema if it is of no more use.
func (h *shadow) close(ctx context.Context, finished bool) (err error) {
	if finished && !h.cfg.Keep {
		if _, err = h.pool.Exec(ctx, "DROP SCHEMA "+h.name+" CASCADE"); err != nil {
			err = fmt.Errorf("drop schema %s: %w", h.name, err)
		}
	}
	h.pool.Close()
	return err
}
