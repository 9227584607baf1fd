// Package handlertx marks the contexts of HTTP handlers that got a transaction from the
// gateway. With the mark, a store can refuse to make a change outside of that transaction,
// although the store and the gateway do not import each other.
package handlertx

import "context"

type key struct{}

// Mark returns a context that says that its handler got a transaction.
func Mark(ctx context.Context) context.Context { return context.WithValue(ctx, key{}, true) }

// Marked reports whether a context comes from one that was marked.
func Marked(ctx context.Context) bool {
	marked, _ := ctx.Value(key{}).(bool)
	return marked
}
