// Package deps checks what a user's program links with Pawl's packages, and that the kernel
// starts no goroutines.
package deps

import (
	"os/exec"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	// go test reuses a cached result unless an import of the test changes. It does not
	// see what go list reads, so import the packages.
	_ "github.com/pawl-go/pawl/codec"
	_ "github.com/pawl-go/pawl/consumer"
	_ "github.com/pawl-go/pawl/gateway"
	_ "github.com/pawl-go/pawl/gateway/postgres"
	_ "github.com/pawl-go/pawl/migrations"
	_ "github.com/pawl-go/pawl/pawltest"
	_ "github.com/pawl-go/pawl/statemachine"
	_ "github.com/pawl-go/pawl/versioning"
	_ "github.com/pawl-go/pawl/versioning/postgres"
)

const pawl = "github.com/pawl-go/pawl"

// The modules that each client needs. The lists are exact: the test also fails if one is
// no longer linked.
var (
	pgx = []string{ // a connection
		"github.com/jackc/pgpassfile",
		"github.com/jackc/pgservicefile",
		"github.com/jackc/pgx/v5",
		"golang.org/x/text", // SCRAM normalizes passwords
	}
	pgxpool = append([]string{
		"github.com/jackc/puddle/v2",
		"golang.org/x/sync",
	}, pgx...)
	franz = []string{
		"github.com/klauspost/compress", // zstd, snappy, gzip
		"github.com/pierrec/lz4/v4",
		"github.com/twmb/franz-go",
		"github.com/twmb/franz-go/pkg/kmsg",
	}
	looplab = []string{"github.com/looplab/fsm"}
	schemas = []string{"github.com/pawl-go/pawl/codec/registry", "github.com/twmb/franz-go/pkg/sr"}
)

// modules lists the third-party modules that each package that workers import may link.
var modules = map[string][]string{
	"statemachine":        looplab,
	"codec":               append([]string{"github.com/go-json-experiment/json"}, looplab...),
	"codec/registry/avro": slices.Concat(looplab, schemas, []string{"github.com/twmb/avro"}),
	"codec/registry/protobuf": slices.Concat(looplab, schemas, []string{
		"github.com/bufbuild/protocompile", "google.golang.org/protobuf",
	}),
	"migrations":          pgx,
	"gateway":             nil,
	"gateway/postgres":    pgxpool,
	"versioning":          looplab,
	"versioning/postgres": slices.Concat(pgxpool, looplab),
	"consumer": slices.Concat(looplab, franz, []string{
		"github.com/cenkalti/backoff/v5",
		"github.com/go-json-experiment/json",
	}),
}

// TestWorkersLinkFewModules checks that workers link only the modules listed here. Tests,
// migrations and examples may use more.
func TestWorkersLinkFewModules(t *testing.T) {
	t.Parallel()
	for name, want := range modules {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			var got []string
			for pkg, module := range linked(t, name) {
				if module != "" && module != pawl {
					got = append(got, module)
				}
				if strings.HasPrefix(pkg, pawl+"/migrations/") {
					t.Errorf("%s links %s, which is for migrations only", name, pkg)
				}
				if pkg == "github.com/jackc/pgx/v5/stdlib" {
					t.Errorf("%s links %s: workers use pgx without database/sql's pool", name, pkg)
				}
			}
			slices.Sort(got)
			if diff := cmp.Diff(slices.Sorted(slices.Values(want)), slices.Compact(got)); diff != "" {
				t.Errorf("%s links other modules than this test lists (-want, +got):\n%s", name, diff)
			}
		})
	}
}

// TestKitLinksNoContainers checks that users' tests do not get what only our own environments need.
func TestKitLinksNoContainers(t *testing.T) {
	t.Parallel()
	for pkg, module := range linked(t, "pawltest") {
		if strings.Contains(module, "testcontainers") || pkg == pawl+"/internal/testenv" {
			t.Errorf("pawltest links %s", pkg)
		}
	}
}

// linked returns the packages that a package of Pawl links, including itself, and the
// module of each, which is empty for the standard library.
func linked(t *testing.T, name string) map[string]string {
	t.Helper()
	const format = `{{.ImportPath}} {{with .Module}}{{.Path}}{{end}}`
	list := exec.CommandContext(t.Context(), "go", "list", "-deps", "-f", format, pawl+"/"+name)
	out, err := list.Output()
	if err != nil {
		t.Fatalf("%v: %v", list, err)
	}
	all := make(map[string]string)
	for line := range strings.Lines(string(out)) {
		pkg, module, _ := strings.Cut(strings.TrimSuffix(line, "\n"), " ")
		all[pkg] = module
	}
	return all
}
