package main

// gateway are mistakes in what makes HTTP requests idempotent.
var gateway = []mutation{
	{
		file: "gateway/request.go", text: `r.URL.RawQuery, string(body)}`, mutated: `r.URL.RawQuery}`,
		why: "a different request with a used key gets the response of the first one: the fingerprint leaves out the body",
		pkg: "./gateway", tests: "^TestFingerprint$",
	},
	{
		file: "gateway/request.go", text: `length = binary.AppendUvarint(length[:0], uint64(len(part)))`, mutated: `length = binary.AppendUvarint(length[:0], 0)`,
		why: "a different request with a used key gets the response of the first one: a part of the query counts as body",
		pkg: "./gateway", tests: "^FuzzRequests$",
	},
	{
		file: "gateway/key.go", text: `[]string{k.Tenant, k.Route, k.Value}`, mutated: `[]string{k.Route, k.Value}`,
		why: "a caller gets the response of another tenant",
		pkg: "./gateway", tests: "^TestScopes$",
	},
	{
		file: "gateway/key.go", text: `b = binary.AppendUvarint(b, uint64(len(part)))`, mutated: `b = binary.AppendUvarint(b, 0)[:len(b)]`,
		why: "a caller can choose a key that is one of another tenant",
		pkg: "./gateway/gatewaytest", tests: "^TestMemory$/^keys_of",
	},
	{
		file: "gateway/gateway.go", text: `		answer.send(w)
	case errors.Is(err, ErrTaken):`, mutated: `		answer.send(w)
	case errors.Is(err, ErrFateUnknown):
		answer.send(w)
	case errors.Is(err, ErrTaken):`,
		why: "a client is told of a success that may not be there: an unknown fate of COMMIT counts as one",
		pkg: "./gateway/postgres", tests: "^TestCrashPoints$",
	},
	{
		file: "gateway/gateway.go", text: `		if !returned {
			g.release`, mutated: `		if returned {
			g.release`,
		why: "the key of a handler that panics stays claimed",
		pkg: "./gateway", tests: "^TestPanics$",
	},
	{
		file: "gateway/gateway.go", text: `if rec.status == 0 && ctx.Err() != nil {`, mutated: `if false {`,
		why: "a handler gives up because its client has gone, and the retry gets an empty success",
		pkg: "./gateway", tests: "^TestNoAnswer$",
	},
	{
		file: "gateway/gateway.go", text: `	stored := refusal == nil && g.stores(answer.status)
	returned = true
`, mutated: `	returned = true
	stored := refusal == nil && g.stores(answer.status)
`,
		why: "a panic of the configuration's function leaves the key claimed for good",
		pkg: "./gateway", tests: "^TestStoresPanics$",
	},
	{
		file: "gateway/request.go", text: `if len(body) == 0 && isConsumed(r, err) {`, mutated: `if isConsumed(r, err); false {`,
		why: "all bodies are the same because an outer handler has read them",
		pkg: "./gateway", tests: "^TestBodyIsGone$",
	},
	{
		file: "gateway/config.go", text: `return prefix + " " + route`, mutated: `return route`,
		why: "a mux that is mounted at a prefix gets the responses of another",
		pkg: "./gateway", tests: "^TestMounts$",
	},
	{
		file: "gateway/postgres/shared_store.go", text: `if firsts[st.id] == nil {`, mutated: `{`,
		why: "a response that waits twice makes all responses fail that are stored with it",
		pkg: "./gateway/postgres", tests: "^TestStoredTwice$",
	},
	{
		file: "gateway/postgres/statements.go", text: `r.expires_at > statement_timestamp() OFFSET 0`, mutated: `r.expires_at > now() OFFSET 0`,
		why: "an expired response is sent as long as there are always requests: the transaction that looks for it is old",
		pkg: "./gateway/postgres", tests: "^TestConformance$/^without_transactions$/^responses_expire$",
	},
	{
		file: "gateway/gateway.go", text: `Undo: answer.status >= http.StatusBadRequest`, mutated: `Undo: false`,
		why: "half of a change is committed, although the client was told that it was refused",
		pkg: "./gateway/postgres", tests: "^TestHandlersTransaction$",
	},
	{
		file: "gateway/gateway.go", text: `context.WithTimeout(context.WithoutCancel(ctx), g.cfg.FinishTimeout)`, mutated: `context.WithTimeout(ctx, g.cfg.FinishTimeout)`,
		why: "a key stays claimed because its client has hung up",
		pkg: "./gateway", tests: "^TestClientHangsUp$",
	},
	{
		file: "gateway/gateway.go", text: `func (g *Gateway) stores(status int) bool { return Stores(status) &&`, mutated: `func (g *Gateway) stores(status int) bool { return`,
		why: "a failure is stored, so a retry gets it again for a day, if a configuration says so",
		pkg: "./gateway", tests: "^TestStores$",
	},
	{
		file: "gateway/gateway.go", text: `http.StatusTooEarly, http.StatusTooManyRequests:`, mutated: `http.StatusTooEarly:`,
		why: "a response that says to try again is stored",
		pkg: "./gateway", tests: "^TestStatuses$",
	},
	{
		file: "gateway/recorder.go", text: `declared || hasTrailer(rec.sent) || hasTrailer(rec.header)`, mutated: `declared || hasTrailer(rec.sent)`,
		why: "half of a response is stored: its trailers are lost",
		pkg: "./gateway", tests: "^TestRefusedResponses$",
	},
	{
		file: "gateway/recorder.go", text: `!rec.cut && length != strconv.Itoa(len(rec.body))`, mutated: `false`,
		why: "a response that is cut off is stored",
		pkg: "./gateway", tests: "^TestRefusedResponses$",
	},
	{
		file: "gateway/codec.go", text: `	id := key.ID()
	return id[:]`, mutated: `	return nil`,
		why: "who can write to the database can give a caller another's encrypted response",
		pkg: "./gateway", tests: "^TestEncryption$",
	},
	{
		file: "gateway/postgres/statements.go", text: `pg_try_advisory_xact_lock($1)`, mutated: `pg_try_advisory_lock($1) AND pg_advisory_unlock($1)`,
		why: "two processes run one request: the lock is released before the commit",
		pkg: "./gateway/postgres", tests: "^TestConformance$/^transactions$/progress",
	},
	{
		file: "gateway/postgres/run.go", text: `err = r.tx.SendBatch(ctx, batch).Close()`, mutated: `err = r.b.pool.SendBatch(ctx, batch).Close()`,
		why: "there is a response without its change after a crash: it is stored outside of the transaction",
		pkg: "./gateway/postgres", tests: "^TestCrashPoints$|^TestHandlersTransaction$",
	},
	{
		file: "gateway/postgres/run.go", text: `case stored != nil || err != nil:`, mutated: `case err != nil:`,
		why: "a request runs again that another process has finished just before",
		pkg: "./gateway/postgres", tests: "^TestConformance$/^transactions$/^a_hundred",
	},
	{
		file: "gateway/postgres/run.go", text: `case status == 'I':`, mutated: `case false:`,
		why: "a change is there without its response: the handler has ended the transaction",
		pkg: "./gateway/postgres", tests: "^TestHandlersTransaction$",
	},
	{
		file: "gateway/postgres/run.go", text: `	batch.Queue("RELEASE SAVEPOINT " + savepoint)`, mutated: `	_ = savepoint`,
		why: "a change is there without its response: the handler has ended the transaction and begun another one",
		pkg: "./gateway/postgres", tests: "^TestHandlersTransaction$",
	},
	{
		file: "gateway/postgres/run.go", text: `err == nil && r.snapshot {`, mutated: `err == nil && false {`,
		why: "a request runs again that another process has finished just before: the transaction does not see its response",
		pkg: "./gateway/postgres", tests: "^TestSnapshot$",
	},
	{
		file: "gateway/postgres/tx.go", text: `func (handlerTx) Commit(context.Context) error   { return ErrManaged }`, mutated: ``,
		why: "a handler can commit its change without the response",
		pkg: "./gateway/postgres", tests: "^TestHandlersTransaction$",
	},
	{
		file: "gateway/postgres/guard.go", text: `{ return g.use.Swap(over) == used }`, mutated: `{ return g.use.Load() == over }`,
		why: "a goroutine of a handler that has returned goes on using the connection, and the pool loses it",
		pkg: "./gateway/postgres", tests: "^TestAfterHandler$|^TestTimeoutHandler$",
	},
	{
		file: "gateway/postgres/run.go", text: `	_ = conn.CancelRequest(ctx)
	r.abandon()
`, mutated: `	r.abandon()
	return
`,
		why: "a key stays locked as long as the statement runs that a handler has left behind",
		pkg: "./gateway/postgres", tests: "^TestHandlerLeaves$",
	},
	{
		file: "versioning/postgres/calls.go", text: `handlertx.Marked(ctx)`, mutated: `handlertx.Marked(context.Background())`,
		why: "a change is made although its handler's transaction is rolled back: Store.Do does not see that there is one",
		pkg: "./gateway/postgres", tests: "^TestDoInTransaction$",
	},
	{
		file: "gateway/postgres/errors.go", text: `return fmt.Errorf("%w: commit: %w", gateway.ErrFateUnknown, err)`, mutated: "_ = gateway.ErrFateUnknown\n\treturn b.unavailable(err)",
		why: "a client is told that nothing was changed although the answer to COMMIT was lost",
		pkg: "./gateway/postgres", tests: "^TestCrashPoints$",
	},
	{
		file: "gateway/postgres/keeper.go", text: `		unlocks = append(unlocks, k.b.lockKey(id))`, mutated: `		_ = id`,
		why: "the lock of a key stays behind in a session of the pool, so other processes can't run the request",
		pkg: "./gateway/postgres", tests: "^TestAbandonedClaims$",
	},
	{
		file: "gateway/postgres/keeper.go", text: `k.owed = append(k.owed, t.id)`, mutated: `_ = t`,
		why: "the key of a client that has gone stays locked",
		pkg: "./gateway/postgres", tests: "^TestAbandonedClaims$|^TestConformance$/^without_transactions$",
	},
	{
		file: "gateway/postgres/keeper.go", text: `batch.Queue("ROLLBACK TO SAVEPOINT " + savepoint)`, mutated: `_ = savepoint`,
		why: "the table of responses stays locked against migrations as long as requests come",
		pkg: "./gateway/postgres", tests: "^TestKeeper$",
	},
	{
		file: "gateway/postgres/statements.go", text: `ON CONFLICT (id) DO UPDATE SET response = excluded.response, expires_at = excluded.expires_at WHERE r.expires_at <= statement_timestamp()`,
		mutated: `ON CONFLICT (id) DO UPDATE SET response = excluded.response, expires_at = excluded.expires_at`,
		why:     "clients of one request get different responses",
		pkg:     "./gateway/postgres", tests: "^TestPrimaryKeyDecides$",
	},
	{
		file: "gateway/postgres/backend.go", text: `if !b.claim(id) {`, mutated: `if b.claim(id); false {`,
		why: "requests with one key take all connections, only to find the key locked",
		pkg: "./gateway/postgres", tests: "^TestConnections$|^TestBusy$",
	},
}
