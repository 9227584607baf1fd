package main

import (
	"context"
	"slices"
	"strconv"
	"time"

	"github.com/pawl-go/pawl/consumer"
	"github.com/pawl-go/pawl/versioning"
	"github.com/pawl-go/pawl/versioning/postgres"
)

// The headers that tell when a relay read a message from the outbox: between these times, in
// microseconds.
const (
	askedHeader = "torture_asked"
	gotHeader   = "torture_got"
)

// consumed returns the store that the worker gets.
func (j job) consumed(store *postgres.Store) consumer.Store {
	if !j.Tenant.isTransactional() {
		return store
	}
	return stampedStore{store}
}

// A stampedStore adds headers to the messages that the relay reads. So the checker knows from
// which database a message was read if one has replaced another.
type stampedStore struct{ *postgres.Store }

// Packs implements [relay.Store].
func (s stampedStore) Packs(ctx context.Context, want []versioning.Wanted) ([]versioning.Pack, error) {
	asked := time.Now()
	packs, err := s.Store.Packs(ctx, want)
	stamps := []versioning.Header{stamp(askedHeader, asked), stamp(gotHeader, time.Now())}
	for _, p := range packs {
		for i := range p.Messages {
			p.Messages[i].Headers = slices.Concat(p.Messages[i].Headers, stamps)
		}
	}
	return packs, err //nolint:wrapcheck // it must stay what it is
}

func stamp(name string, at time.Time) versioning.Header {
	return versioning.Header{Key: name, Value: strconv.AppendInt(nil, at.UnixMicro(), 10)}
}

// stamped returns the time in a header; the zero time if there is none.
func stamped(value []byte) time.Time {
	micros, err := strconv.ParseInt(string(value), 10, 64)
	if err != nil {
		return time.Time{}
	}
	return time.UnixMicro(micros)
}
