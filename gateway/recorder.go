package gateway

import (
	"errors"
	"fmt"
	"maps"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"time"
)

// ErrResponseTooLarge is what Write returns to a handler whose response has exceeded
// Config.MaxResponseBody. The response is sent, and stored, without its body.
var ErrResponseTooLarge = errors.New("the response is larger than Config.MaxResponseBody")

// A recorder holds the handler's response until the run is settled. It is not an
// [http.Flusher] and not an [http.Hijacker], and has no Unwrap: what was sent already could
// not be taken back.
type recorder struct {
	w      http.ResponseWriter
	limit  int
	header http.Header

	status int         // 0 until WriteHeader
	sent   http.Header // header as it was then
	body   []byte
	cut    bool // the body exceeded the limit
}

func newRecorder(w http.ResponseWriter, limit int) *recorder {
	return &recorder{w: w, limit: limit, header: w.Header().Clone()}
}

func (rec *recorder) Header() http.Header {
	if rec.header == nil {
		rec.header = make(http.Header)
	}
	return rec.header
}

// WriteHeader records the status. Informational ones (1xx) are ignored: they would tell the
// client about something that has not happened yet.
func (rec *recorder) WriteHeader(status int) {
	switch {
	case status < 100 || status > 999: // as in net/http
		panic(fmt.Sprintf("invalid WriteHeader code %v", status))
	case rec.status != 0, status < 200 && status != http.StatusSwitchingProtocols:
		return
	}
	rec.status, rec.sent = status, rec.Header().Clone()
}

func (rec *recorder) Write(p []byte) (int, error) {
	if rec.status == 0 {
		rec.WriteHeader(http.StatusOK)
	}
	switch {
	case !hasBody(rec.status):
		return 0, http.ErrBodyNotAllowed
	case rec.cut || len(p) > rec.limit-len(rec.body):
		rec.cut, rec.body = true, nil
		return 0, ErrResponseTooLarge
	}
	rec.body = append(rec.body, p...)
	return len(p), nil
}

// SetReadDeadline is for [http.ResponseController].
func (rec *recorder) SetReadDeadline(t time.Time) error {
	return http.NewResponseController(rec.w).SetReadDeadline(t)
}

// SetWriteDeadline is for [http.ResponseController].
func (rec *recorder) SetWriteDeadline(t time.Time) error {
	return http.NewResponseController(rec.w).SetWriteDeadline(t)
}

// hasBody reports whether responses with a status have a body (RFC 9110, section 6.4.1).
func hasBody(status int) bool {
	return status >= 200 && status != http.StatusNoContent && status != http.StatusNotModified
}

var (
	errTrailers  = errors.New("the response has trailers")
	errSwitching = errors.New("the response switches protocols")
)

// response returns what the handler has written, or an error if that can't be stored and
// repeated.
func (rec *recorder) response() (*response, error) {
	if rec.status == 0 {
		rec.WriteHeader(http.StatusOK)
	}
	if rec.status == http.StatusSwitchingProtocols {
		return nil, errSwitching
	}
	_, declared := rec.sent["Trailer"]
	if declared || hasTrailer(rec.sent) || hasTrailer(rec.header) {
		return nil, errTrailers
	}
	if length := rec.sent.Get("Content-Length"); length != "" && hasBody(rec.status) && !rec.cut && length != strconv.Itoa(len(rec.body)) {
		return nil, fmt.Errorf("the response is cut off: its Content-Length is %s, its body has %d bytes", length, len(rec.body))
	}
	rec.sent.Del("Content-Length") // the server computes it
	rec.sniff()
	return &response{status: rec.status, header: rec.sent, body: rec.body, omitted: rec.cut}, nil
}

func hasTrailer(h http.Header) bool {
	for name := range h {
		if strings.HasPrefix(name, http.TrailerPrefix) {
			return true
		}
	}
	return false
}

// sniff sets the Content-Type as net/http does, so that it is stored.
func (rec *recorder) sniff() {
	if _, has := rec.sent["Content-Type"]; !has && len(rec.body) > 0 && rec.sent.Get("Content-Encoding") == "" {
		rec.sent.Set("Content-Type", http.DetectContentType(rec.body))
	}
}

// A response is what a handler has answered, or what was stored of it.
type response struct {
	fingerprint fingerprint // of the request; only if it is stored
	status      int
	header      http.Header
	body        []byte
	omitted     bool // the body was too large
}

// has reports whether the response has a header, however the handler spells its name.
func (a *response) has(name string) bool {
	for is := range a.header {
		if http.CanonicalHeaderKey(is) == name {
			return true
		}
	}
	return false
}

// send sends the first response, with the headers as the handler has left them.
func (a *response) send(w http.ResponseWriter) {
	h := w.Header()
	clear(h)
	maps.Copy(h, a.header)
	a.write(w)
}

// replay sends the response again.
func (a *response) replay(w http.ResponseWriter) {
	maps.Copy(w.Header(), a.header)
	w.Header().Set(headerReplayed, "true")
	a.write(w)
}

func (a *response) write(w http.ResponseWriter) {
	h := w.Header()
	if a.omitted {
		h.Set(headerBody, "omitted")
		for _, name := range []string{"Content-Type", "Content-Encoding", "Content-Length", "Content-Disposition", "Content-Language", "Content-Range"} {
			h.Del(name)
		}
	} else if hasBody(a.status) {
		h.Set("Content-Length", strconv.Itoa(len(a.body)))
	}
	w.WriteHeader(a.status)
	_, _ = w.Write(a.body) //nolint:gosec // the handler has made it; if the client has gone, nobody needs it
}

// storedForm returns what is stored of a response.
func (g *Gateway) storedForm(in *incoming, answer *response) *response {
	stored := &response{
		fingerprint: in.fingerprint, status: answer.status, header: make(http.Header),
		body: answer.body, omitted: answer.omitted || len(answer.body) > g.cfg.MaxStoredBody,
	}
	if stored.omitted {
		stored.body = nil
	}
	for name, values := range answer.header {
		if slices.Contains(g.headers, http.CanonicalHeaderKey(name)) { // the handler may spell it in another way
			stored.header[name] = values
		}
	}
	return stored
}
