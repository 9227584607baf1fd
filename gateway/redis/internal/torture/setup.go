//go:build unix

package main

import (
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strings"
)

// A setUp is what is tortured. Backends get it too.
type setUp struct {
	Backend string // one of the constants onX
	Handler string // one of the constants withX
	Plant   string // one of the constants plantX; empty for none
}

// The backends of the gateway.
const (
	onHybrid   = "hybrid"
	onPostgres = "postgres"
	onRedis    = "redis"
)

// The handlers.
const (
	withTx    = "tx"
	withStore = "store"
)

// The violations that can be planted. The documentation of the command says what they are.
const (
	plantOutside   = "outside"
	plantForget    = "forget"
	plantMessageID = "message-id"
	plantAnswer    = "answer"
	plantRefusal   = "refusal"
)

func (s setUp) hasRedis() bool { return s.Backend != onPostgres }

// loses reports whether faults lose stored responses. Then an answer may come from the row.
func (s setUp) loses() bool { return s.Backend == onRedis }

// stores reports whether responses with a status are stored. 422 is not: it refuses another
// request with a key whose first response is gone. The first request must still get its answer.
func (s setUp) stores(status int) bool {
	return status != http.StatusUnprocessableEntity || s.Plant == plantRefusal
}

// validate returns everything that is wrong with a set-up.
func (s setUp) validate() error {
	errs := []error{
		oneOf("-backend", s.Backend, onHybrid, onPostgres, onRedis),
		oneOf("-handler", s.Handler, withTx, withStore),
	}
	if s.Backend == onRedis && s.Handler == withTx {
		errs = append(errs, errors.New("-backend redis gives handlers no transaction; use -handler store"))
	}
	switch {
	case s.Plant == "":
	case s.Handler == withStore:
		errs = append(errs, oneOf("-plant (with -handler store)", s.Plant, plantMessageID, plantAnswer, plantRefusal, plantForget))
	default:
		errs = append(errs, oneOf("-plant (with -handler tx)", s.Plant, plantOutside, plantForget))
	}
	if s.Plant == plantForget && s.loses() {
		errs = append(errs, errors.New("-plant forget is no violation with -backend redis, whose responses may be lost"))
	}
	return errors.Join(errs...)
}

func oneOf(name, value string, allowed ...string) error {
	if slices.Contains(allowed, value) {
		return nil
	}
	return fmt.Errorf("%s is %q, want %s", name, value, strings.Join(allowed, ", "))
}
