package gateway

import (
	"context"
	"crypto/sha256"
	"encoding/base64"
	"encoding/binary"

	"github.com/pawl-go/pawl/internal/uuid8"
)

// A Key identifies a request that may be sent several times but must take effect once.
// Equal values of different tenants or routes are different keys.
type Key struct {
	Tenant string // who sent it, as Config.Tenant says; never empty
	Route  string // where to, as Config.Route says
	Value  string // the value of the header Idempotency-Key, without quotes
}

// ID returns a hash of the key. Backends store and lock by it: it has a fixed size, and does
// not say whose key it is. Different keys have different IDs (SHA-256 over the parts, each
// after its length).
func (k Key) ID() [sha256.Size]byte {
	var b []byte
	for _, part := range []string{k.Tenant, k.Route, k.Value} {
		b = binary.AppendUvarint(b, uint64(len(part)))
		b = append(b, part...)
	}
	return sha256.Sum256(b)
}

// MessageID returns the ID under which the key's change is known to a state machine's
// history: "http:" and the base64url form of ID.
func (k Key) MessageID() string {
	id := k.ID()
	return "http:" + base64.RawURLEncoding.EncodeToString(id[:])
}

// EntityKey returns a key for an entity that a request creates, in the form of a UUID
// (version 8, RFC 9562). It is derived from the request's [MessageID] and the name, so each
// attempt of the request gets the same one, for ever, and no other request does. A handler
// that creates several entities gives each a name, such as "order" and "line 1"; the name may
// be empty. The key is empty, which no entity's key may be, where MessageID is.
//
// The key can be computed by whoever knows the tenant, the route and the request's key: it is
// no secret.
func EntityKey(ctx context.Context, name string) string {
	request := MessageID(ctx)
	if request == "" {
		return ""
	}
	b := []byte("pawl: an entity that a request creates")
	for _, part := range []string{request, name} {
		b = append(binary.AppendUvarint(b, uint64(len(part))), part...)
	}
	return uuid8.Of(sha256.Sum256(b)).String()
}
