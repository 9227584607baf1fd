package redis

import (
	"errors"
	"testing"
)

func TestFitness(t *testing.T) {
	t.Parallel()
	for _, test := range []struct {
		version, policy string
		evicts, old     bool
	}{
		{version: "7.0.0", policy: "noeviction"},
		{version: "7.2.4", policy: "noeviction"},
		{version: "10.1", policy: "noeviction"},
		{version: "", policy: "noeviction"},
		{version: "6.2.14", policy: "noeviction", old: true},
		{version: "6.2.14", policy: "allkeys-lru", evicts: true},
		{version: "8.0.0", policy: "volatile-ttl", evicts: true},
	} {
		err := fitness("server", test.version, test.policy)
		_, evicts := errors.AsType[*EvictionError](err)
		_, old := errors.AsType[*VersionError](err)
		if evicts != test.evicts || old != test.old || (err != nil) != (evicts || old) {
			t.Errorf("version %q, policy %q: %v", test.version, test.policy, err)
		}
	}
}
