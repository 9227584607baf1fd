package main

import (
	"context"
	"fmt"
	"strings"
	"sync"

	toxiproxy "github.com/Shopify/toxiproxy/v2"
	"github.com/rs/zerolog"
)

// A network connects the workers to the servers: one proxy per worker and
// server.
type network struct {
	server *toxiproxy.ApiServer
}

func newNetwork() *network {
	return &network{toxiproxy.NewServer(toxiproxy.NewMetricsContainer(nil), zerolog.Nop())}
}

// A link is a worker's connection to a server.
type link struct {
	*toxiproxy.Proxy

	mu *sync.Mutex // held while it is down
}

func (n *network) link(name, server string) (link, error) {
	proxy := toxiproxy.NewProxy(n.server, name, "127.0.0.1:0", server)
	if err := n.server.Collection.Add(proxy, true); err != nil {
		return link{}, fmt.Errorf("proxy %s: %w", name, err)
	}
	return link{proxy, new(sync.Mutex)}, nil
}

// poison adds a fault to the link: a toxic of toxiproxy, with its attributes as
// JSON, on what the worker receives or sends.
func (l link) poison(kind, attributes string, received bool) error {
	stream := "upstream"
	if received {
		stream = "downstream"
	}
	toxic := fmt.Sprintf(`{"type":%q,"stream":%q,"name":%q,"attributes":%s}`, kind, stream, kind+"-"+stream, attributes)
	if _, err := l.Toxics.AddToxicJson(strings.NewReader(toxic)); err != nil {
		return fmt.Errorf("proxy %s: %s: %w", l.Name, kind, err)
	}
	return nil
}

// heal removes all faults of the link.
func (l link) heal(ctx context.Context) { l.Toxics.ResetToxics(ctx) }

// cut breaks all connections of the link.
func (l link) cut() error { return l.lead(l.Upstream) }

// lead points the link to another server.
func (l link) lead(server string) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.Stop()
	l.Upstream = server
	if err := l.Start(); err != nil {
		return fmt.Errorf("proxy %s: listen again: %w", l.Name, err)
	}
	return nil
}
