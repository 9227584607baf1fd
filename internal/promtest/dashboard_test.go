package promtest

import (
	"bytes"
	"flag"
	"os"
	"testing"
)

var update = flag.Bool("update", false, "write the generated dashboard")

const dashboardFile = "../../otel/grafana/pawl.json"

// TestDashboardIsGenerated checks that the dashboard is the generated one.
func TestDashboardIsGenerated(t *testing.T) {
	want := dashboard()
	if *update {
		if err := os.WriteFile(dashboardFile, want, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	if got, err := os.ReadFile(dashboardFile); err != nil || !bytes.Equal(got, want) {
		t.Errorf("%s is not the generated one (%v); see doc.go", dashboardFile, err)
	}
}
