package main

import (
	"context"
	"errors"
	"io"
	"net"
)

// refusing returns an address on loopback that refuses connections until the closer is
// closed. It is the client's end of a connection: nobody else gets its port.
func refusing(ctx context.Context) (_ io.Closer, addr string, err error) {
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return nil, "", err
	}
	var dialer net.Dialer
	conn, err := dialer.DialContext(ctx, "tcp", listener.Addr().String())
	if err != nil {
		return nil, "", errors.Join(err, listener.Close())
	}
	return closers{conn, listener}, conn.LocalAddr().String(), nil
}

type closers []io.Closer

func (c closers) Close() error {
	var errs []error
	for _, closer := range c {
		errs = append(errs, closer.Close())
	}
	return errors.Join(errs...)
}

// usesKey is the type of the context key of a connection's count of requests.
type usesKey struct{}

// countUses gives each connection of a server a count of its requests. They come one
// after the other.
func countUses(ctx context.Context, _ net.Conn) context.Context {
	return context.WithValue(ctx, usesKey{}, new(int))
}

// uses adds a request to the count of its connection and returns the count.
func uses(ctx context.Context) int {
	count, ok := ctx.Value(usesKey{}).(*int)
	if !ok {
		return 0
	}
	*count++
	return *count
}
