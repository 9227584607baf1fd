package gateway

import (
	"bytes"
	"context"
	"errors"
	"io"
	"log/slog"
	"math/rand/v2"
	"net/http"
	"slices"
	"time"
)

// A Gateway makes the requests to handlers idempotent. It is safe for concurrent use.
type Gateway struct {
	cfg     Config
	codec   *codec
	headers []string // those that are stored, in canonical form
}

// New returns a gateway. Its error lists everything that is wrong with the configuration.
func New(cfg Config) (*Gateway, error) {
	cfg = cfg.withDefaults()
	if err := cfg.validate(); err != nil {
		return nil, err
	}
	codec, err := newCodec(cfg.EncryptionKeys)
	if err != nil {
		return nil, err
	}
	codec.sealed = cfg.RequireEncryption
	g := &Gateway{cfg: cfg, codec: codec}
	for _, name := range cfg.StoredHeaders {
		g.headers = append(g.headers, http.CanonicalHeaderKey(name))
	}
	return g, nil
}

// Handler returns a handler that runs next once for each key. The package documentation says
// what next may do, and what of its response is stored.
func (g *Gateway) Handler(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if !slices.Contains(g.cfg.Methods, r.Method) {
			next.ServeHTTP(w, r)
			return
		}
		g.serve(w, r, next)
	})
}

// serve is the way of a request with a key: read, begin, then replay or run.
func (g *Gateway) serve(w http.ResponseWriter, r *http.Request, next http.Handler) {
	in, refusal := g.read(w, r)
	if refusal != nil {
		g.refuse(w, *refusal)
		return
	}
	if outer := MessageID(r.Context()); outer != "" && outer == in.key.MessageID() {
		g.cfg.Logger.ErrorContext(r.Context(), "a request has passed a gateway before, which has claimed its key; wrap each handler only once")
		g.refuse(w, problemNested)
		return
	}
	run, stored, err := g.begin(r.Context(), in.key)
	switch {
	case err != nil:
		g.refuse(w, g.problemOf(r.Context(), err))
	case run == nil:
		g.replay(w, r, in, stored)
	default:
		g.run(w, r, next, in, run)
	}
}

// begin claims the key. If another request with it is running, begin asks again until
// Config.Wait has passed; in between it holds nothing.
func (g *Gateway) begin(ctx context.Context, key Key) (Run, []byte, error) {
	const first, longest = 5 * time.Millisecond, 200 * time.Millisecond
	deadline := time.Now().Add(g.cfg.Wait)
	for pause := first; ; pause = min(2*pause, longest) {
		run, stored, err := g.cfg.Backend.Begin(ctx, key)
		if _, busy := errors.AsType[*InProgressError](err); !busy {
			return run, stored, err
		}
		left := time.Until(deadline)
		if left <= 0 {
			return nil, nil, err
		}
		timer := time.NewTimer(min(left, pause/2+rand.N(pause)))
		select {
		case <-timer.C:
		case <-ctx.Done():
			timer.Stop()
			return nil, nil, ctx.Err()
		}
	}
}

// run calls the handler and ends the run. If the handler panics, or ends its goroutine,
// the key is released, and the panic goes on to the server.
func (g *Gateway) run(w http.ResponseWriter, r *http.Request, next http.Handler, in *incoming, run Run) {
	returned := false
	defer func() {
		if !returned {
			g.release(r.Context(), run)
		}
	}()
	rec := newRecorder(w, g.cfg.MaxResponseBody)
	ctx := context.WithValue(run.Context(r.Context()), messageIDKey{}, in.key.MessageID())
	request := r.WithContext(ctx)
	request.Body, request.ContentLength = io.NopCloser(bytes.NewReader(in.body)), int64(len(in.body))
	request.TransferEncoding = nil
	defer removeFiles(r, request)
	next.ServeHTTP(rec, request)
	answer, refusal := g.answerOf(request.Context(), rec)
	stored := refusal == nil && g.stores(answer.status)
	returned = true
	switch {
	case stored && isLasting(request.Context(), answer):
		g.finish(w, r, in, run, answer)
	case refusal != nil:
		g.release(r.Context(), run)
		g.refuse(w, *refusal)
	default:
		g.release(r.Context(), run)
		answer.send(w)
	}
	r.Pattern = request.Pattern // as a mux that next contains has set it, for whoever logs it
}

// removeFiles removes the files that the handler's ParseMultipartForm has made, if any. The
// server only knows the request that it has made itself.
func removeFiles(r, handlers *http.Request) {
	if form := handlers.MultipartForm; form != nil && form != r.MultipartForm {
		_ = form.RemoveAll() // as in net/http
	}
}

// isLasting reports whether the next attempt would get the same response. A refusal is not
// lasting if it says when to try again. Nor is one whose handler's context has ended: perhaps it
// has only failed to look something up, and usually nobody receives it.
func isLasting(ctx context.Context, answer *response) bool {
	return answer.status < http.StatusBadRequest || !answer.has("Retry-After") && ctx.Err() == nil
}

// answerOf returns the handler's response, or what the client gets instead.
func (g *Gateway) answerOf(ctx context.Context, rec *recorder) (*response, *Problem) {
	if rec.status == 0 && ctx.Err() != nil {
		// The handler has given up, not made the empty response: to store that would turn a
		// failure into a success.
		return nil, &problemNoAnswer
	}
	answer, err := rec.response()
	if err != nil {
		g.cfg.Logger.ErrorContext(ctx, "a response can't be made idempotent; nothing was stored", "error", err)
		return nil, &problemRefusedResponse
	}
	return answer, nil
}

// finish stores the response, and only then answers the client.
func (g *Gateway) finish(w http.ResponseWriter, r *http.Request, in *incoming, run Run, answer *response) {
	payload := g.codec.encode(in.key, g.storedForm(in, answer))
	ctx, cancel := g.finishContext(r.Context())
	defer cancel()
	err := run.Finish(ctx, Result{Response: payload, Undo: answer.status >= http.StatusBadRequest})
	switch {
	case err == nil:
		answer.send(w)
	case errors.Is(err, ErrTaken):
		g.replayOther(w, r, in)
	default:
		g.refuse(w, g.problemOf(r.Context(), err).afterRun())
	}
}

// replayOther answers with the response of another run, which has stored it first.
func (g *Gateway) replayOther(w http.ResponseWriter, r *http.Request, in *incoming) {
	ctx, cancel := g.finishContext(r.Context())
	defer cancel()
	run, stored, err := g.begin(ctx, in.key)
	switch {
	case err != nil:
		g.refuse(w, g.problemOf(r.Context(), err).afterRun())
	case run != nil: // it has expired in the meantime
		g.release(r.Context(), run)
		g.refuse(w, problemUnavailable.afterRun())
	default:
		g.replay(w, r, in, stored)
	}
}

// replay answers with a stored response.
func (g *Gateway) replay(w http.ResponseWriter, r *http.Request, in *incoming, payload []byte) {
	stored, err := g.codec.decode(in.key, payload)
	if err != nil {
		g.cfg.Logger.ErrorContext(r.Context(), "a stored response can't be read", "error", err)
		g.refuse(w, problemUnreadable)
		return
	}
	if stored.fingerprint != in.fingerprint {
		g.refuse(w, problemReused)
		return
	}
	stored.replay(w)
}

// release frees the key, even if the client has gone.
func (g *Gateway) release(ctx context.Context, run Run) {
	ctx, cancel := g.finishContext(ctx)
	defer cancel()
	if err := run.Release(ctx); err != nil {
		g.cfg.Logger.WarnContext(ctx, "a key could not be released; it becomes free like that of a dead process", "error", err)
	}
}

// finishContext returns a context that does not end with the client's connection.
func (g *Gateway) finishContext(ctx context.Context) (context.Context, context.CancelFunc) {
	return context.WithTimeout(context.WithoutCancel(ctx), g.cfg.FinishTimeout)
}

// stores reports whether responses with a status are stored.
func (g *Gateway) stores(status int) bool { return Stores(status) && g.cfg.Stores(status) }

// Stores reports whether responses with a status are stored by default: 2xx, 3xx, and those
// of 4xx that the same request would get again. It is false for what another attempt may
// change: 401, 407, 408, 421, 423, 425, 429, and all of 5xx. Other responses with 4xx are not
// stored either if they have the header Retry-After, or if the handler's context has ended.
func Stores(status int) bool {
	switch status {
	case http.StatusUnauthorized, http.StatusProxyAuthRequired, http.StatusRequestTimeout, http.StatusMisdirectedRequest,
		http.StatusLocked, http.StatusTooEarly, http.StatusTooManyRequests:
		return false
	}
	return status >= 200 && status < 500
}

type messageIDKey struct{}

// MessageID returns the message ID of the request whose handler got ctx. It is the same for
// each request with the same tenant, route and key, for ever: give it to the changes that the
// handler makes with Store.Do, and the history of the entity proves that a repeated one has
// been made. It is empty if ctx does not come from a [Gateway], or if the method needs no key.
//
// A message ID proves a repeat only within one entity, and only if the change is the same. So
// a handler that creates an entity takes its key from [EntityKey], or from the request: a
// random one would be another entity on each attempt. And the change's data must follow from
// the request: with a random value or the time of day in them, a retry is Diverged, although
// the change was made.
func MessageID(ctx context.Context) string {
	id, _ := ctx.Value(messageIDKey{}).(string)
	return id
}

// discard is the logger of a configuration without one.
var discard = slog.New(slog.DiscardHandler)
