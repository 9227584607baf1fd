package main

// redis are mistakes in locks and responses that are kept in Redis.
var redis = []mutation{
	{
		file: "gateway/redis/run.go", text: `time.AfterFunc(r.b.cfg.Lease/3, r.renew)`, mutated: `time.AfterFunc(time.Hour, r.renew)`,
		why:    "the lock expires while its handler runs",
		module: "gateway/redis", pkg: ".", tests: "^TestLockIsRenewed$",
	},
	{
		file: "gateway/redis/scripts.go", text: `if redis.pcall('GET', KEYS[1]) == ARGV[1] then`, mutated: `if true then`,
		why:    "a lock is deleted without comparing its token: that of the successor",
		module: "gateway/redis", pkg: ".", tests: "^TestSuccessor$",
	},
	{
		file: "gateway/redis/hybrid.go", text: `	if err := r.Run.Finish(ctx, result); err != nil {`,
		mutated: `	r.h.cache(ctx, r.key, r.claim, result.Response, (*Backend).put)
	if err := r.Run.Finish(ctx, result); err != nil {`,
		why:    "a response is cached before it has been committed",
		module: "gateway/redis", pkg: ".", tests: "^TestHybridNeverCachesWhatIsNotStored$",
	},
	{
		file: "gateway/redis/hybrid.go", text: `	case err != nil:
		h.drop(ctx, claim)`, mutated: `	case err != nil:`,
		why:    "a request that PostgreSQL does not let in keeps its lock in Redis",
		module: "gateway/redis", pkg: ".", tests: "^TestHybridDecides$",
	},
	{
		file: "gateway/redis/hybrid.go", text: `go func() { _ = claim.retry(context.Background(), claim.delete) }()`, mutated: `_ = context.Background`,
		why:    "keys that were in use when Redis failed are in progress until the lease has passed",
		module: "gateway/redis", pkg: ".", tests: "^TestHybridFreesLocksAfterAnOutage$",
	},
	{
		file: "gateway/redis/scripts.go", text: "finishScript = rueidis.NewLuaScript(`#!lua flags=allow-oom", mutated: "finishScript = rueidis.NewLuaScript(`#!lua",
		why:    "a full server forgets the response of a request that has run",
		module: "gateway/redis", pkg: ".", tests: "^TestFullServer$",
	},
	{
		file: "gateway/redis/scripts.go", text: `left > tonumber(ARGV[2])`, mutated: `false`,
		why:    "a key is stuck after the server's clock was set back",
		module: "gateway/redis", pkg: ".", tests: "^TestClockSetBack$",
	},
	{
		file: "gateway/redis/server.go", text: `policy != "noeviction"`, mutated: `policy == "allkeys-lru"`,
		why:    "a server that evicts locks is accepted",
		module: "gateway/redis", pkg: ".", tests: "^TestEvictingServerIsRefused$",
	},
}
