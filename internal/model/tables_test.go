package model_test

import (
	"encoding/json"
	"fmt"
	"slices"
	"strings"

	"pgregory.net/rapid"

	"github.com/pawl-go/pawl/statemachine"
	"github.com/pawl-go/pawl/versioning"
)

// A kind is a property of a table that can observe which steps reach it, and in
// which order. Its statements run after CREATE TABLE. $t is the table, $o the
// other table (or the same if there is only one), $code an SQLSTATE.
type kind struct {
	name string
	ddl  string

	unpartitioned bool // not possible with a partitioned table
	badValues     bool // messages contain values that are not of the column's type
}

// partitioned is a kind that changes CREATE TABLE itself.
const partitioned = "partitions"

var kinds = []kind{
	{name: "plain"},
	{name: partitioned},
	{name: "values that are not numbers", badValues: true},
	{name: "check", ddl: `ALTER TABLE $t ADD CHECK (x > 0)`},
	{name: "check of two columns", ddl: `ALTER TABLE $t ADD CHECK (x <= y)`},
	{name: "check of state", ddl: `ALTER TABLE $t ADD CHECK (state <> 'open' OR x > 0)`},
	{name: "check of version", ddl: `ALTER TABLE $t ADD CHECK (version % 3 <> 2 OR y > 1)`},
	{name: "domain", ddl: `ALTER TABLE $t ALTER x TYPE positive`},
	{name: "not null", ddl: `ALTER TABLE $t ALTER x SET NOT NULL`},
	{name: "not null with default", ddl: `ALTER TABLE $t ALTER x SET NOT NULL, ALTER x SET DEFAULT 1`},
	{name: "generated", ddl: `ALTER TABLE $t ADD g int GENERATED ALWAYS AS (12 / (x - 1)) STORED`},
	{name: "index of an expression", ddl: `CREATE INDEX ON $t ((12 / (x - 1)))`},
	{name: "unique", ddl: `ALTER TABLE $t ADD UNIQUE (x)`, unpartitioned: true},
	{name: "unique while open", ddl: `CREATE UNIQUE INDEX ON $t (x) WHERE state = 'open'`, unpartitioned: true},
	{name: "unique deferrable", ddl: `ALTER TABLE $t ADD UNIQUE (x) DEFERRABLE`, unpartitioned: true},
	{name: "unique deferred", ddl: `ALTER TABLE $t ADD UNIQUE (x) DEFERRABLE INITIALLY DEFERRED`, unpartitioned: true},
	{name: "unique with check", ddl: `ALTER TABLE $t ADD UNIQUE (x), ADD CHECK (y > 0)`, unpartitioned: true},
	{name: "unique generated", ddl: `ALTER TABLE $t ADD u int GENERATED ALWAYS AS (x % 5) STORED UNIQUE`, unpartitioned: true},
	{name: "unique by a trigger", unpartitioned: true, ddl: `
ALTER TABLE $t ADD UNIQUE (y);
CREATE TRIGGER sum_unique BEFORE INSERT OR UPDATE ON $t FOR EACH ROW EXECUTE FUNCTION add_x_to_y()`},
	{name: "exclusion", ddl: `ALTER TABLE $t ADD EXCLUDE USING gist (int4range(x, y) WITH &&)`, unpartitioned: true},
	{name: "foreign key to itself", ddl: `ALTER TABLE $t ADD FOREIGN KEY (parent) REFERENCES $t`},
	{name: "foreign key to itself deferred", ddl: `ALTER TABLE $t ADD FOREIGN KEY (parent) REFERENCES $t DEFERRABLE INITIALLY DEFERRED`},
	{name: "foreign key", ddl: `ALTER TABLE $t ADD FOREIGN KEY (parent) REFERENCES $o`},
	{name: "foreign key deferred", ddl: `ALTER TABLE $t ADD FOREIGN KEY (parent) REFERENCES $o DEFERRABLE INITIALLY DEFERRED`},
	{
		name: "foreign key to a value", unpartitioned: true,
		ddl: `ALTER TABLE $t ADD UNIQUE (x); ALTER TABLE $t ADD FOREIGN KEY (y) REFERENCES $t (x)`,
	},
	{
		name: "foreign key that cascades", unpartitioned: true,
		ddl: `ALTER TABLE $t ADD UNIQUE (x); ALTER TABLE $t ADD FOREIGN KEY (y) REFERENCES $t (x) ON UPDATE CASCADE`,
	},
	{name: "sum", ddl: `CREATE TRIGGER sum BEFORE INSERT OR UPDATE ON $t FOR EACH ROW EXECUTE FUNCTION add_x_to_y()`},
	{name: "sum of a column", ddl: `CREATE TRIGGER sum_column BEFORE INSERT OR UPDATE OF x ON $t FOR EACH ROW EXECUTE FUNCTION add_x_to_y()`},
	{name: "audit", ddl: `CREATE TRIGGER audit AFTER INSERT OR UPDATE ON $t FOR EACH ROW EXECUTE FUNCTION note()`},
	{name: "audit of a column", ddl: `CREATE TRIGGER audit_column AFTER UPDATE OF x ON $t FOR EACH ROW EXECUTE FUNCTION note()`},
	{
		name: "audit of states",
		ddl:  `CREATE TRIGGER audit_state AFTER UPDATE ON $t FOR EACH ROW WHEN (old.state <> new.state) EXECUTE FUNCTION note()`,
	},
	{name: "audit of statements", ddl: `
CREATE TRIGGER audit_insert AFTER INSERT ON $t REFERENCING NEW TABLE AS changed FOR EACH STATEMENT EXECUTE FUNCTION note_all();
CREATE TRIGGER audit_update AFTER UPDATE ON $t REFERENCING NEW TABLE AS changed FOR EACH STATEMENT EXECUTE FUNCTION note_all()`},
	{name: "raise before", ddl: `
CREATE TRIGGER raise_before BEFORE INSERT OR UPDATE ON $t FOR EACH ROW WHEN (new.x % 4 = 1) EXECUTE FUNCTION refuse('$code')`},
	{name: "raise after", ddl: `
CREATE TRIGGER raise_after AFTER INSERT OR UPDATE ON $t FOR EACH ROW WHEN (new.x % 4 = 1) EXECUTE FUNCTION refuse('$code')`},
	{name: "raise at commit", ddl: `
CREATE CONSTRAINT TRIGGER raise_late AFTER INSERT OR UPDATE ON $t DEFERRABLE INITIALLY DEFERRED
FOR EACH ROW WHEN (new.x % 4 = 1) EXECUTE FUNCTION refuse('$code')`},
}

// codes are SQLSTATEs that reject a row's data.
var codes = []string{"P0001", "ORD01", "45000", "22003", "23503", "23505", "23514", "38001", "44000"}

// functions are used by kinds or shared by all cases.
const functions = `
CREATE DOMAIN positive AS int CHECK (value > 0);
CREATE TABLE audit (n bigint GENERATED ALWAYS AS IDENTITY, name text, id text, op text, state text, version bigint, x int, y int, z text);
CREATE FUNCTION note() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN
	INSERT INTO audit (name, id, op, state, version, x, y, z)
	VALUES (tg_relid::regclass, new.id, tg_op, new.state, new.version, new.x, new.y, new.z);
	RETURN NULL; END $$;
CREATE FUNCTION note_all() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN
	INSERT INTO audit (name, id, op, state, version, x, y, z)
	SELECT tg_relid::regclass, id, tg_op, state, version, x, y, z FROM changed;
	RETURN NULL; END $$;
CREATE FUNCTION add_x_to_y() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN
	new.y := coalesce(new.x, 0) + CASE WHEN tg_op = 'UPDATE' THEN coalesce(old.y, 0) ELSE 0 END;
	RETURN new; END $$;
CREATE FUNCTION refuse() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN
	RAISE 'no' USING ERRCODE = tg_argv[0]; END $$`

// A scenario is tables and the messages for them.
type scenario struct {
	tables      []string // also the names of their machines
	ddl         string
	identity    versioning.Identity
	maxParked   int
	computes    []bool // by table: its machine computes
	messages    []message
	batches     []int // sizes, in messages
	connections int
}

// A message is one record. It may be a redelivery.
type message struct {
	offset  int64
	id      string
	changes []change
}

type change struct {
	table, key string
	event      statemachine.Event
	expected   versioning.Expected
	set        versioning.Columns
	request    *request // the data, if the machine computes
}

// thing is the definition of both tables' machines.
var thing = statemachine.Definition{
	Version: 1,
	Transitions: []statemachine.Transition{
		{Event: "make", To: "new"},
		{Event: "set", From: statemachine.In("new"), To: "new"},
		{Event: "set", From: statemachine.In("open"), To: "open"},
		{Event: "open", From: statemachine.In("new"), To: "open"},
		{Event: "back", From: statemachine.In("open"), To: "new"},
		{Event: "close", From: statemachine.In("open"), To: "closed"},
	},
	Terminal: statemachine.In("closed"),
}

var events = []statemachine.Event{"set", "make", "open", "close", "back"}

func machineOf(table string, computes bool) *statemachine.Machine {
	if computes {
		return computing(table)
	}
	d := thing
	d.Name = table
	return statemachine.MustCompile(d)
}

// scenarios draws tables and messages for them. The tables have the given
// kinds, at least the first table, or a few random kinds.
func scenarios(only ...kind) *rapid.Generator[scenario] {
	return rapid.Custom(func(t *rapid.T) scenario {
		s := scenario{tables: []string{"thing", "other"}[:rapid.IntRange(1, 2).Draw(t, "tables")]}
		if rapid.IntRange(0, 7).Draw(t, "identity") == 7 {
			s.identity = versioning.ByVersion
		}
		for range s.tables {
			s.computes = append(s.computes, rapid.Bool().Draw(t, "computes"))
		}
		s.maxParked = rapid.SampledFrom([]int{0, 0, 0, 1, 2}).Draw(t, "max parked")
		chosen := make([][]kind, len(s.tables))
		for i := range s.tables {
			chosen[i] = only
			if len(only) == 0 {
				few := rapid.SliceOfNDistinct(rapid.IntRange(0, len(kinds)-1), 0, 4, rapid.ID).Draw(t, "kinds")
				slices.Sort(few) // PostgreSQL cannot change the type of a column that something depends on
				for _, k := range few {
					chosen[i] = append(chosen[i], kinds[k])
				}
			}
		}
		s.ddl = s.createTables(t, chosen)
		s.connections = rapid.IntRange(1, 8).Draw(t, "connections")
		h := hand{
			tables: s.tables, keys: []string{"a", "b", "c", "d", "e", "f"}[:rapid.IntRange(1, 6).Draw(t, "entities")],
			versioned: s.identity == versioning.ByVersion,
			badValues: slices.ContainsFunc(slices.Concat(chosen...), func(k kind) bool { return k.badValues }),
			machine:   machineOf("thing", false), states: map[string]statemachine.State{}, versions: map[string]int64{},
		}
		borders := rapid.SampledFrom([]int{1, 3, 6}).Draw(t, "borders")
		s.batches = []int{0}
		least := rapid.SampledFrom([]int{1, 1, 10, 30}).Draw(t, "least") // rapid draws mostly short slices
		for i, d := range rapid.SliceOfN(drafts(), least, 60).Draw(t, "messages") {
			if d.border >= 10-borders && i > 0 {
				s.batches = append(s.batches, 0)
			}
			s.batches[len(s.batches)-1]++
			s.messages = append(s.messages, h.message(i, d, s.messages))
		}
		s.compute()
		return s
	})
}

// compute turns what changes of machines that compute would set into data. What they do not
// compute, they still set.
func (s scenario) compute() {
	for _, m := range s.messages {
		for i := range m.changes {
			c := &m.changes[i]
			if !s.computes[slices.Index(s.tables, c.table)] || c.request != nil {
				continue
			}
			data := c.data()
			c.request = &data
			parent, ok := c.set["parent"]
			c.set = versioning.Columns{}
			if ok {
				c.set["parent"] = parent
			}
		}
	}
}

func (s scenario) createTables(t *rapid.T, chosen [][]kind) string {
	var create, alter []string
	for i, name := range s.tables {
		in := slices.ContainsFunc(chosen[i], func(k kind) bool { return k.name == partitioned })
		head := "CREATE TABLE " + name + " (id text PRIMARY KEY, state text NOT NULL, version bigint NOT NULL, x int, y int, z text, parent text)"
		if in {
			head += " PARTITION BY HASH (id)"
		}
		create = append(create, head)
		for part := range 2 {
			if in {
				create = append(create, fmt.Sprintf("CREATE TABLE %[1]s_%[2]d PARTITION OF %[1]s FOR VALUES WITH (MODULUS 2, REMAINDER %[2]d)", name, part))
			}
		}
		for _, k := range chosen[i] {
			if k.ddl == "" || k.unpartitioned && in {
				continue
			}
			code := codes[0]
			if strings.Contains(k.ddl, "$code") {
				code = rapid.SampledFrom(codes).Draw(t, "code")
			}
			other := s.tables[len(s.tables)-1-i]
			alter = append(alter, strings.TrimSpace(strings.NewReplacer("$t", name, "$o", other, "$code", code).Replace(k.ddl)))
		}
	}
	return strings.Join(slices.Concat(create, alter), ";\n") + ";\n"
}

// A draft is the numbers that determine a message. Drafts are drawn first and
// independently, so that shrinking can remove one.
type draft struct {
	fault, again, border int
	changes              []changeDraft
}

type changeDraft struct {
	table, key, event, any, odd, expected, parent int

	columns [4]int
}

func drafts() *rapid.Generator[draft] {
	return rapid.Custom(func(t *rapid.T) draft {
		d := draft{
			fault:  rapid.IntRange(0, 19).Draw(t, "fault"),
			again:  rapid.IntRange(0, 59).Draw(t, "again"),
			border: rapid.IntRange(0, 9).Draw(t, "border"),
		}
		for range max(1, rapid.IntRange(0, 12).Draw(t, "changes")-9) {
			c := changeDraft{
				table: rapid.IntRange(0, 1).Draw(t, "table"), key: rapid.IntRange(0, 5).Draw(t, "key"),
				event: rapid.IntRange(0, 9).Draw(t, "event"), any: rapid.IntRange(0, len(events)-1).Draw(t, "any event"),
				odd: rapid.IntRange(0, 9).Draw(t, "odd version"), expected: rapid.IntRange(0, 5).Draw(t, "expected"),
				parent: rapid.IntRange(0, 5).Draw(t, "parent"),
			}
			for i := range c.columns {
				c.columns[i] = rapid.IntRange(0, 15).Draw(t, columns[i])
			}
			d.changes = append(d.changes, c)
		}
		return d
	})
}

var columns = [4]string{"x", "y", "z", "parent"}

// A hand turns drafts into messages. It tracks the entities' states, assuming
// that nothing is rejected, so that most messages are legal.
type hand struct {
	tables    []string
	keys      []string
	versioned bool
	badValues bool
	machine   *statemachine.Machine
	states    map[string]statemachine.State // by table and key
	versions  map[string]int64
}

func (h *hand) message(i int, d draft, before []message) message {
	m := message{offset: int64(i), id: fmt.Sprint("m", i)}
	switch {
	case d.fault == 19 && i > 0: // redelivered
		return before[d.again%i]
	case d.fault == 18 && i > 0: // sent twice
		m.id, m.changes = before[d.again%i].id, before[d.again%i].changes
		return m
	}
	for _, c := range d.changes {
		m.changes = append(m.changes, h.change(c))
	}
	return m
}

func (h *hand) change(d changeDraft) change {
	c := change{table: h.tables[d.table%len(h.tables)], key: h.keys[d.key%len(h.keys)]}
	name := c.table + "/" + c.key
	switch state := h.states[name]; {
	case d.event == 9:
		c.event = events[d.any]
	case state == statemachine.None:
		c.event = "make"
	case d.event < 6:
		c.event = "set"
	case state == "new":
		c.event = "open"
	case d.event < 8:
		c.event = "back"
	default:
		c.event = "close"
	}
	if h.versioned {
		c.expected = versioning.At(h.versions[name])
		if d.odd == 9 {
			c.expected = versioning.At(int64(d.expected))
		}
	}
	if to, ok := h.machine.Fire(h.states[name], c.event); ok {
		h.states[name] = to
		h.versions[name]++
	}
	c.set = h.columns(d)
	return c
}

func (h *hand) columns(d changeDraft) versioning.Columns {
	set := versioning.Columns{}
	for i, column := range columns {
		switch n := d.columns[i]; {
		case n < 4: // shrinks to setting nothing
		case column == "parent":
			set[column] = h.keys[d.parent%len(h.keys)]
		case n == 15:
			set[column] = nil
		case n == 14 && column == "x" && h.badValues:
			set[column] = "badValues"
		case column == "z":
			set[column] = string(rune('a' - 4 + n))
		default:
			set[column] = n - 6
		}
	}
	return set
}

// GoString is what a failing test prints.
func (s scenario) GoString() string {
	var b strings.Builder
	fmt.Fprintf(&b, "\n%sidentity %s, %d may be parked, %d connections, computes %v\n", s.ddl, s.identity, s.maxParked, s.connections, s.computes)
	next := 0
	for _, size := range s.batches {
		b.WriteString("batch:\n")
		for i, m := range s.messages[next : next+size] {
			fmt.Fprintf(&b, "  #%d: %s\n", next+i, m)
		}
		next += size
	}
	return b.String()
}

func (m message) String() string {
	var b strings.Builder
	fmt.Fprintf(&b, "@%d %s", m.offset, m.id)
	for _, c := range m.changes {
		fmt.Fprintf(&b, "; %s/%s %s", c.table, c.key, c.event)
		if v, ok := c.expected.Version(); ok {
			fmt.Fprintf(&b, " at %d", v)
		}
		for _, column := range columns {
			if value, ok := c.set[column]; ok {
				fmt.Fprintf(&b, " %s=%v", column, value)
			}
		}
		if c.request != nil {
			data, _ := json.Marshal(c.request)
			fmt.Fprintf(&b, " data=%s", data)
		}
	}
	return b.String()
}

// record converts a message to a new record for the store.
func (m message) record() *versioning.Record {
	r := &versioning.Record{Origin: versioning.Origin{Topic: "t", TopicID: [16]byte{1}, Offset: m.offset}}
	for _, c := range m.changes {
		change := versioning.Change{
			Machine: c.table, Key: c.key, Event: c.event, MessageID: m.id, Expected: c.expected, Set: c.set,
		}
		if c.request != nil {
			data := *c.request
			data.Path = slices.Clone(data.Path)
			change.Data = data
		}
		r.Changes = append(r.Changes, change)
	}
	return r
}
