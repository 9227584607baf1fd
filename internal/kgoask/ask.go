// Package kgoask reads the options of Kafka clients.
package kgoask

import (
	"context"
	"slices"

	"github.com/twmb/franz-go/pkg/kgo"
)

// Client passes a client with the given options to ask, because only a client can read its
// options. The options must be valid. A hook, which comes first, gets the client before it
// starts a goroutine, and then panics to stop its construction. So the client calls no hooks of
// the application and opens no connections.
func Client(opts []kgo.Opt, ask func(*kgo.Client)) {
	var hook Hook
	hook = func(client *kgo.Client) {
		ask(client)
		panic(&hook)
	}
	defer func() {
		if p := recover(); p != nil && p != any(&hook) {
			panic(p)
		}
	}()
	first := kgo.WithHooks(&hook)
	// A context of the application would keep a reference to the client.
	last := kgo.WithContext(context.Background())
	_, _ = kgo.NewClient(slices.Concat([]kgo.Opt{first}, opts, []kgo.Opt{last})...)
}

// A Hook is called with a client that is being created.
type Hook func(*kgo.Client)

// OnNewClient implements [kgo.HookNewClient].
func (h Hook) OnNewClient(client *kgo.Client) { h(client) }
