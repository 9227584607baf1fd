package gateway

import (
	"log/slog"
	"net/http"
	"time"
)

// A Config configures a Gateway. Backend and Tenant are required; the zero value of every
// other field is useful.
type Config struct {
	// Backend decides who runs, and stores the responses.
	Backend Backend

	// Tenant names who sent a request, such as the account that was authenticated. A key
	// belongs to its tenant, so nobody gets another's response. It must not depend on what
	// the client claims without proof. A request for which it returns "" is refused with 403.
	Tenant func(*http.Request) string

	// Route names where a request goes. nil means the pattern of the [http.ServeMux] that
	// has chosen the handler, or the method and path if there is none. A key belongs to its
	// route. With Store.Do, message IDs are derived from it: a route that is renamed no
	// longer finds the changes that were made under its former name.
	Route func(*http.Request) string

	// Methods are the methods that need a key. Requests with others pass through. nil means
	// POST and PATCH. The safe methods, such as GET and HEAD, are not allowed.
	Methods []string

	// Optional lets requests without a key run, each as if it had a new one. Otherwise they
	// are refused with 400.
	Optional bool

	// MaxRequestBody is the largest body of a request, in bytes. Larger ones are refused with
	// 413. 0 means 1 MiB.
	MaxRequestBody int64

	// MaxStoredBody is the largest body of a response that is stored, in bytes. Repeats of a
	// larger one get its status and stored headers without the body. 0 means 256 KiB.
	MaxStoredBody int

	// MaxResponseBody is the largest body of a response that is sent, in bytes: responses are
	// held in memory until the change has committed. 0 means 8 MiB.
	MaxResponseBody int

	// StoredHeaders are the headers of a response that are stored. nil means
	// DefaultStoredHeaders. The first response has all headers, repeats have only these.
	StoredHeaders []string

	// Stores reports whether responses with a status are stored. nil means Stores. Statuses
	// of 5xx, 408, 425 and 429 are never stored.
	Stores func(status int) bool

	// Wait is how long a request waits for another with the same key that is running. It
	// holds no connection of the backend while it waits. 0 means not at all: the answer is
	// 409 at once.
	Wait time.Duration

	// FinishTimeout limits how long the backend may take to store a response, or to release a
	// key, after the handler has returned. It applies even if the client has gone. 0 means
	// 10 seconds.
	FinishTimeout time.Duration

	// EncryptionKeys encrypt what is stored (AES-GCM). The first one encrypts, all decrypt.
	// Empty means that responses are stored as they are, and that only such are read.
	EncryptionKeys []EncryptionKey

	// ProblemType is the start of the URI that is the type of each problem, such as
	// "https://api.example.com/problems#": the problem's code is added to it. Empty means
	// about:blank.
	ProblemType string

	// Logger gets what an operator should know. It never gets keys, bodies or headers. nil
	// means no logs.
	Logger *slog.Logger
}

// An EncryptionKey is an AES key.
type EncryptionKey struct {
	ID     string // stored with what it encrypts; 1 to 32 bytes, different for each key
	Secret []byte // 16, 24 or 32 random bytes: AES-128, AES-192 or AES-256
}
