package versioningtest_test

import (
	"testing"

	"github.com/pawl-go/pawl/versioning"
	"github.com/pawl-go/pawl/versioning/versioningtest"
)

func TestMemory(t *testing.T) {
	t.Parallel()
	versioningtest.Run(t, func(_ *testing.T, rules []versioning.Rules) versioningtest.Harness {
		m := versioningtest.NewMemory(rules...)
		return versioningtest.Harness{Store: m, Contents: m}
	})
}
