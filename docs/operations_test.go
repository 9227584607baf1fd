package docs_test

import (
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/jackc/pgx/v5"

	"github.com/pawl-go/pawl/internal/testenv"
	"github.com/pawl-go/pawl/migrations/migrate"
)

func TestMain(m *testing.M) { testenv.Main(m, testenv.CheckLeaks()) }

var (
	sqlBlock  = regexp.MustCompile("(?s)\n *```sql\n(.*?)\n *```")
	firstCell = regexp.MustCompile("(?m)^\\| `([^`]+)` \\|")
)

func operations(t *testing.T) string {
	t.Helper()
	text, err := os.ReadFile("operations.md")
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}

// TestQueries runs the SQL of the page against the framework schema.
func TestQueries(t *testing.T) {
	t.Parallel()
	blocks := sqlBlock.FindAllStringSubmatch(operations(t), -1)
	if len(blocks) < 15 {
		t.Errorf("the page has only %d blocks of SQL", len(blocks))
	}
	pool := testenv.Pool(t, testenv.Template("operations", migrate.Up))
	const orders = `CREATE TABLE orders (id text COLLATE "C" PRIMARY KEY, state text NOT NULL, version bigint NOT NULL)`
	if _, err := pool.Exec(t.Context(), orders); err != nil {
		t.Fatal(err)
	}
	for _, block := range blocks {
		// Several statements in one message need the simple protocol.
		if _, err := pool.Exec(t.Context(), block[1], pgx.QueryExecModeSimpleProtocol); err != nil {
			t.Errorf("%v\n%s", err, block[1])
		}
	}
}

// TestMessages checks that package consumer has the reasons and the log lines of the
// page, word for word.
func TestMessages(t *testing.T) {
	t.Parallel()
	files, err := filepath.Glob("../consumer/*.go")
	if err != nil {
		t.Fatal(err)
	}
	var source strings.Builder
	for _, file := range files {
		if strings.HasSuffix(file, "_test.go") {
			continue
		}
		text, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		source.Write(text)
	}
	for _, section := range []string{"### Reasons", "### Log lines"} {
		_, text, _ := strings.Cut(operations(t), section+"\n")
		text, _, _ = strings.Cut(text, "\n## ")
		text, _, _ = strings.Cut(text, "\n### ")
		messages := firstCell.FindAllStringSubmatch(text, -1)
		if len(messages) < 10 {
			t.Errorf("%s has only %d messages", section, len(messages))
		}
		for _, m := range messages {
			if !strings.Contains(source.String(), `"`+m[1]+`"`) {
				t.Errorf("%s: package consumer has no message %q", section, m[1])
			}
		}
	}
}
