package postgres_test

import (
	"context"
	"errors"
	"go/parser"
	"go/token"
	"maps"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/pawl-go/pawl/versioning"
	"github.com/pawl-go/pawl/versioning/postgres"
)

var (
	grantLine = regexp.MustCompile(`(?m)^\t?GRANT ([A-Z, ]+) ON ((?:SCHEMA |SEQUENCE )?[a-z0-7_., ]+) TO worker;$`)
	separator = regexp.MustCompile(`, | and `)
	lacks     = regexp.MustCompile(`^role .* lacks ([A-Z, ]+); GRANT it$`)
)

// rights are the privileges on tables and schemas, sorted, by what they are on.
type rights map[string][]string

func (r rights) add(on, privileges string) {
	r[on] = append(r[on], separator.Split(privileges, -1)...)
	slices.Sort(r[on])
}

// granted returns the rights that the GRANT statements of a text give to a worker.
func granted(text string) rights {
	all := make(rights)
	for _, g := range grantLine.FindAllStringSubmatch(text, -1) {
		for _, on := range separator.Split(g[2], -1) {
			all.add(on, g[1])
		}
	}
	return all
}

// security returns the text of SECURITY.md.
func security(t *testing.T) string {
	t.Helper()
	text, err := os.ReadFile("../../SECURITY.md")
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}

// docs returns the comment of the package.
func docs(t *testing.T) (pkg string) {
	t.Helper()
	files, err := filepath.Glob("*.go")
	if err != nil {
		t.Fatal(err)
	}
	for _, path := range files {
		if strings.HasSuffix(path, "_test.go") {
			continue
		}
		file, err := parser.ParseFile(token.NewFileSet(), path, nil, parser.ParseComments|parser.SkipObjectResolution)
		if err != nil {
			t.Fatal(err)
		}
		pkg += file.Doc.Text()
	}
	return pkg
}

// missing returns the rights that an error of Open says are missing.
func missing(err error) rights {
	all := make(rights)
	var walk func(error)
	walk = func(err error) {
		switch e := err.(type) { //nolint:errorlint // the tree is walked by hand
		case *postgres.TableError:
			if m := lacks.FindStringSubmatch(e.Problem); m != nil {
				all.add(e.Table, m[1])
			}
		case interface{ Unwrap() []error }:
			for _, one := range e.Unwrap() {
				walk(one)
			}
		default:
			if inner := errors.Unwrap(err); inner != nil {
				walk(inner)
			}
		}
	}
	walk(err)
	return all
}

// rightsOfMessages returns the rights that a worker needs besides if its transitions emit
// messages: what Open asks for, what the relay asks for, and one to send messages again.
func rightsOfMessages(t *testing.T) rights {
	t.Helper()
	pool, _ := openNotes(t, postgres.Table{})
	restricted, role := asRole(t, pool)
	for _, grant := range grantLine.FindAllString(security(t), -1) {
		if !strings.Contains(grant, "outbox") && !strings.Contains(grant, "unsent") {
			mustExec(t, pool, replaceWorker(strings.ReplaceAll(grant, " ON orders", " ON thing"), role))
		}
	}
	table := postgres.Table{Machine: noting, Name: "thing"}
	_, err := postgres.Open(t.Context(), restricted, table)
	all := missing(err)
	all["SEQUENCE pawl.outbox_id_seq"] = all["pawl.outbox_id_seq"]
	delete(all, "pawl.outbox_id_seq")
	mustExec(t, pool, `GRANT SELECT, INSERT ON pawl.outbox TO `+role+`; GRANT USAGE ON SEQUENCE pawl.outbox_id_seq TO `+role)
	relay := missing(open(t, restricted, table).HoldLanes(t.Context(), &holder{}))
	for on, privileges := range relay {
		for _, p := range privileges {
			all.add(on, p)
		}
	}
	all.add("pawl.unsent", "DELETE")
	return all
}

// TestDocumentedRights checks that the pages and the comments that list the rights of a
// worker agree with each other and with what Open checks. TestRights checks that a worker
// works with them.
func TestDocumentedRights(t *testing.T) {
	t.Parallel()
	pool, _ := openOrders(t)
	restricted, role := asRole(t, pool)
	// Open needs these to check the others.
	const first = "\tGRANT USAGE ON SCHEMA pawl TO worker;\n\tGRANT SELECT ON pawl.goose_db_version TO worker;"
	mustExec(t, pool, strings.ReplaceAll(first, " worker;", " "+role+";"))
	_, err := postgres.Open(t.Context(), restricted, postgres.Table{Machine: order, Name: "orders"})
	want := missing(err)
	maps.Copy(want, granted(first))
	maps.Copy(want, rightsOfMessages(t))
	if len(want) < 8 {
		t.Fatalf("Open names few rights: %v", err)
	}
	for where, got := range map[string]rights{
		"SECURITY.md": granted(security(t)), "the comment of the package": granted(docs(t)),
	} {
		if diff := cmp.Diff(want, got); diff != "" {
			t.Errorf("%s lists other rights than Open checks (-want, +got):\n%s", where, diff)
		}
	}
}

// grantsTo returns the GRANT statements of docs/operations.md for a role.
func grantsTo(t *testing.T, role, quoted string) (grants []string) {
	t.Helper()
	text, err := os.ReadFile("../../docs/operations.md")
	if err != nil {
		t.Fatal(err)
	}
	for line := range strings.Lines(string(text)) {
		if grant, ok := strings.CutSuffix(strings.TrimSpace(line), " TO "+role+";"); ok && strings.HasPrefix(grant, "GRANT ") {
			grants = append(grants, grant+" TO "+quoted)
		}
	}
	if len(grants) < 2 {
		t.Fatalf("docs/operations.md grants only %q to %s", grants, role)
	}
	return grants
}

// looks are what a reader does.
func looks(ctx context.Context, o *postgres.Operator) (problems []error) {
	status, err := o.Status(ctx)
	if err == nil && len(status.Machines) > 0 && status.Machines[0].TableProblem != "" {
		err = errors.New(status.Machines[0].TableProblem)
	}
	view, problem := o.Entity(ctx, postgres.EntityQuery{Entity: versioning.Entity{Machine: "order", Key: "a"}})
	if problem == nil && view.TableProblem != "" {
		problem = errors.New(view.TableProblem)
	}
	problems = append(problems, err, problem)
	_, err = o.DeadLetters(ctx, postgres.DeadLetterFilter{})
	problems = append(problems, err)
	_, err = o.Parked(ctx, postgres.ParkedQuery{})
	problems = append(problems, err)
	_, _, err = o.Timers(ctx, postgres.TimerFilter{})
	problems = append(problems, err)
	_, err = o.Unsent(ctx, postgres.UnsentFilter{})
	problems = append(problems, err)
	_, err = o.Audit(ctx, postgres.AuditFilter{})
	return append(problems, err)
}

// TestReaderRights checks that a reader needs the rights that the page lists, all of them, and that
// it can't drop anything.
func TestReaderRights(t *testing.T) {
	t.Parallel()
	pool, store := openOrders(t)
	var l log
	apply(t, store, l.say("a", "placed"), l.say("a", "nosuch"))
	restricted, role := asRole(t, pool)
	grants := grantsTo(t, "reader", role)
	for _, grant := range grants {
		mustExec(t, pool, grant)
	}
	o := openOperator(t, restricted, "")
	if err := errors.Join(looks(t.Context(), o)...); err != nil {
		t.Errorf("with the rights of a reader: %v", err)
	}
	for _, grant := range grants {
		list, _, _ := strings.Cut(strings.TrimPrefix(grant, "GRANT SELECT ON "), " TO ")
		if strings.HasPrefix(list, "GRANT") {
			continue // USAGE
		}
		for table := range strings.SplitSeq(list, ", ") {
			if table == "pawl.goose_db_version" {
				continue // OpenOperator needs it
			}
			mustExec(t, pool, `REVOKE SELECT ON `+table+` FROM `+role)
			if err := errors.Join(looks(t.Context(), o)...); err == nil {
				t.Errorf("a reader does not need SELECT on %s", table)
			}
			mustExec(t, pool, `GRANT SELECT ON `+table+` TO `+role)
		}
	}
	if _, err := o.DropDeadLetters(t.Context(), act, postgres.DeadLetterFilter{}); !errors.Is(err, postgres.ErrAudit) || !strings.Contains(err.Error(), "lacks INSERT") {
		t.Errorf("a reader drops: %v", err)
	}
}

// TestOperatorRights checks that with the rights that the page lists, an operator can drop, and
// can't write what it has not done, or as somebody else.
func TestOperatorRights(t *testing.T) {
	t.Parallel()
	pool, store := openOrders(t)
	var l log
	apply(t, store, l.say("a", "placed"), l.say("a", "nosuch"), l.say("b", "captured"))
	restricted, role := asRole(t, pool)
	for _, grant := range append(grantsTo(t, "reader", role), grantsTo(t, "operator", role)...) {
		mustExec(t, pool, grant)
	}
	o := openOperator(t, restricted, "")
	if err := errors.Join(looks(t.Context(), o)...); err != nil {
		t.Error(err)
	}
	if n, err := o.DropDeadLetters(t.Context(), act, postgres.DeadLetterFilter{}); err != nil || n != 1 {
		t.Errorf("DropDeadLetters = %d, %v", n, err)
	}
	if n, err := o.DropParked(t.Context(), act, postgres.ParkedQuery{}); err != nil || n != 1 {
		t.Errorf("DropParked = %d, %v", n, err)
	}
	for _, sql := range []string{
		`INSERT INTO pawl.audit (by, actor, verb, arguments, rows, ids) VALUES ('eve', 'eve', '', '', 0, '{}')`,
		`INSERT INTO pawl.audit (at, actor, verb, arguments, rows, ids) VALUES (now(), 'eve', '', '', 0, '{}')`,
		`UPDATE pawl.audit SET actor = 'eve'`, `DELETE FROM pawl.audit`, `UPDATE pawl.dead_letters SET reason = ''`, `DELETE FROM pawl.transitions`, `UPDATE orders SET version = 1`,
	} {
		if _, err := restricted.Exec(t.Context(), sql); err == nil || !strings.Contains(err.Error(), "permission denied") {
			t.Errorf("%s: %v", sql, err)
		}
	}
}
