package embedded

import (
	"testing"

	"github.com/google/go-cmp/cmp"
)

func TestNewestFirst(t *testing.T) {
	t.Parallel()
	got := newestFirst([]string{
		"/usr/lib/postgresql/9.6/bin", "/usr/lib/postgresql/15/bin", "/usr/lib/postgresql/17/bin", "/opt/postgresql/bin",
	})
	want := []string{
		"/usr/lib/postgresql/17/bin", "/usr/lib/postgresql/15/bin", "/usr/lib/postgresql/9.6/bin", "/opt/postgresql/bin",
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("order (-want +got):\n%s", diff)
	}
}

func TestTempDirs(t *testing.T) {
	t.Parallel()
	if got := (PostgresConfig{TempDir: "/mine"}).tempDirs(); !cmp.Equal(got, []string{"/mine"}) {
		t.Errorf("with TempDir set: %q", got)
	}
	for _, dir := range (PostgresConfig{Durable: true}).tempDirs() {
		if dir == memoryDir {
			t.Errorf("a durable server would keep its data in memory, in %s", dir)
		}
	}
}
