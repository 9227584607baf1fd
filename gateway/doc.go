// Package gateway makes HTTP requests idempotent: a request that is sent again with the same
// Idempotency-Key takes effect once, and gets the first one's response.
//
// Clients, proxies and load balancers send a request again when its answer was lost. They
// can't know whether it has taken effect. [Gateway.Handler] wraps a handler so that it does
// not matter:
//
//	g, err := gateway.New(gateway.Config{Backend: backend, Tenant: account})
//	mux.Handle("POST /payments/{id}/captures", g.Handler(capture))
//
// The protocol is that of draft-ietf-httpapi-idempotency-key-header. Errors are problems of
// RFC 9457, with a code:
//
//	400 key_missing, key_invalid         no key, or not one
//	400 body_unreadable                  the body could not be read
//	403 tenant_unknown                   Config.Tenant does not know who sent it
//	408 body_too_slow                    the body did not arrive in time
//	409 in_progress                      a request with the key is running; has Retry-After
//	413 body_too_large                   larger than Config.MaxRequestBody
//	422 key_reused                       another request was sent with the key
//	503 unavailable, outcome_unknown     send it again with the same key; has Retry-After
//	500 not_stored, response_refused     the response was not stored, and what the handler did in its transaction is undone
//	500 response_unreadable              a stored response can't be decoded or decrypted
//	500 body_consumed                    another handler has read the body before
//	500 nested                           another gateway has claimed the key before
//
// A repeat has the header "Idempotent-Replayed: true". A key belongs to a tenant and a route.
// A repeated request has the same method, route, path, query and body; its headers may differ.
//
// # What a handler may do
//
// The request is read completely before the handler runs, and the response is held back until
// it is stored. So a client never sees a response whose change is not there, and the handler
// can't send a part of it: Flush and Hijack are not supported, informational responses (1xx)
// are not sent, and trailers, a switch of protocols, or a body that does not have the declared
// Content-Length make the response a 500 (response_refused) that undoes everything. Stream
// from handlers that need no key. Requests with other methods than Config.Methods pass through
// untouched.
//
// What a response says about the change decides about the key:
//
//   - 2xx, 3xx: stored. If the backend gives the handler a transaction, it commits with the
//     response.
//   - 4xx, except for those below: stored, and what the handler did in its transaction is
//     undone.
//   - 401, 407, 408, 421, 423, 425, 429, any 4xx that has the header Retry-After or comes from
//     a handler whose context has ended, all of 5xx, and a panic: not stored. The transaction
//     is undone, and the key is free at once: the next request runs.
//
// Only the headers of Config.StoredHeaders are stored. If the body is larger than
// Config.MaxStoredBody, it is sent once but not stored: repeats have the status and the stored
// headers without those of the body, no body, and the header "Idempotent-Body: omitted". If it
// is larger than Config.MaxResponseBody, Write returns [ErrResponseTooLarge], and the first
// response has no body either.
//
// If the client hangs up, the handler's context ends, as always. If the handler still answers
// with 2xx or 3xx, its response is stored. If it returns without having called Write or WriteHeader, it has not
// answered: the key is released.
//
// Handlers in front of the gateway must not read the body, not even a part of it, unless they
// put it back: the fingerprint would leave it out. One that puts a shorter body there must set
// the request's ContentLength. Where the gateway notices a missing body, or that it is shorter
// than ContentLength, it refuses the request with 500 (body_consumed).
//
// # Changing entities
//
// A handler may run more than once for one request: after a crash, after a failure, and when
// its response has expired. If it changes entities through the store of package
// versioning/postgres, the history proves that a change was made, as long as each attempt asks
// for the same change:
//
//   - The message ID is [MessageID].
//   - The key of an entity comes from the request. If the request creates the entity and the
//     client does not choose its key, it is [EntityKey]. A random key would be another entity
//     on each attempt, and no history would know the request.
//   - The data follow from the request: no time of day, no random value, nothing that was
//     looked up and may be another by then.
//
// If an attempt asks for something else under the same message ID, the verdict is Diverged,
// with the reason message_taken. That is not a refusal: a request with this key has changed
// the entity. Answer from the row, or with 5xx, which is not stored. A 4xx would be stored,
// and would tell the client for as long as it lives that nothing was changed. If the data
// depend on nothing but the request, it was another request that has used the key, and its
// response has expired. Then answer with a 4xx that Config.Stores excludes. If it were stored,
// the other request's repeats would get 422 (key_reused), although its change was made.
//
// # Backends
//
// A [Backend] decides who runs, and stores responses. Package gateway/postgres decides with a
// database, and can commit the change and its response together. Package gatewaytest has one
// in memory, and the tests for others.
//
// If the answer to the backend's commit is lost, the middleware answers 503
// (outcome_unknown): it never claims a success or a failure that it does not know. The next
// request gets the stored response, or runs. A problem that says that an attempt has changed
// nothing is about that attempt: an earlier one may have taken effect, and its answer was lost.
package gateway
